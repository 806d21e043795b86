#include "ald/objective/sft.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/objective/cross_entropy.h"
#include "ald/train/engine.h"

typedef struct {
    const int32_t *target;
    float weight;
    int64_t V;
    double loss;
} sft_t;

static ald_status_t sft_head(void *context, int64_t first, int64_t count, float *logits)
{
    sft_t *sft = context;
    const int64_t V = sft->V;
    double loss = 0.0;
    float logprob[count];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        logprob[i] = ald_cross_entropy_row(V, sft->target[first + i], sft->weight, logits + i * V);
    for (int64_t i = 0; i < count; ++i)
        loss -= logprob[i];
    sft->loss += loss;
    return ALD_STATUS_OK;
}

ald_status_t ald_sft_gradient(ald_engine_t *engine, const ald_packed_t *packed, float weight,
                              double *loss)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_t model = ald_engine_model(engine);
    const int64_t H = engine->params.config.hidden_size, T = packed->batch.tokens;
    ald_arena_t *arena = &engine->arena;
    ald_activations_t *kept = NULL;
    sft_t sft = {packed->target, weight, engine->params.config.vocab_size, 0.0};
    float *hidden = ALD_ARENA_ARRAY(arena, float, T *H);
    float *d_hidden = ald_arena_calloc(arena, (size_t)(T * H), sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&model, &packed->batch, arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, packed->positions, packed->row, arena, sft_head, &sft,
                     d_hidden, engine->optimizer.gradient));
    ALD_TRY(
        ald_backward(&model, &packed->batch, kept, arena, d_hidden, engine->optimizer.gradient));
    *loss = sft.loss;
done:
    return status;
}
