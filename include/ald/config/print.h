/* The configuration as text: in libconfig's syntax, and as the help shows its keys. Layer: config.
 */
#ifndef ALD_CONFIG_PRINT_H
#define ALD_CONFIG_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"

/* The effective configuration in libconfig's syntax, every key, paths as resolved; freed by
 * ald_free. Equal configurations give equal text. */
ald_status_t ald_config_print(const ald_config_t *config, char **out);
/* The same without the places that a stage writes to, roles.* and debug.fail: what content can
 * depend on. */
ald_status_t ald_config_print_content(const ald_config_t *config, char **out);
/* Sets into an object the values of the keys in `count` groups ("optimizer."; or one key, "seed"),
 * as printed, by their paths: what a result of these settings depends on. Paths aren't among them,
 * since content decides, nor what only says where, how often or how a result is kept. */
ald_status_t ald_config_settings(const ald_config_t *config, const char *const *groups,
                                 size_t count, ald_json_t *out);
/* A key of the table, in words; texts are static. */
typedef struct {
    const char *path, *kind, *help; /* "data.train", "path" */
    const char *choices;            /* "a|b|c"; NULL: any value of its kind */
    char standard[80];              /* the default, as a file would have it */
} ald_config_about_t;
/* The `index`-th key; false behind the last one. */
bool ald_config_about(size_t index, ald_config_about_t *out);
/* Appends the value of one key to a text: as printed, but words without their quotes. USAGE for a
 * key that there isn't. */
ald_status_t ald_config_value(const ald_config_t *config, const char *key, ald_vec_t *text);
/* The keys with type, default and meaning, for --help; `group` ("data") or NULL for all. Freed by
 * ald_free. */
ald_status_t ald_config_describe(const char *group, char **out);

#endif
