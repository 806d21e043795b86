/* Private to model: what forward, backward and decoding share. */
#ifndef ALD_MODEL_LAYER_IMPL_H
#define ALD_MODEL_LAYER_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/num/attention.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"

/* The sizes that every function needs, and pointers to the weights of one layer (NULL: the model
 * has no such tensor). */
typedef struct {
    int64_t H, I, D, NH, NKV, Q; /* Q = (NH + 2 NKV) D, a row of qkv */
    double eps;
    float norm_offset, embedding_scale; /* ald_norm_t.offset; factor of the embedding's rows */
    bool wide_norm, gelu;
    const ald_model_config_t *config;
} ald_sizes_t;

/* What all layers of a pass over T rows share. */
typedef struct {
    ald_sizes_t sizes;
    const ald_gemm_t *gemm;
    int64_t T;
    const int32_t *positions;
} ald_pass_t;

typedef struct {
    const float *attention_norm, *qkv_bias, *q_norm, *k_norm, *output_bias, *mlp_norm;
    const float *gate_up_bias, *down_bias, *attention_post_norm, *mlp_post_norm;
    ald_matrix_t qkv, output, gate_up, down;
    int64_t window;                 /* tokens that a query sees; 0: all */
    const ald_rotation_t *rotation; /* NULL: none */
} ald_layer_t;

ald_sizes_t ald_sizes(const ald_model_config_t *config);

static inline ald_pass_t ald_pass(const ald_model_t *model, int64_t T, const int32_t *positions)
{
    return (ald_pass_t){ald_sizes(&model->params->config), model->gemm, T, positions};
}

/* The one-dimensional tensors at an offset of the list (several that follow each other are one),
 * and the matrix of `rows` there. */
const float *ald_model_vector(const ald_model_t *model, int64_t offset);
ald_matrix_t ald_model_matrix(const ald_model_t *model, int64_t offset, int64_t rows);
ald_layer_t ald_layer(const ald_model_t *model, int64_t index);
/* x[T, H]: the rows of the embedding for the ids, scaled where the model does that. */
void ald_embed(const ald_model_t *model, const ald_pass_t *pass, const int32_t *ids, float *x);

/* INPUT when a sequence goes on beyond what the rotation allows (ald_rotation_t.limit). */
ald_status_t ald_positions_check(const ald_pass_t *pass);
/* A norm of width H over the T rows. */
static inline ald_norm_t ald_pass_norm(const ald_pass_t *pass, const float *w)
{
    const ald_sizes_t *s = &pass->sizes;
    return (ald_norm_t){pass->T, s->H, s->H, s->eps, w, s->norm_offset};
}
/* The norm over q or k that begins `at` floats into a row of qkv. */
ald_norm_t ald_head_norm(const ald_pass_t *pass, const ald_layer_t *w, int64_t at);
/* Turns the heads of q and k in qkv[T, Q] where the layer has a rotation; direction as ald_rope. */
void ald_layer_rotate(const ald_pass_t *pass, const ald_layer_t *w, int direction, float *qkv);

/* Below, norm(x) is x where the model has no such norm.
 *
 * qkv[T, Q] = rotate(normalise(norm(x) W^T + b)); `normed` [T, H] is left holding norm(x) where
 * there is a norm, and `raw` (may be NULL) gets qkv before head norms and rotation. */
void ald_layer_qkv(const ald_pass_t *pass, const ald_layer_t *w, const float *x, float *normed,
                   float *raw, float *qkv);
static inline ald_attention_t ald_layer_attention(const ald_pass_t *pass, const ald_layer_t *w,
                                                  int64_t segments, const ald_segment_t *segment,
                                                  const float *qkv)
{
    const ald_sizes_t *s = &pass->sizes;
    return (ald_attention_t){pass->T, s->NH,     s->NKV,
                             s->D,    w->window, segments,
                             segment, qkv,       s->config->attention_scale};
}
/* y[T, H] = x + norm(a W_o^T + b); `raw` (may be NULL) gets the input of that norm. */
void ald_layer_output(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                      const float *attention, float *raw, float *y);
/* y = x + norm(down(gated(gate_up(norm(x))))); of its buffers `normed` [T, H] is scratch, gate_up
 * [T, 2I] and act [T, I] are left filled, `raw` (may be NULL) gets the input of the outer norm. y
 * may be x. */
typedef struct {
    float *normed, *gate_up, *act, *raw;
} ald_mlp_buffers_t;
void ald_layer_mlp(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                   const ald_mlp_buffers_t *b, float *y);
/* Of the same the buffers gate_up and, where it isn't NULL, raw; y isn't computed. */
void ald_layer_mlp_again(const ald_pass_t *pass, const ald_layer_t *w, const float *x,
                         const ald_mlp_buffers_t *b);

#endif
