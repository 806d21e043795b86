/* Buffers for the gradients of a part of the model. A tied vocabulary matrix gets its gradient from
 * both ends of the pass, so it needs one that the layers don't use. */
#include "ald/model/gradients.h"

#include <stdbool.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/params.h"

static int64_t vocabulary_floats(const ald_params_t *params)
{
    return params->config.vocab_size * params->config.hidden_size;
}

static bool is_tied(const ald_params_t *params)
{
    return params->lm_head == params->embedding;
}

/* Floats of the buffer that layers use. */
static int64_t layer_floats(const ald_params_t *params)
{
    const int64_t layer = params->layer_floats, vocabulary = vocabulary_floats(params);
    return is_tied(params) || layer > vocabulary ? layer : vocabulary;
}

/* Zeroed floats; NULL without memory. */
static float *floats_new(int64_t count, ald_arena_t *arena)
{
    enum { AT_ONCE = 65536 };
    float *floats = ALD_ARENA_ARRAY(arena, float, count);
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < (floats == NULL ? 0 : count); at += AT_ONCE)
        memset(floats + at, 0,
               sizeof(float) * (size_t)(count - at < AT_ONCE ? count - at : AT_ONCE));
    return floats;
}

ald_status_t ald_gradients_init(const ald_params_t *params, ald_arena_t *arena,
                                ald_gradient_fn take, void *context, ald_gradients_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_gradients_t){.params = params, .take = take, .context = context};
    out->layer = floats_new(layer_floats(params), arena);
    out->vocabulary = is_tied(params) ? floats_new(vocabulary_floats(params), arena) : out->layer;
    ALD_CHECK(out->layer != NULL && out->vocabulary != NULL, ALD_STATUS_RESOURCE,
              "out of memory: gradients of a layer and of the vocabulary, %lld bytes",
              (long long)ald_gradients_bytes(params));
done:
    return status;
}

int64_t ald_gradients_bytes(const ald_params_t *params)
{
    const int64_t vocabulary = is_tied(params) ? vocabulary_floats(params) : 0;
    return (int64_t)sizeof(float) * (layer_floats(params) + vocabulary);
}

ald_status_t ald_gradients_take_vocabulary(const ald_gradients_t *gradients, int64_t offset)
{
    return gradients->take(gradients->context, offset, vocabulary_floats(gradients->params),
                           gradients->vocabulary);
}

ald_status_t ald_gradients_take_layer(const ald_gradients_t *gradients, int64_t offset,
                                      int64_t count)
{
    return gradients->take(gradients->context, offset, count, gradients->layer);
}
