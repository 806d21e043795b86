/* The backward of the decoder over a packed batch, and the memory that passes take. Layer: model.
 */
#ifndef ALD_MODEL_BACKWARD_H
#define ALD_MODEL_BACKWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/forward.h"
#include "ald/model/gradients.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"

/* Hands the gradient of all parameters to gradients->take, from d_hidden [T, H], which is
 * overwritten: that of the final norm, of each layer from the last to the first, of the embedding.
 * Only an output matrix of its own has been handed on by ald_head. The activations are those that
 * ald_forward kept. Local. */
ald_status_t ald_backward(const ald_model_t *model, const ald_batch_t *batch,
                          ald_activations_t *activations, ald_arena_t *arena, float *d_hidden,
                          const ald_gradients_t *gradients);
/* Bytes that passes over T tokens take from the arena: `kept` by ald_forward for the backward (with
 * ald_model_t.recompute or without), `forward` besides until it returns, `backward` by
 * ald_backward, and `alone` by an ald_forward that keeps nothing. */
typedef struct {
    int64_t kept, forward, backward, alone;
} ald_model_bytes_t;
ald_model_bytes_t ald_model_bytes(const ald_model_config_t *config, int64_t T, bool recompute);

#endif
