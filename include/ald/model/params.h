/* *The* tensor list: every parameter of a model as a named view into one flat buffer of floats.
 * Loading, saving, broadcasting, the optimizer, checkpoints, the planner and the tests walk it.
 * Layer: model. */
#ifndef ALD_MODEL_PARAMS_H
#define ALD_MODEL_PARAMS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/model_config.h"

/* One tensor. Row-major, weights as [out, in] like PyTorch's Linear. */
typedef struct {
    char name[80];    /* as in the safetensors file: "model.layers.0.self_attn.q_proj.weight" */
    int ndim;         /* 1 or 2 */
    int64_t shape[2]; /* shape[1] is 1 for ndim 1 */
    int64_t offset;   /* in floats, from the buffer's start */
    int64_t count;    /* floats */
    int64_t layer;    /* to which it belongs; -1: to none */
} ald_tensor_t;

/* Offsets (in floats) of a layer's tensors; -1 where the model has none. q, k, v lie one after the
 * other, and so do gate and up: each group is one matrix for the matrix product. */
typedef struct {
    int64_t first;                              /* of all of them, which lie together */
    int64_t attention_norm;                     /* [H] */
    int64_t qkv;                                /* [(NH + 2 NKV) D, H] */
    int64_t qkv_bias;                           /* [(NH + 2 NKV) D] */
    int64_t q_norm, k_norm;                     /* [D]; with wide_norm [NH D], [NKV D] */
    int64_t output;                             /* [H, NH D] */
    int64_t output_bias;                        /* [H] */
    int64_t mlp_norm;                           /* [H] */
    int64_t gate_up;                            /* [2 I, H]: gate rows, then up rows */
    int64_t gate_up_bias;                       /* [2 I] */
    int64_t down;                               /* [H, I] */
    int64_t down_bias;                          /* [H] */
    int64_t attention_post_norm, mlp_post_norm; /* [H]; in place of the other two, or besides */
} ald_layer_offsets_t;

typedef struct {
    ald_model_config_t config;
    ald_tensor_t *tensors;      /* owned */
    int64_t count;              /* tensors */
    int64_t total;              /* floats in all */
    int64_t layer_floats;       /* floats of a layer */
    int64_t embedding;          /* offset of [V, H] */
    int64_t final_norm;         /* [H] */
    int64_t lm_head;            /* [V, H]; equals `embedding` when tied */
    ald_layer_offsets_t *layer; /* [L], owned */
} ald_params_t;

/* Lays the list out for a configuration. Local. */
ald_status_t ald_params_init(const ald_model_config_t *config, ald_params_t *out);
void ald_params_reset(ald_params_t *params); /* takes a zeroed one */

#endif
