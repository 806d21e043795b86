/* A model's shape, from a Hugging Face config.json. Layer: model. */
#ifndef ALD_MODEL_CONFIG_H
#define ALD_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/dtype.h"
#include "ald/json.h"
#include "ald/status.h"

/* Decoder with RMSNorm, rotary embedding, grouped-query attention, SwiGLU. */
typedef struct {
    char model_type[32];       /* qwen2, qwen3, llama, mistral */
    int64_t vocab_size;        /* V, rows of the embedding */
    int64_t hidden_size;       /* H */
    int64_t intermediate_size; /* I */
    int64_t layers;            /* L */
    int64_t heads;             /* NH, query heads */
    int64_t kv_heads;          /* NKV, divides NH */
    int64_t head_dim;          /* D, even */
    int64_t max_position;      /* tokens */
    double rms_norm_eps, rope_theta;
    bool tied;         /* the output matrix is the embedding */
    bool qkv_bias;     /* q, k, v projections have a bias */
    bool output_bias;  /* so has the attention's output projection */
    bool qk_norm;      /* RMSNorm over each head of q and k, before the rotation */
    ald_dtype_t dtype; /* torch_dtype (or dtype) */
    int32_t eos[16];   /* eos_token_id of generation_config.json, else of config.json */
    int eos_count;
} ald_model_config_t;

/* Reads DIR/config.json and DIR/generation_config.json. INPUT naming file and key for a missing or
 * wrong one, and for anything that would change the mathematics and isn't supported (model_type,
 * activation, rope_scaling, sliding window in use, mlp_bias, ...). Local. */
ald_status_t ald_model_config_read(const char *directory, ald_model_config_t *out);
/* The same from one parsed config.json; `name` for messages. */
ald_status_t ald_model_config_parse(const ald_json_t *json, const char *name,
                                    ald_model_config_t *out);

#endif
