/* A frozen model that is run beside the one in training, over the same positions: its distribution
 * p_frozen at every position, chunk by chunk, and KL(p_frozen || p). T tokens, R positions,
 * V vocabulary, H hidden size of the frozen model. All local. Layer: objective. */
#ifndef ALD_OBJECTIVE_BESIDE_H
#define ALD_OBJECTIVE_BESIDE_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"

/* The model's pass over a batch; everything is in the arena. */
typedef struct {
    const ald_model_t *model;
    const ald_packed_t *packed;
    float *hidden;        /* [T, H] */
    float *rows, *logits; /* [chunk, H], [chunk, V] scratch memory */
} ald_beside_t;
/* Runs the model, which the caller keeps, as it does `packed`. */
ald_status_t ald_beside_run(const ald_model_t *model, const ald_packed_t *packed,
                            ald_arena_t *arena, ald_beside_t *out);
/* Computes the model's logits of positions [first, first + count), at most ald_head_chunk(V) of
 * them: `logits`, until the next call. */
void ald_beside_logits(const ald_beside_t *beside, int64_t first, int64_t count);

/* KL(softmax(frozen) || softmax(z)); z becomes log softmax(z). */
double ald_beside_kl_row(int64_t V, const float *frozen, float *z);
/* z becomes the gradient of -weight log softmax(z)[target] + kl_weight KL(softmax(frozen) ||
 * softmax(z)):  weight (softmax(z) - onehot) + kl_weight (softmax(z) - softmax(frozen)). */
void ald_beside_gradient_row(int64_t V, int32_t target,
                             const float weights[2] /* weight, kl_weight */, const float *frozen,
                             float *z);

#endif
