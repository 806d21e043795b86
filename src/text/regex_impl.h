/* The regular expressions of tokenizer.json, in the dialect of Oniguruma's Ruby syntax with Unicode
 * classes, run by PCRE2. Layer: text. */
#ifndef ALD_TEXT_REGEX_IMPL_H
#define ALD_TEXT_REGEX_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

typedef struct ald_regex ald_regex_t;             /* immutable */
typedef struct ald_regex_match ald_regex_match_t; /* one per thread */

/* `literal`: the pattern is plain text. INPUT for a pattern that is malformed, or whose meaning
 * differs between the dialects. */
ald_status_t ald_regex_compile(const char *pattern, size_t length, bool literal, ald_regex_t **out);
/* Compiles the "pattern" of a component, {"Regex": ...} or {"String": ...}; `place` names it. */
ald_status_t ald_regex_load(const ald_json_t *component, const char *place, ald_regex_t **out);
void ald_regex_destroy(ald_regex_t *regex); /* takes NULL */

ald_status_t ald_regex_match_new(ald_regex_match_t **out);
void ald_regex_match_destroy(ald_regex_match_t *match); /* takes NULL */

/* Finds the first non-empty match at or after `from` in valid UTF-8: *found is true, with its
 * bounds. INPUT when the pattern backtracks beyond a limit. */
ald_status_t ald_regex_next(const ald_regex_t *regex, ald_regex_match_t *match, const char *text,
                            size_t length, size_t from, bool *found, size_t *start, size_t *end);
/* What is put in place of each match. */
typedef struct {
    const char *text;
    size_t length;
    size_t most; /* bytes that the result may have in all */
} ald_replacement_t;
/* How many bytes a text of `length` bytes may become, whatever the steps of a tokenizer do with it:
 * far more than published ones need, and no more than a text that long should cost. */
size_t ald_regex_most(size_t length);
/* Appends the text with every match replaced. INPUT when `out` would have more than by->most. */
ald_status_t ald_regex_replace(const ald_regex_t *regex, const char *text, size_t length,
                               const ald_replacement_t *by, ald_vec_t *out);

#endif
