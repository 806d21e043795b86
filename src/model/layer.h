/* Private to model: what forward, backward and decoding share. */
#ifndef ALD_MODEL_LAYER_H
#define ALD_MODEL_LAYER_H

#include "ald/model.h"

/* Sizes that every function needs, and pointers to one layer's weights (NULL: the model has none).
 */
typedef struct {
    int64_t H, I, D, NH, NKV, Q; /* Q = (NH + 2 NKV) D, a row of qkv */
    double eps, theta;
} ald_sizes_t;

typedef struct {
    const float *attention_norm, *qkv, *qkv_bias, *q_norm, *k_norm, *output, *output_bias;
    const float *mlp_norm, *gate_up, *down;
} ald_layer_t;

static inline ald_sizes_t ald_sizes(const ald_model_config_t *c)
{
    return (ald_sizes_t){c->hidden_size,  c->intermediate_size,
                         c->head_dim,     c->heads,
                         c->kv_heads,     (c->heads + 2 * c->kv_heads) * c->head_dim,
                         c->rms_norm_eps, c->rope_theta};
}

static inline ald_layer_t ald_layer(const ald_params_t *params, const float *values, int64_t index)
{
    const ald_layer_offsets_t *o = &params->layer[index];
#define AT(member) (o->member < 0 ? NULL : values + o->member)
    return (ald_layer_t){AT(attention_norm), AT(qkv),         AT(qkv_bias), AT(q_norm),  AT(k_norm),
                         AT(output),         AT(output_bias), AT(mlp_norm), AT(gate_up), AT(down)};
#undef AT
}

/* qkv[T, Q] = rotate(normalise(norm(x) W^T + b)); `normed` [T, H] is left holding norm(x), and
 * `raw` (may be NULL) gets qkv before head norms and rotation. */
void ald_layer_qkv(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                   const int32_t *positions, const float *x, float *normed, float *raw, float *qkv);
/* y[T, H] = x + a W_o^T + b */
void ald_layer_output(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                      const float *x, const float *attention, float *y);
/* y = x + down(swiglu(gate_up(norm(x)))); `normed` [T, H], gate_up [T, 2I] and act [T, I] are left
 * filled. y may be x. */
void ald_layer_mlp(const ald_sizes_t *s, const ald_layer_t *w, const ald_gemm_t *gemm, int64_t T,
                   const float *x, float *normed, float *gate_up, float *act, float *y);

#endif
