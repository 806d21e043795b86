/* Models of one tokenizer whose embeddings have different row counts. Layer: model.
 *
 * Rows beyond the tokenizer's ids are padding. Where two models are compared, as teachers, as
 * policy and reference or in an evaluation, their distributions are those over the tokens that both
 * have: a softmax over the first min(V) rows of each (ald_model_t.vocabulary). A teacher gives the
 * tokens that it lacks probability zero, where the reverse divergence would be infinite; so the
 * student's rows for them take no part in its softmax there, and get no gradient from it. */
#ifndef ALD_MODEL_VOCABULARY_H
#define ALD_MODEL_VOCABULARY_H

#include <stdint.h>

#include "ald/base/status.h"

/* The tokens that a model directory `a` and another (or a shard) share: the smaller of their row
 * counts. When these differ it is said in a line, and INPUT naming both when the tokenizer of `a`
 * has more ids than that. Local; the line is written by root. */
ald_status_t ald_vocabulary_common(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common);

#endif
