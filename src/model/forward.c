/* The forward of the decoder over a packed batch. It keeps what the backward needs, or nothing:
 * scoring then takes the memory of one layer, whatever the depth. */
#include "ald/model/forward.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/attention.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/forward_impl.h"
#include "model/layer_impl.h"

/* The buffers of one layer but x; false without memory. */
static bool layer_init(const ald_sizes_t *s, int64_t T, ald_arena_t *arena, ald_kept_t *k)
{
    const ald_model_config_t *config = s->config;
    k->qkv = ALD_ARENA_ARRAY(arena, float, T * s->Q);
    k->raw = config->qk_norm ? ALD_ARENA_ARRAY(arena, float, T * s->Q) : NULL;
    k->attention = ALD_ARENA_ARRAY(arena, float, T * s->NH * s->D);
    k->lse = ALD_ARENA_ARRAY(arena, float, T * s->NH);
    k->middle = ALD_ARENA_ARRAY(arena, float, T * s->H);
    k->gate_up = ALD_ARENA_ARRAY(arena, float, T * 2 * s->I);
    if (config->post_norm) {
        k->attention_raw = ALD_ARENA_ARRAY(arena, float, T * s->H);
        k->mlp_raw = ALD_ARENA_ARRAY(arena, float, T * s->H);
        if (k->attention_raw == NULL || k->mlp_raw == NULL)
            return false;
    }
    return k->gate_up != NULL && k->middle != NULL && k->lse != NULL && k->qkv != NULL &&
           k->attention != NULL && (k->raw != NULL) == config->qk_norm;
}

static ald_status_t kept_init(const ald_model_t *model, int64_t T, ald_arena_t *arena,
                              ald_activations_t *a)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_sizes_t s = ald_sizes(&model->params->config);
    a->layer = ald_arena_calloc(arena, (size_t)s.config->layers, sizeof *a->layer);
    a->last = ALD_ARENA_ARRAY(arena, float, T *s.H);
    bool enough = a->layer != NULL && a->last != NULL;
    for (int64_t l = 0; l < s.config->layers && enough; ++l) {
        ald_kept_t *k = &a->layer[l];
        if (l > 0 && model->recompute)
            *k = a->layer[0];
        else
            enough = layer_init(&s, T, arena, k);
        k->x = ALD_ARENA_ARRAY(arena, float, T *s.H);
        enough = enough && k->x != NULL;
    }
    ALD_CHECK(enough, ALD_STATUS_RESOURCE,
              "out of memory: activations of %lld tokens; lower optimizer.micro_batch_tokens",
              (long long)T);
done:
    return status;
}

/* The buffers of one layer, which all layers use when nothing is kept. */
static ald_status_t scratch_init(const ald_sizes_t *s, int64_t T, ald_arena_t *arena, ald_kept_t *k)
{
    ald_status_t status = ALD_STATUS_OK;
    *k = (ald_kept_t){.qkv = ALD_ARENA_ARRAY(arena, float, T * s->Q),
                      .attention = ALD_ARENA_ARRAY(arena, float, T * s->NH * s->D),
                      .middle = ALD_ARENA_ARRAY(arena, float, T * s->H),
                      .gate_up = ALD_ARENA_ARRAY(arena, float, T * 2 * s->I)};
    ALD_CHECK(k->qkv != NULL && k->attention != NULL && k->middle != NULL && k->gate_up != NULL,
              ALD_STATUS_RESOURCE, "out of memory: one layer of %lld tokens", (long long)T);
done:
    return status;
}

ald_status_t ald_forward(const ald_model_t *model, const ald_batch_t *batch, ald_arena_t *arena,
                         ald_activations_t **keep, float *hidden)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const ald_sizes_t s = ald_sizes(&params->config);
    const int64_t T = batch->tokens;
    const ald_pass_t pass = ald_pass(model, T, batch->positions);
    ald_activations_t *a = NULL;
    ald_kept_t scratch = {0};
    ALD_TRY(ald_positions_check(&pass));
    if (keep != NULL) {
        a = ald_arena_calloc(arena, 1, sizeof *a);
        ALD_CHECK_MEMORY(a, sizeof *a);
        ALD_TRY(kept_init(model, T, arena, a));
        *keep = a;
    }
    ald_arena_mark_t mark = ald_arena_mark(arena);
    if (keep == NULL)
        ALD_TRY(scratch_init(&s, T, arena, &scratch));
    float *normed = ALD_ARENA_ARRAY(arena, float, T *s.H);
    float *act = ALD_ARENA_ARRAY(arena, float, T *s.I);
    float *x = ALD_ARENA_ARRAY(arena, float, T *s.H);
    ALD_CHECK(normed != NULL && act != NULL && x != NULL, ALD_STATUS_RESOURCE,
              "out of memory: %lld tokens", (long long)T);

    ald_embed(model, &pass, batch->ids, x);
    for (int64_t l = 0; l < params->config.layers; ++l) {
        const ald_layer_t w = ald_layer(model, l);
        ald_kept_t *k = keep != NULL ? &a->layer[l] : &scratch;
        if (k->x != NULL)
            memcpy(k->x, x, sizeof(float) * (size_t)(T * s.H));
        const ald_attention_t attention =
            ald_layer_attention(&pass, &w, batch->segments, batch->segment, k->qkv);
        const ald_mlp_buffers_t mlp = {normed, k->gate_up, act, k->mlp_raw};
        ald_layer_qkv(&pass, &w, x, normed, k->raw, k->qkv);
        ALD_TRY(ald_attention(&attention, k->attention, k->lse));
        ald_layer_output(&pass, &w, x, k->attention, k->attention_raw, k->middle);
        ald_layer_mlp(&pass, &w, k->middle, &mlp, x);
    }
    if (keep != NULL)
        memcpy(a->last, x, sizeof(float) * (size_t)(T * s.H));
    ald_rmsnorm(ald_pass_norm(&pass, ald_model_vector(model, params->final_norm)), x, hidden);
    ald_arena_release(arena, mark);
done:
    return status;
}
