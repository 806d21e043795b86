/* One decoder layer in the forward direction, and views of its weights. Forward, backward and
 * decoding share it, so that all three compute the same function. */
#include "model/layer_impl.h"

#include <math.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/mapped_impl.h"

ald_sizes_t ald_sizes(const ald_model_config_t *c)
{
    return (ald_sizes_t){c->hidden_size,
                         c->intermediate_size,
                         c->head_dim,
                         c->heads,
                         c->kv_heads,
                         (c->heads + 2 * c->kv_heads) * c->head_dim,
                         c->rms_norm_eps,
                         c->offset_norm ? 1.0f : 0.0f,
                         c->scaled_embedding ? sqrtf((float)c->hidden_size) : 1.0f,
                         c->wide_norm,
                         c->gelu,
                         c};
}

const float *ald_model_vector(const ald_model_t *model, int64_t offset)
{
    return model->mapped == NULL ? model->values + offset
                                 : ald_mapped_vector(model->mapped, model->params, offset);
}

ald_matrix_t ald_model_matrix(const ald_model_t *model, int64_t offset, int64_t rows)
{
    return model->mapped == NULL ? ald_matrix_of(model->values + offset, rows)
                                 : ald_mapped_matrix(model->mapped, model->params, offset, rows);
}

ald_layer_t ald_layer(const ald_model_t *model, int64_t index)
{
    const ald_sizes_t s = ald_sizes(&model->params->config);
    const ald_layer_offsets_t *o = &model->params->layer[index];
#define VECTOR(member)       .member = o->member < 0 ? NULL : ald_model_vector(model, o->member)
#define MATRIX(member, rows) .member = ald_model_matrix(model, o->member, rows)
    return (ald_layer_t){VECTOR(attention_norm),
                         VECTOR(qkv_bias),
                         VECTOR(q_norm),
                         VECTOR(k_norm),
                         VECTOR(output_bias),
                         VECTOR(mlp_norm),
                         VECTOR(gate_up_bias),
                         VECTOR(down_bias),
                         VECTOR(attention_post_norm),
                         VECTOR(mlp_post_norm),
                         MATRIX(qkv, s.Q),
                         MATRIX(output, s.H),
                         MATRIX(gate_up, 2 * s.I),
                         MATRIX(down, s.H),
                         .window = ald_model_config_window(s.config, index),
                         .rotation = ald_model_config_rotation(s.config, index)};
#undef VECTOR
#undef MATRIX
}

void ald_embed(const ald_model_t *model, const ald_pass_t *pass, const int32_t *ids, float *x)
{
    const ald_sizes_t *s = &pass->sizes;
    const ald_matrix_t rows =
        ald_model_matrix(model, model->params->embedding, s->config->vocab_size);
    ald_matrix_gather(pass->T, s->H, ids, &rows, x);
    if (s->config->scaled_embedding)
        ald_scale(pass->T * s->H, s->embedding_scale, x);
}

ald_status_t ald_positions_check(const ald_pass_t *pass)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_config_t *config = pass->sizes.config;
    const ald_rotation_t *rotation = &config->rotation;
    if (config->two_rotations && rotation->limit == 0)
        rotation = &config->window_rotation;
    const int64_t limit = rotation->limit;
    for (int64_t t = 0; t < pass->T && limit > 0; ++t)
        ALD_CHECK(pass->positions[t] < limit, ALD_STATUS_INPUT,
                  "a sequence of more than %lld tokens, the model's max_position_embeddings; with "
                  "rope_scaling \"%s\" expected at most so many (lower data.max_prompt_tokens, "
                  "data.max_response_tokens or sampling.max_new_tokens)",
                  (long long)limit, rotation->type);
done:
    return status;
}

ald_norm_t ald_head_norm(const ald_pass_t *pass, const ald_layer_t *w, int64_t at)
{
    const ald_sizes_t *s = &pass->sizes;
    const bool query = at < s->NH * s->D;
    const int64_t width = !s->wide_norm ? s->D : (query ? s->NH : s->NKV) * s->D;
    return (ald_norm_t){pass->T,       width, s->Q, s->eps, query ? w->q_norm : w->k_norm,
                        s->norm_offset};
}

void ald_layer_rotate(const ald_pass_t *pass, const ald_layer_t *w, int direction, float *qkv)
{
    const ald_sizes_t *s = &pass->sizes;
    if (w->rotation != NULL)
        ald_rope(pass->T, s->NH + s->NKV, s->D, s->Q, pass->positions, w->rotation->frequency,
                 w->rotation->factor, direction, qkv);
}

/* norm(x), computed into `normed`; x itself where the model has no such norm. */
static const float *norm_before(const ald_pass_t *pass, const float *x, const float *w,
                                float *normed)
{
    if (w == NULL)
        return x;
    ald_rmsnorm(ald_pass_norm(pass, w), x, normed);
    return normed;
}

/* y = norm(y) where the model has such a norm; `raw` gets the y before it. */
static void norm_behind(const ald_pass_t *pass, const float *w, float *raw, float *y)
{
    if (w == NULL)
        return;
    if (raw != NULL)
        memcpy(raw, y, sizeof(float) * (size_t)(pass->T * pass->sizes.H));
    ald_rmsnorm(ald_pass_norm(pass, w), y, y);
}

void ald_layer_qkv(const ald_pass_t *pass, const ald_layer_t *w, const float *x, float *normed,
                   float *raw, float *qkv)
{
    const ald_sizes_t *s = &pass->sizes;
    const int64_t T = pass->T;
    const float *in = norm_before(pass, x, w->attention_norm, normed);
    const int64_t end = (s->NH + s->NKV) * s->D;
    ald_matrix_linear(pass->gemm, (ald_linear_t){T, s->Q, s->H}, in, &w->qkv, 0.0f, qkv);
    if (w->qkv_bias != NULL)
        ald_bias(T, s->Q, w->qkv_bias, qkv);
    if (raw != NULL)
        memcpy(raw, qkv, sizeof(float) * (size_t)(T * s->Q));
    for (int64_t at = 0; at < end && w->q_norm != NULL; at += ald_head_norm(pass, w, at).H)
        ald_rmsnorm(ald_head_norm(pass, w, at), qkv + at, qkv + at);
    ald_layer_rotate(pass, w, 1, qkv);
}

void ald_layer_output(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                      const float *attention, float *raw, float *y)
{
    const ald_sizes_t *s = &pass->sizes;
    const int64_t T = pass->T;
    ald_matrix_linear(pass->gemm, (ald_linear_t){T, s->H, s->NH * s->D}, attention, &w->output,
                      0.0f, y);
    if (w->output_bias != NULL)
        ald_bias(T, s->H, w->output_bias, y);
    norm_behind(pass, w->attention_post_norm, raw, y);
    ald_add(T * s->H, x, y);
}

/* gate_up[T, 2I] = norm(x) W^T + b */
static void mlp_gate_up(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                        const ald_mlp_buffers_t *b)
{
    const ald_linear_t sizes = {pass->T, 2 * pass->sizes.I, pass->sizes.H};
    const float *in = norm_before(pass, x, w->mlp_norm, b->normed);
    ald_matrix_linear(pass->gemm, sizes, in, &w->gate_up, 0.0f, b->gate_up);
    if (w->gate_up_bias != NULL)
        ald_bias(sizes.M, sizes.N, w->gate_up_bias, b->gate_up);
}

/* out[T, H] = beta out + gated(gate_up) W^T + b */
static void mlp_down(const ald_pass_t *pass, const ald_layer_t *w, const ald_mlp_buffers_t *b,
                     float beta, float *out)
{
    const ald_linear_t sizes = {pass->T, pass->sizes.H, pass->sizes.I};
    (pass->sizes.gelu ? ald_geglu : ald_swiglu)(sizes.M, pass->sizes.I, b->gate_up, b->act);
    ald_matrix_linear(pass->gemm, sizes, b->act, &w->down, beta, out);
    if (w->down_bias != NULL)
        ald_bias(sizes.M, sizes.N, w->down_bias, out);
}

void ald_layer_mlp_again(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                         const ald_mlp_buffers_t *b)
{
    mlp_gate_up(pass, w, x, b);
    if (b->raw != NULL)
        mlp_down(pass, w, b, 0.0f, b->raw);
}

void ald_layer_mlp(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                   const ald_mlp_buffers_t *b, float *y)
{
    const ald_sizes_t *s = &pass->sizes;
    const int64_t T = pass->T;
    const bool behind = w->mlp_post_norm != NULL; /* then `normed` is free for the product */
    float *out = behind ? b->normed : y;
    mlp_gate_up(pass, w, x, b);
    if (y != x)
        memcpy(y, x, sizeof(float) * (size_t)(T * s->H));
    mlp_down(pass, w, b, behind ? 0.0f : 1.0f, out);
    norm_behind(pass, w->mlp_post_norm, b->raw, out);
    if (behind)
        ald_add(T * s->H, out, y);
}
