/* Added tokens, which are found in the text before it is cut into pieces. Layer: text. */
#ifndef ALD_TEXT_ADDED_IMPL_H
#define ALD_TEXT_ADDED_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/normalizer_impl.h"

typedef struct {
    const char *content; /* as written in the file */
    size_t content_length;
    const char *pattern; /* the text to look for: the content, normalised if `normalized` */
    size_t length;
    int32_t id;
    bool special, normalized, lstrip, rstrip, single_word;
} ald_added_t;

/* Half of the added tokens: those that are looked for in raw text, or those in normalised text. */
typedef struct {
    const ald_added_t **tokens; /* by first byte, the longest first */
    uint32_t first[257];        /* tokens[first[b] .. first[b + 1]) start with byte b */
} ald_added_set_t;

typedef struct {
    ald_added_t *tokens; /* in the arena of the load, as the sets are */
    size_t count;
    ald_added_set_t raw, normalized;
} ald_added_list_t;

/* A part of a text: an added token, or NULL for ordinary text in between. */
typedef struct {
    const ald_added_t *token;
    size_t start, end;
} ald_segment_t;

/* Loads the "added_tokens" of tokenizer.json. INPUT naming what is wrong. */
ald_status_t ald_added_load(const ald_json_t *json, const ald_normalizer_t *normalizer,
                            ald_arena_t *arena, ald_added_list_t *out);
/* Appends the parts (ald_segment_t) of valid UTF-8 to `segments`. */
ald_status_t ald_added_split(const ald_added_set_t *set, const char *text, size_t length,
                             ald_vec_t *segments);

#endif
