/* Normalizers: what a tokenizer changes in a text before it cuts it. Layer: text. */
#ifndef ALD_TEXT_NORMALIZER_IMPL_H
#define ALD_TEXT_NORMALIZER_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/regex_impl.h"

enum { ALD_NORMALIZER_STEPS = 16 }; /* far more than published files have */

typedef enum {
    ALD_NORMALIZE_FORM, /* NFC, NFD, NFKC, NFKD */
    ALD_NORMALIZE_PREPEND,
    ALD_NORMALIZE_REPLACE,
    ALD_NORMALIZE_LOWERCASE,
    ALD_NORMALIZE_STRIP,
} ald_normalize_t;

typedef struct {
    ald_normalize_t kind;
    int form;           /* options of utf8proc */
    bool left, right;   /* which ends are stripped */
    char *text;         /* the text to prepend, or to put in place of a match; owned */
    size_t length;      /* of text */
    ald_regex_t *regex; /* matches what is to be replaced; owned */
} ald_normalize_step_t;

/* The steps that a tokenizer's "normalizer" asks for, in order. */
typedef struct {
    ald_normalize_step_t steps[ALD_NORMALIZER_STEPS];
    int count;
} ald_normalizer_t;

/* INPUT naming what isn't supported, without the file; what was loaded until then is kept. */
ald_status_t ald_normalizer_load(const ald_json_t *json, ald_normalizer_t *out);
void ald_normalizer_reset(ald_normalizer_t *normalizer); /* takes a zeroed one */
/* Appends the normalised text to `out` (a vec of bytes). */
ald_status_t ald_normalizer_apply(const ald_normalizer_t *normalizer, const char *text,
                                  size_t length, ald_vec_t *out);

#endif
