#include "ald/model.h"

#include <string.h>

#include "model/activations.h"
#include "model/layer.h"

/* Buffers of one layer's backward. */
typedef struct {
    float *normed, *dnormed; /* [T, H] */
    float *act, *dact;       /* [T, I] */
    float *wide;             /* [T, 2I], [T, NH D]: gradients of gate_up, of the attention */
    float *dqkv;             /* [T, Q] */
} work_t;

static ald_status_t work_init(const ald_sizes_t *s, int64_t T, ald_arena_t *arena, work_t *w)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t wide = 2 * s->I > s->NH * s->D ? 2 * s->I : s->NH * s->D;
    *w = (work_t){ALD_ARENA_ARRAY(arena, float, T * s->H), ALD_ARENA_ARRAY(arena, float, T * s->H),
                  ALD_ARENA_ARRAY(arena, float, T * s->I), ALD_ARENA_ARRAY(arena, float, T * s->I),
                  ALD_ARENA_ARRAY(arena, float, T *wide),  ALD_ARENA_ARRAY(arena, float, T * s->Q)};
    ALD_CHECK(w->normed && w->dnormed && w->act && w->dact && w->wide && w->dqkv,
              ALD_STATUS_RESOURCE, "out of memory: the backward pass of %lld tokens", (long long)T);
done:
    return status;
}

static float *at(float *gradients, int64_t offset)
{
    return gradients + offset;
}

/* y = x + down(swiglu(gate_up(norm(x)))): dx = dy + ..., in place. */
static void mlp_backward(const ald_sizes_t *s, const ald_layer_t *w, const ald_layer_offsets_t *o,
                         const ald_gemm_t *gemm, int64_t T, const ald_kept_t *k, work_t *b,
                         float *dx, float *gradients)
{
    ald_rmsnorm(T, s->H, s->H, s->eps, k->middle, w->mlp_norm, b->normed);
    ald_swiglu(T, s->I, k->gate_up, b->act);
    ald_linear_backward_weight(gemm, T, s->H, s->I, dx, b->act, at(gradients, o->down));
    ald_linear_backward_input(gemm, T, s->H, s->I, dx, ald_matrix_floats(&w->down), 0.0f, b->dact);
    ald_swiglu_backward(T, s->I, k->gate_up, b->dact, b->wide);
    ald_linear_backward_weight(gemm, T, 2 * s->I, s->H, b->wide, b->normed,
                               at(gradients, o->gate_up));
    ald_linear_backward_input(gemm, T, 2 * s->I, s->H, b->wide, ald_matrix_floats(&w->gate_up),
                              0.0f, b->dnormed);
    ald_rmsnorm_backward(T, s->H, s->H, s->eps, k->middle, w->mlp_norm, b->dnormed, 1, dx,
                         at(gradients, o->mlp_norm));
}

/* Rotation and head norms backward, in place of dqkv. */
static void heads_backward(const ald_sizes_t *s, const ald_layer_t *w, const ald_layer_offsets_t *o,
                           int64_t T, const int32_t *positions, const ald_kept_t *k, float *dqkv,
                           float *gradients)
{
    ald_rope(T, s->NH + s->NKV, s->D, s->Q, positions, s->theta, -1, dqkv);
    for (int64_t h = 0; h < s->NH + s->NKV && w->q_norm != NULL; ++h)
        ald_rmsnorm_backward(T, s->D, s->Q, s->eps, k->raw + h * s->D,
                             h < s->NH ? w->q_norm : w->k_norm, dqkv + h * s->D, 0, dqkv + h * s->D,
                             at(gradients, h < s->NH ? o->q_norm : o->k_norm));
}

/* y = x + out(attention(qkv(norm(x)))): dx = dy + ..., in place. */
static ald_status_t attention_backward(const ald_sizes_t *s, const ald_layer_t *w,
                                       const ald_layer_offsets_t *o, const ald_gemm_t *gemm,
                                       const ald_batch_t *batch, const ald_kept_t *k, work_t *b,
                                       float *dx, float *gradients)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t T = batch->tokens;
    if (w->output_bias != NULL)
        ald_bias_backward(T, s->H, dx, at(gradients, o->output_bias));
    ald_linear_backward_weight(gemm, T, s->H, s->NH * s->D, dx, k->attention,
                               at(gradients, o->output));
    ald_linear_backward_input(gemm, T, s->H, s->NH * s->D, dx, ald_matrix_floats(&w->output), 0.0f,
                              b->wide);
    ALD_TRY(ald_attention_backward(T, s->NH, s->NKV, s->D, batch->segments, batch->segment, k->qkv,
                                   k->attention, k->lse, b->wide, b->dqkv));
    heads_backward(s, w, o, T, batch->positions, k, b->dqkv, gradients);
    if (w->qkv_bias != NULL)
        ald_bias_backward(T, s->Q, b->dqkv, at(gradients, o->qkv_bias));
    ald_rmsnorm(T, s->H, s->H, s->eps, k->x, w->attention_norm, b->normed);
    ald_linear_backward_weight(gemm, T, s->Q, s->H, b->dqkv, b->normed, at(gradients, o->qkv));
    ald_linear_backward_input(gemm, T, s->Q, s->H, b->dqkv, ald_matrix_floats(&w->qkv), 0.0f,
                              b->dnormed);
    ald_rmsnorm_backward(T, s->H, s->H, s->eps, k->x, w->attention_norm, b->dnormed, 1, dx,
                         at(gradients, o->attention_norm));
done:
    return status;
}

ald_status_t ald_backward(const ald_model_t *model, const ald_batch_t *batch,
                          ald_activations_t *activations, ald_arena_t *arena, float *d_hidden,
                          float *gradients)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const ald_sizes_t s = ald_sizes(&params->config);
    const int64_t T = batch->tokens;
    ald_arena_mark_t mark = ald_arena_mark(arena);
    work_t work;
    ALD_TRY(work_init(&s, T, arena, &work));
    ald_rmsnorm_backward(T, s.H, s.H, s.eps, activations->last,
                         ald_model_vector(model, params->final_norm), d_hidden, 0, d_hidden,
                         at(gradients, params->final_norm));
    for (int64_t l = params->config.layers - 1; l >= 0; --l) {
        const ald_layer_t w = ald_layer(model, l);
        const ald_layer_offsets_t *o = &params->layer[l];
        const ald_kept_t *k = &activations->layer[l];
        mlp_backward(&s, &w, o, model->gemm, T, k, &work, d_hidden, gradients);
        ALD_TRY(attention_backward(&s, &w, o, model->gemm, batch, k, &work, d_hidden, gradients));
    }
    ald_embedding_backward(T, s.H, batch->ids, d_hidden, at(gradients, params->embedding));
done:
    ald_arena_release(arena, mark);
    return status;
}

int64_t ald_training_bytes(const ald_model_config_t *config, int64_t T)
{
    const ald_sizes_t s = ald_sizes(config);
    int64_t wide = 2 * s.I > s.NH * s.D ? 2 * s.I : s.NH * s.D;
    int64_t layer = 2 * s.H + s.Q * (config->qk_norm ? 2 : 1) + s.NH * s.D + s.NH + 2 * s.I;
    int64_t work = 2 * s.H + 2 * s.I + wide + s.Q;
    int64_t transient = 2 * s.H + s.I; /* the forward's, released before the backward */
    return (int64_t)sizeof(float) * T *
           (layer * config->layers + s.H + (work > transient ? work : transient));
}
