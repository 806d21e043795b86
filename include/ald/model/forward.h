/* The forward of the decoder over a packed batch. Layer: model. */
#ifndef ALD_MODEL_FORWARD_H
#define ALD_MODEL_FORWARD_H

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model.h"

/* What the forward keeps for the backward, in the arena that it was given. Opaque. */
typedef struct ald_activations ald_activations_t;
/* Computes the final normed hidden states [T, H]. With `keep` NULL nothing is kept, and buffers are
 * for one layer only. With `keep`, activations stay in the arena until the caller releases it; with
 * model->recompute these are the layers' inputs, and buffers for one layer. RESOURCE without
 * memory. */
ald_status_t ald_forward(const ald_model_t *model, const ald_batch_t *batch, ald_arena_t *arena,
                         ald_activations_t **keep, float *hidden);

#endif
