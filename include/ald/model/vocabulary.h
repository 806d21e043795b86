/* Which rows of an embedding are tokens. Layer: model.
 *
 * Rows beyond the tokenizer's ids are padding, and models of one tokenizer may have different
 * numbers of them. They were never trained, and extrapolation amplifies what is in them. So where
 * models are compared, as teachers, as policy and reference or in an evaluation, and where a
 * response is sampled, distributions are those over the tokenizer's ids alone: a softmax over so
 * many rows of each (ald_model_t.vocabulary). Padding rows get no gradient there. */
#ifndef ALD_MODEL_VOCABULARY_H
#define ALD_MODEL_VOCABULARY_H

#include <stdint.h>

#include "ald/base/status.h"

/* The tokens that a model directory `a` and another (or a shard) share: the ids of the tokenizer of
 * `a`. When row counts differ it is said in a line. INPUT naming both when one has fewer rows than
 * that. Local; the line is written by root. */
ald_status_t ald_vocabulary_common(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common);
/* The same with the padding rows that both have: what shards of schema 1 are over. */
ald_status_t ald_vocabulary_padded(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common);

#endif
