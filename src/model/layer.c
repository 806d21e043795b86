#include "model/layer.h"

#include <string.h>

#include "model/mapped.h"

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
    return (ald_layer_t){VECTOR(attention_norm), VECTOR(qkv_bias),    VECTOR(q_norm),
                         VECTOR(k_norm),         VECTOR(output_bias), VECTOR(mlp_norm),
                         MATRIX(qkv, s.Q),       MATRIX(output, s.H), MATRIX(gate_up, 2 * s.I),
                         MATRIX(down, s.H)};
#undef VECTOR
#undef MATRIX
}

void ald_layer_qkv(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                   const int32_t *positions, const float *x, float *normed, float *raw, float *qkv)
{
    ald_rmsnorm(T, s->H, s->H, s->eps, x, w->attention_norm, normed);
    ald_matrix_linear(gemm, T, s->Q, s->H, normed, &w->qkv, 0.0f, qkv);
    if (w->qkv_bias != NULL)
        ald_bias(T, s->Q, w->qkv_bias, qkv);
    if (raw != NULL)
        memcpy(raw, qkv, sizeof(float) * (size_t)(T * s->Q));
    for (int64_t h = 0; h < s->NH + s->NKV && w->q_norm != NULL; ++h)
        ald_rmsnorm(T, s->D, s->Q, s->eps, qkv + h * s->D, h < s->NH ? w->q_norm : w->k_norm,
                    qkv + h * s->D);
    ald_rope(T, s->NH + s->NKV, s->D, s->Q, positions, s->theta, 1, qkv);
}

void ald_layer_output(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                      const float *x, const float *attention, float *y)
{
    ald_matrix_linear(gemm, T, s->H, s->NH * s->D, attention, &w->output, 0.0f, y);
    if (w->output_bias != NULL)
        ald_bias(T, s->H, w->output_bias, y);
    ald_add(T * s->H, x, y);
}

void ald_layer_mlp(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                   const float *x, float *normed, float *gate_up, float *act, float *y)
{
    ald_rmsnorm(T, s->H, s->H, s->eps, x, w->mlp_norm, normed);
    ald_matrix_linear(gemm, T, 2 * s->I, s->H, normed, &w->gate_up, 0.0f, gate_up);
    ald_swiglu(T, s->I, gate_up, act);
    if (y != x)
        memcpy(y, x, sizeof(float) * (size_t)(T * s->H));
    ald_matrix_linear(gemm, T, s->H, s->I, act, &w->down, 1.0f, y);
}
