/* The vocabulary-wide step. V vocabulary, H hidden size, R response positions. Layer: model. */
#ifndef ALD_MODEL_HEAD_H
#define ALD_MODEL_HEAD_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/gradients.h"
#include "ald/model/model.h"

/* The vocabulary-wide step, chunked over positions so that no [R, V] array exists.
 * V is ald_model_vocabulary. Positions r in [0, R) predict from hidden[row[r]]; the callback sees
 * `count` rows of logits, [count, V], for positions first.. and, when gradients are wanted, leaves
 * dloss/dlogits in their place. */
typedef ald_status_t (*ald_head_fn)(void *context, int64_t first, int64_t count, float *logits);
/* Runs the step. With d_hidden [T, H] it adds there the gradient at the hidden states, and that of
 * the output matrix goes to `gradients`, to be handed on by ald_backward where the matrix is the
 * embedding, too; with NULL it computes neither. */
ald_status_t ald_head(const ald_model_t *model, const float *hidden, int64_t R, const int64_t *row,
                      ald_arena_t *arena, ald_head_fn callback, void *context, float *d_hidden,
                      const ald_gradients_t *gradients);
/* Positions that one chunk holds. */
int64_t ald_head_chunk(int64_t vocab_size);
/* logits[count, V] = h[count, H] W^T with the model's output matrix, V = ald_model_vocabulary. */
void ald_head_logits(const ald_model_t *model, int64_t count, const float *h, float *logits);
/* log softmax(logits)[target[i]] of each row; the rows are left as they are. */
void ald_token_logprobs(int64_t rows, int64_t V, const float *logits, const int32_t *target,
                        float *logprob);

#endif
