/* The backward of the decoder, each function with the forward line that it differentiates. Norms
 * and gated products are computed anew, as keeping them would double the memory. */
#include "ald/model/backward.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/forward.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/attention.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/forward_impl.h"
#include "model/layer_impl.h"

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

/* NULL where the model has no such tensor. */
static float *at(float *gradients, int64_t offset)
{
    return offset < 0 ? NULL : gradients + offset;
}

/* The gradient at the end of a branch: dx where no norm comes after the branch, else dx through the
 * backward of that norm, whose input was `raw`, in b->dnormed. */
static const float *behind_backward(const ald_sizes_t *s, int64_t T, const float *raw,
                                    const float *norm, work_t *b, const float *dx, float *dnorm)
{
    if (norm == NULL)
        return dx;
    ald_rmsnorm_backward(T, s->H, s->H, s->eps, raw, norm, dx, 0, b->dnormed, dnorm);
    return b->dnormed;
}

/* The backward of y = norm(x) W^T for dy [T, N]: adds to dx and to the gradients of W and the norm.
 * The norm is computed anew from x. */
static void entry_backward(const ald_sizes_t *s, const ald_gemm_t *gemm, int64_t T, int64_t N,
                           const float *x, const float *norm, const float *weight, const float *dy,
                           work_t *b, float *dx, float *dweight, float *dnorm)
{
    if (norm == NULL) {
        ald_linear_backward_weight(gemm, T, N, s->H, dy, x, dweight);
        ald_linear_backward_input(gemm, T, N, s->H, dy, weight, 1.0f, dx);
        return;
    }
    ald_rmsnorm(T, s->H, s->H, s->eps, x, norm, b->normed);
    ald_linear_backward_weight(gemm, T, N, s->H, dy, b->normed, dweight);
    ald_linear_backward_input(gemm, T, N, s->H, dy, weight, 0.0f, b->dnormed);
    ald_rmsnorm_backward(T, s->H, s->H, s->eps, x, norm, b->dnormed, 1, dx, dnorm);
}

/* y = x + norm(down(swiglu(gate_up(norm(x))))): dx = dy + ..., in place. */
static void mlp_backward(const ald_sizes_t *s, const ald_layer_t *w, const ald_layer_offsets_t *o,
                         const ald_gemm_t *gemm, int64_t T, const ald_kept_t *k, work_t *b,
                         float *dx, float *gradients)
{
    const float *dout =
        behind_backward(s, T, k->mlp_raw, w->mlp_post_norm, b, dx, at(gradients, o->mlp_post_norm));
    ald_swiglu(T, s->I, k->gate_up, b->act);
    if (w->down_bias != NULL)
        ald_bias_backward(T, s->H, dout, at(gradients, o->down_bias));
    ald_linear_backward_weight(gemm, T, s->H, s->I, dout, b->act, at(gradients, o->down));
    ald_linear_backward_input(gemm, T, s->H, s->I, dout, ald_matrix_floats(&w->down), 0.0f,
                              b->dact);
    ald_swiglu_backward(T, s->I, k->gate_up, b->dact, b->wide);
    if (w->gate_up_bias != NULL)
        ald_bias_backward(T, 2 * s->I, b->wide, at(gradients, o->gate_up_bias));
    entry_backward(s, gemm, T, 2 * s->I, k->middle, w->mlp_norm, ald_matrix_floats(&w->gate_up),
                   b->wide, b, dx, at(gradients, o->gate_up), at(gradients, o->mlp_norm));
}

/* Rotation and head norms backward, in place of dqkv. */
static void heads_backward(const ald_sizes_t *s, const ald_layer_t *w, const ald_layer_offsets_t *o,
                           int64_t T, const int32_t *positions, const ald_kept_t *k, float *dqkv,
                           float *gradients)
{
    const int64_t q = s->NH * s->D, end = q + s->NKV * s->D;
    ald_rope(T, s->NH + s->NKV, s->D, s->Q, positions, s->rotation->frequency, s->rotation->factor,
             -1, dqkv);
    for (int64_t i = 0; i < end && w->q_norm != NULL; i += ald_head_norm_width(s, i))
        ald_rmsnorm_backward(T, ald_head_norm_width(s, i), s->Q, s->eps, k->raw + i,
                             i < q ? w->q_norm : w->k_norm, dqkv + i, 0, dqkv + i,
                             at(gradients, i < q ? o->q_norm : o->k_norm));
}

/* y = x + norm(out(attention(qkv(norm(x))))): dx = dy + ..., in place. */
static ald_status_t attention_backward(const ald_sizes_t *s, const ald_layer_t *w,
                                       const ald_layer_offsets_t *o, const ald_gemm_t *gemm,
                                       const ald_batch_t *batch, const ald_kept_t *k, work_t *b,
                                       float *dx, float *gradients)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t T = batch->tokens;
    const float *dout = behind_backward(s, T, k->attention_raw, w->attention_post_norm, b, dx,
                                        at(gradients, o->attention_post_norm));
    if (w->output_bias != NULL)
        ald_bias_backward(T, s->H, dout, at(gradients, o->output_bias));
    ald_linear_backward_weight(gemm, T, s->H, s->NH * s->D, dout, k->attention,
                               at(gradients, o->output));
    ald_linear_backward_input(gemm, T, s->H, s->NH * s->D, dout, ald_matrix_floats(&w->output),
                              0.0f, b->wide);
    ALD_TRY(ald_attention_backward(T, s->NH, s->NKV, s->D, batch->segments, batch->segment,
                                   w->window, k->qkv, k->attention, k->lse, b->wide, b->dqkv));
    heads_backward(s, w, o, T, batch->positions, k, b->dqkv, gradients);
    if (w->qkv_bias != NULL)
        ald_bias_backward(T, s->Q, b->dqkv, at(gradients, o->qkv_bias));
    entry_backward(s, gemm, T, s->Q, k->x, w->attention_norm, ald_matrix_floats(&w->qkv), b->dqkv,
                   b, dx, at(gradients, o->qkv), at(gradients, o->attention_norm));
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

ald_model_bytes_t ald_model_bytes(const ald_model_config_t *config, int64_t T)
{
    const ald_sizes_t s = ald_sizes(config);
    const int64_t attention = s.NH * s.D, wide = 2 * s.I > attention ? 2 * s.I : attention;
    const int64_t layer = 2 * s.H + s.Q * (config->qk_norm ? 2 : 1) + attention + s.NH + 2 * s.I +
                          (config->post_norm ? 2 * s.H : 0);
    const int64_t row = (int64_t)sizeof(float) * T;
    return (ald_model_bytes_t){.kept = row * (layer * config->layers + s.H),
                               .forward = row * (2 * s.H + s.I),
                               .backward = row * (2 * s.H + 2 * s.I + wide + s.Q),
                               .alone = row * (3 * s.H + 3 * s.I + s.Q + attention)};
}
