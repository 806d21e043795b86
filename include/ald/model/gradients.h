/* Where a backward pass leaves gradients. They are there for a part of the model at a time: once
 * the gradient of a part is complete it is handed on, and its memory serves the next. Layer: model.
 */
#ifndef ALD_MODEL_GRADIENTS_H
#define ALD_MODEL_GRADIENTS_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/params.h"

/* Takes the gradient of the floats [offset, offset + count) of the flat buffer and leaves zeros in
 * its place. In a pass each float comes once. */
typedef ald_status_t (*ald_gradient_fn)(void *context, int64_t offset, int64_t count,
                                        float *gradient);

/* Gradients of one pass: ald_head, then ald_backward. Both buffers are zero between parts, and are
 * one where embedding and output matrix are two: these are then never there at once. */
typedef struct {
    const ald_params_t *params;
    float *vocabulary; /* [V, H] of the embedding or the output matrix */
    float *layer;      /* [params->layer_floats] of a layer's tensors, or of the final norm */
    ald_gradient_fn take;
    void *context;
} ald_gradients_t;

/* The buffers are in the arena, and nothing is to be reset. RESOURCE without memory. Local. */
ald_status_t ald_gradients_init(const ald_params_t *params, ald_arena_t *arena,
                                ald_gradient_fn take, void *context, ald_gradients_t *out);
/* Bytes that they take. */
int64_t ald_gradients_bytes(const ald_params_t *params);
/* Hand on what is complete: the embedding or the output matrix at this offset; `count` floats of
 * `layer`, which are those from `offset` on. Local. */
ald_status_t ald_gradients_take_vocabulary(const ald_gradients_t *gradients, int64_t offset);
ald_status_t ald_gradients_take_layer(const ald_gradients_t *gradients, int64_t offset,
                                      int64_t count);

#endif
