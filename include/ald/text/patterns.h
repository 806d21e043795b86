/* What answers to a prompt must and mustn't say, found in the prompt by patterns. Layer: text. */
#ifndef ALD_TEXT_PATTERNS_H
#define ALD_TEXT_PATTERNS_H

#include "ald/base/json.h"
#include "ald/base/status.h"

typedef struct ald_patterns ald_patterns_t;

/* Reads a JSON array of objects {"prompt": REGEX, "required": [TEXT...], "forbidden": [TEXT...]}. A
 * text may have $1, $2, ..., ${name}: what a group of the regex (PCRE2, UTF-8) has found; "$$" is a
 * dollar. Without "prompt" an object is for every prompt. INPUT "FILE: item N: ...". The caller
 * destroys *out. Local. */
ald_status_t ald_patterns_load(const char *path, ald_patterns_t **out);
const char *ald_patterns_sha256(const ald_patterns_t *patterns); /* of the file; borrowed */
void ald_patterns_destroy(ald_patterns_t *patterns);             /* takes NULL */

/* The texts under `key` ("required" or "forbidden") for a prompt: objects in the file's order, each
 * for every place in the prompt that its regex finds, one after the other. *out is a list, owned by
 * the caller, or NULL where no object with that key is for the prompt. INPUT where a search is
 * given up for its length. Local. */
ald_status_t ald_patterns_of(const ald_patterns_t *patterns, const char *prompt, const char *key,
                             ald_json_t **out);

#endif
