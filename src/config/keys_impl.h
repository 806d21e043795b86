/* The table of configuration keys, for the files of this layer. Layer: config. */
#ifndef ALD_CONFIG_KEYS_IMPL_H
#define ALD_CONFIG_KEYS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

typedef enum {
    ALD_KIND_STRING,
    ALD_KIND_INPUT,
    ALD_KIND_OUTPUT,
    ALD_KIND_ROOT,
    ALD_KIND_SIZE,
    ALD_KIND_CHOICE,
    ALD_KIND_INTEGER,
    ALD_KIND_REAL,
    ALD_KIND_REAL0,
    ALD_KIND_REALS2,
    ALD_KIND_RAMP, /* two numbers, or one for both */
    ALD_KIND_BOOL,
    ALD_KIND_SOURCES,
    ALD_KIND_KEEP, /* "all", "none" or an integer */
} ald_config_kind_t;

typedef struct {
    ald_config_kind_t kind;
    const char *path;
    size_t offset; /* of the member in ald_config_t */
    const char *standard;
    double low, high;
    ald_choices_t choices; /* the list of a CHOICE; else ALD_CHOICES_NONE */
    const char *help;
} ald_config_key_t;

/* A value that has been read and not yet stored in a member; its texts are borrowed. */
typedef struct {
    const char *text;
    int64_t integer;
    double reals[2];
    bool flag;
    ald_sources_t sources;
} ald_config_value_t;

extern const ald_config_key_t ald_config_keys[];
extern const size_t ald_config_key_count;

static inline void *ald_config_member(ald_config_t *config, const ald_config_key_t *key)
{
    return (char *)config + key->offset;
}

/* Whether the member is a string. */
bool ald_config_is_text(const ald_config_key_t *key);
/* "a string", "an integer", ...: what a message says that it expected. */
const char *ald_config_expectation(const ald_config_key_t *key);
/* The key with that path; NULL when there is none. */
const ald_config_key_t *ald_config_find(const char *path);
/* Whether `path` is the name of a group of keys. */
bool ald_config_is_group(const char *path);
/* The known key nearest to an unknown one (edit distance, also of its last part). */
const char *ald_config_nearest(const char *path);
/* The name of the group nearest to an unknown one, as a path of which `*length` characters count.
 */
const char *ald_config_nearest_group(const char *name, int *length);
/* Checks range and choices, then sets the member. USAGE "PLACE: KEY: ...". */
ald_status_t ald_config_store(ald_config_t *config, const ald_config_key_t *key,
                              const ald_config_value_t *value, const char *place);
/* The same from text, read by the key's kind; strings may be quoted. */
ald_status_t ald_config_store_text(ald_config_t *config, const ald_config_key_t *key,
                                   const char *text, const char *place);
/* Reads "all" or "none"; false for others. */
bool ald_config_parse_keep(const char *text, int64_t *out);
/* Appends the shortest form that reads back the same, always recognisable as a real. */
ald_status_t ald_config_print_real(ald_vec_t *text, double value);

#endif
