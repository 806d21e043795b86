/* The backward of the decoder, each function with the forward line that it differentiates. Norms
 * and gated products are computed anew, as keeping them would double the memory; with
 * ald_model_t.recompute so is everything but the layers' inputs. */
#include "ald/model/backward.h"

#include <stdbool.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/forward.h"
#include "ald/model/gradients.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/attention.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/forward_impl.h"
#include "model/layer_impl.h"

/* What the layers' backward shares: gradients, and buffers of one layer. */
typedef struct {
    ald_pass_t pass;
    float *gradient; /* of the parameters from `first` on */
    int64_t first;
    float *dx;               /* [T, H] of the layer's output, then of its input */
    float *normed, *dnormed; /* [T, H] */
    float *act, *dact;       /* [T, I] */
    float *wide;             /* [T, 2I], [T, NH D]: gradients of gate_up, of the attention */
    float *dqkv;             /* [T, Q] */
} work_t;

static ald_status_t work_init(ald_arena_t *arena, work_t *w)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_sizes_t *s = &w->pass.sizes;
    const int64_t T = w->pass.T, wide = 2 * s->I > s->NH * s->D ? 2 * s->I : s->NH * s->D;
    w->normed = ALD_ARENA_ARRAY(arena, float, T * s->H);
    w->dnormed = ALD_ARENA_ARRAY(arena, float, T * s->H);
    w->act = ALD_ARENA_ARRAY(arena, float, T * s->I);
    w->dact = ALD_ARENA_ARRAY(arena, float, T * s->I);
    w->wide = ALD_ARENA_ARRAY(arena, float, T *wide);
    w->dqkv = ALD_ARENA_ARRAY(arena, float, T * s->Q);
    ALD_CHECK(w->normed && w->dnormed && w->act && w->dact && w->wide && w->dqkv,
              ALD_STATUS_RESOURCE, "out of memory: the backward pass of %lld tokens", (long long)T);
done:
    return status;
}

/* Where the gradient of a tensor is; NULL where the model has no such tensor. */
static float *at(const work_t *b, int64_t offset)
{
    return offset < 0 ? NULL : b->gradient + (offset - b->first);
}

/* The gradient at the end of a branch: dx where no norm comes after the branch, else dx through the
 * backward of that norm, whose input was `raw`, in b->dnormed. */
static const float *behind_backward(work_t *b, const float *raw, const float *norm, float *dnorm)
{
    if (norm == NULL)
        return b->dx;
    ald_rmsnorm_backward(ald_pass_norm(&b->pass, norm), raw, b->dx, 0, b->dnormed, dnorm);
    return b->dnormed;
}

/* What a branch begins with: y = norm(x) W^T, and where the gradients of W and the norm are. */
typedef struct {
    const float *x, *norm, *weight;
    float *dnorm, *dweight;
} entry_t;

/* The backward of an entry for dy [T, N]: adds to dx and to the gradients of W and the norm. The
 * norm is computed anew from x. */
static void entry_backward(work_t *b, const entry_t *e, int64_t N, const float *dy)
{
    const ald_gemm_t *gemm = b->pass.gemm;
    const ald_linear_t sizes = {b->pass.T, N, b->pass.sizes.H};
    if (e->norm == NULL) {
        ald_linear_backward_weight(gemm, sizes, dy, e->x, e->dweight);
        ald_linear_backward_input(gemm, sizes, dy, e->weight, 1.0f, b->dx);
        return;
    }
    const ald_norm_t norm = ald_pass_norm(&b->pass, e->norm);
    ald_rmsnorm(norm, e->x, b->normed);
    ald_linear_backward_weight(gemm, sizes, dy, b->normed, e->dweight);
    ald_linear_backward_input(gemm, sizes, dy, e->weight, 0.0f, b->dnormed);
    ald_rmsnorm_backward(norm, e->x, b->dnormed, 1, b->dx, e->dnorm);
}

/* y = x + norm(down(gated(gate_up(norm(x))))): dx = dy + ..., in place. */
static void mlp_backward(work_t *b, const ald_layer_t *w, const ald_layer_offsets_t *o,
                         const ald_kept_t *k)
{
    const ald_sizes_t *s = &b->pass.sizes;
    const int64_t T = b->pass.T;
    const ald_linear_t down = {T, s->H, s->I};
    const entry_t entry = {k->middle, w->mlp_norm, ald_matrix_floats(&w->gate_up),
                           at(b, o->mlp_norm), at(b, o->gate_up)};
    const float *dout = behind_backward(b, k->mlp_raw, w->mlp_post_norm, at(b, o->mlp_post_norm));
    (s->gelu ? ald_geglu : ald_swiglu)(T, s->I, k->gate_up, b->act);
    if (w->down_bias != NULL)
        ald_bias_backward(T, s->H, dout, at(b, o->down_bias));
    ald_linear_backward_weight(b->pass.gemm, down, dout, b->act, at(b, o->down));
    ald_linear_backward_input(b->pass.gemm, down, dout, ald_matrix_floats(&w->down), 0.0f, b->dact);
    (s->gelu ? ald_geglu_backward : ald_swiglu_backward)(T, s->I, k->gate_up, b->dact, b->wide);
    if (w->gate_up_bias != NULL)
        ald_bias_backward(T, 2 * s->I, b->wide, at(b, o->gate_up_bias));
    entry_backward(b, &entry, 2 * s->I, b->wide);
}

/* Rotation and head norms backward, in place of b->dqkv. */
static void heads_backward(work_t *b, const ald_layer_t *w, const ald_layer_offsets_t *o,
                           const ald_kept_t *k)
{
    const ald_sizes_t *s = &b->pass.sizes;
    const int64_t q = s->NH * s->D, end = q + s->NKV * s->D;
    ald_layer_rotate(&b->pass, w, -1, b->dqkv);
    for (int64_t i = 0; i < end && w->q_norm != NULL; i += ald_head_norm(&b->pass, w, i).H)
        ald_rmsnorm_backward(ald_head_norm(&b->pass, w, i), k->raw + i, b->dqkv + i, 0, b->dqkv + i,
                             at(b, i < q ? o->q_norm : o->k_norm));
}

/* y = x + norm(out(attention(qkv(norm(x))))): dx = dy + ..., in place. */
static ald_status_t attention_backward(work_t *b, const ald_layer_t *w,
                                       const ald_layer_offsets_t *o, const ald_batch_t *batch,
                                       const ald_kept_t *k)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_sizes_t *s = &b->pass.sizes;
    const int64_t T = b->pass.T;
    const ald_linear_t output = {T, s->H, s->NH * s->D};
    const ald_attention_t attention =
        ald_layer_attention(&b->pass, w, batch->segments, batch->segment, k->qkv);
    const entry_t entry = {k->x, w->attention_norm, ald_matrix_floats(&w->qkv),
                           at(b, o->attention_norm), at(b, o->qkv)};
    const float *dout =
        behind_backward(b, k->attention_raw, w->attention_post_norm, at(b, o->attention_post_norm));
    if (w->output_bias != NULL)
        ald_bias_backward(T, s->H, dout, at(b, o->output_bias));
    ald_linear_backward_weight(b->pass.gemm, output, dout, k->attention, at(b, o->output));
    ald_linear_backward_input(b->pass.gemm, output, dout, ald_matrix_floats(&w->output), 0.0f,
                              b->wide);
    ALD_TRY(ald_attention_backward(&attention, k->attention, k->lse, b->wide, b->dqkv));
    heads_backward(b, w, o, k);
    if (w->qkv_bias != NULL)
        ald_bias_backward(T, s->Q, b->dqkv, at(b, o->qkv_bias));
    entry_backward(b, &entry, s->Q, b->dqkv);
done:
    return status;
}

/* Computes again, from its input, what the forward of a layer left in buffers that other layers use
 * (ald_model_t.recompute). */
static ald_status_t layer_again(work_t *b, const ald_layer_t *w, const ald_batch_t *batch,
                                const ald_kept_t *k)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_pass_t *pass = &b->pass;
    const ald_attention_t attention =
        ald_layer_attention(pass, w, batch->segments, batch->segment, k->qkv);
    const ald_mlp_buffers_t mlp = {b->normed, k->gate_up, b->act, k->mlp_raw};
    ald_layer_qkv(pass, w, k->x, b->normed, k->raw, k->qkv);
    ALD_TRY(ald_attention(&attention, k->attention, k->lse));
    ald_layer_output(pass, w, k->x, k->attention, k->attention_raw, k->middle);
    ald_layer_mlp_again(pass, w, k->middle, &mlp);
done:
    return status;
}

/* The backward of the final norm, in place of b->dx. */
static ald_status_t final_norm_backward(work_t *b, const ald_model_t *model, const float *x,
                                        const ald_gradients_t *gradients)
{
    const int64_t offset = model->params->final_norm;
    const ald_norm_t norm = ald_pass_norm(&b->pass, ald_model_vector(model, offset));
    b->first = offset;
    ald_rmsnorm_backward(norm, x, b->dx, 0, b->dx, at(b, offset));
    return ald_gradients_take_layer(gradients, offset, b->pass.sizes.H);
}

/* x = embedding(ids), scaled where the model does that. */
static ald_status_t embedding_backward(work_t *b, const ald_batch_t *batch,
                                       const ald_gradients_t *gradients)
{
    const ald_sizes_t *s = &b->pass.sizes;
    const int64_t T = b->pass.T;
    if (s->config->scaled_embedding)
        ald_scale(T * s->H, s->embedding_scale, b->dx);
    ald_embedding_backward(T, s->H, batch->ids, b->dx, gradients->vocabulary);
    return ald_gradients_take_vocabulary(gradients, gradients->params->embedding);
}

ald_status_t ald_backward(const ald_model_t *model, const ald_batch_t *batch,
                          ald_activations_t *activations, ald_arena_t *arena, float *d_hidden,
                          const ald_gradients_t *gradients)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const int64_t T = batch->tokens;
    ald_arena_mark_t mark = ald_arena_mark(arena);
    work_t work = {ald_pass(model, T, batch->positions), .gradient = gradients->layer,
                   .dx = d_hidden};
    ALD_TRY(work_init(arena, &work));
    ALD_TRY(final_norm_backward(&work, model, activations->last, gradients));
    for (int64_t l = params->config.layers - 1; l >= 0; --l) {
        const ald_layer_t w = ald_layer(model, l);
        const ald_layer_offsets_t *o = &params->layer[l];
        const ald_kept_t *k = &activations->layer[l];
        work.first = o->first;
        if (model->recompute && l < params->config.layers - 1)
            ALD_TRY(layer_again(&work, &w, batch, k));
        mlp_backward(&work, &w, o, k);
        ALD_TRY(attention_backward(&work, &w, o, batch, k));
        ALD_TRY(ald_gradients_take_layer(gradients, o->first, params->layer_floats));
    }
    ALD_TRY(embedding_backward(&work, batch, gradients));
done:
    ald_arena_release(arena, mark);
    return status;
}

ald_model_bytes_t ald_model_bytes(const ald_model_config_t *config, int64_t T, bool recompute)
{
    const ald_sizes_t s = ald_sizes(config);
    const int64_t attention = s.NH * s.D, wide = 2 * s.I > attention ? 2 * s.I : attention;
    const int64_t layer = s.H + s.Q * (config->qk_norm ? 2 : 1) + attention + s.NH + 2 * s.I +
                          (config->post_norm ? 2 * s.H : 0);
    const int64_t row = (int64_t)sizeof(float) * T;
    const int64_t layers = recompute ? 1 : config->layers;
    return (ald_model_bytes_t){.kept = row * (layer * layers + s.H * config->layers + s.H),
                               .forward = row * (2 * s.H + s.I),
                               .backward = row * (2 * s.H + 2 * s.I + wide + s.Q),
                               .alone = row * (3 * s.H + 3 * s.I + s.Q + attention)};
}
