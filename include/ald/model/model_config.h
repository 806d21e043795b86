/* A model's shape, from a Hugging Face config.json. Layer: model. */
#ifndef ALD_MODEL_MODEL_CONFIG_H
#define ALD_MODEL_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"

enum {
    ALD_LAYERS_MAX = 1024,    /* published models have up to some 130 */
    ALD_ROTATION_PAIRS = 256, /* head_dim is at most twice that, published ones are up to 256 */
};

/* The rotary embedding: at position p, pair i of a head turns by p * frequency[i] radians and is
 * multiplied by `factor`. Types as in transformers: default, linear, dynamic, llama3, yarn. For
 * yarn `factor` is taken as the file has it, whatever max_position_embeddings is. For dynamic
 * the rotation is the plain one up to max_position_embeddings tokens. Beyond, transformers turns
 * all of a sequence by an angle that depends on its whole length, which neither a key/value cache
 * nor a prompt shared by two responses has: longer sequences are refused. */
typedef struct {
    char type[16];
    double theta;
    double factor;                        /* YaRN's attention factor, else 1 */
    int64_t limit;                        /* longest sequence, tokens; 0: any */
    double frequency[ALD_ROTATION_PAIRS]; /* [head_dim / 2] */
} ald_rotation_t;

/* Decoder with RMSNorm, rotary embedding, grouped-query attention, gated MLP. */
typedef struct {
    char model_type[32];       /* a name of model_config.c's table */
    int64_t vocab_size;        /* V, rows of the embedding */
    int64_t hidden_size;       /* H */
    int64_t intermediate_size; /* I */
    int64_t layers;            /* L */
    int64_t heads;             /* NH, query heads */
    int64_t kv_heads;          /* NKV, divides NH */
    int64_t head_dim;          /* D, even */
    int64_t max_position;      /* tokens */
    double rms_norm_eps;
    ald_rotation_t rotation;
    ald_rotation_t window_rotation; /* with two_rotations: of the layers in `windowed` */
    bool two_rotations;
    uint64_t unrotated[ALD_LAYERS_MAX / 64]; /* a bit for each layer that has no rotation */
    int64_t window; /* tokens that the layers in `windowed` see, a query's own included; 0: all */
    uint64_t windowed[ALD_LAYERS_MAX / 64]; /* a bit for each layer */
    double attention_scale;                 /* factor of q k^T; 0: 1 / sqrt(D) */
    bool gelu;                              /* the MLP's gate: gelu's tanh form, else silu */
    bool scaled_embedding;                  /* rows of the embedding count times sqrt(H) */
    bool tied;                              /* the output matrix is the embedding */
    bool qkv_bias;                          /* q, k, v projections have a bias */
    bool output_bias;                       /* so has the attention's output projection */
    bool mlp_bias;                          /* gate, up and down projections have a bias */
    bool qk_norm;      /* RMSNorm over each head of q and k, before the rotation */
    bool wide_norm;    /* that norm goes over all heads at once */
    bool post_norm;    /* norms come after attention and MLP, not before */
    bool sandwich;     /* with post_norm: before them, too */
    bool offset_norm;  /* norms multiply by 1 + weight */
    ald_dtype_t dtype; /* torch_dtype (or dtype) */
    int32_t eos[16];   /* eos_token_id of generation_config.json, else of config.json */
    int eos_count;
} ald_model_config_t;

/* The window of a layer in tokens; 0: none. */
static inline int64_t ald_model_config_window(const ald_model_config_t *config, int64_t layer)
{
    return config->windowed[layer / 64] >> layer % 64 & 1 ? config->window : 0;
}
/* The rotation of a layer, which is the configuration's; NULL: none. */
static inline const ald_rotation_t *ald_model_config_rotation(const ald_model_config_t *config,
                                                              int64_t layer)
{
    if (config->unrotated[layer / 64] >> layer % 64 & 1)
        return NULL;
    return config->two_rotations && ald_model_config_window(config, layer) > 0
               ? &config->window_rotation
               : &config->rotation;
}

/* Reads DIR/config.json and DIR/generation_config.json. INPUT naming file and key for a missing or
 * wrong one, and for anything that may change the mathematics and isn't supported: model_type,
 * activation, type of rope_scaling, and every key that isn't known to be harmless. Local. */
ald_status_t ald_model_config_read(const char *directory, ald_model_config_t *out);
/* The same from one parsed config.json; `name` for messages. */
ald_status_t ald_model_config_parse(const ald_json_t *json, const char *name,
                                    ald_model_config_t *out);

#endif
