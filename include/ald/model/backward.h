/* The decoder backward over a packed batch, and what passes take in memory. Layer: model. */
#ifndef ALD_MODEL_BACKWARD_H
#define ALD_MODEL_BACKWARD_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/forward.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"

/* gradients[params->total] += from d_hidden [T, H], which is overwritten. */
ald_status_t ald_backward(const ald_model_t *model, const ald_batch_t *batch,
                          ald_activations_t *activations, ald_arena_t *arena, float *d_hidden,
                          float *gradients);
/* Bytes that passes over T tokens take from the arena: what ald_forward keeps, what it needs
 * besides until it returns, what ald_backward needs, and what ald_forward needs when nothing is
 * kept. */
typedef struct {
    int64_t kept, forward, backward, alone;
} ald_model_bytes_t;
ald_model_bytes_t ald_model_bytes(const ald_model_config_t *config, int64_t T);

#endif
