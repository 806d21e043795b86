/* Lays out the list of tensors, with names as in the files. Everything that handles parameters
 * walks this list, so a new tensor is one line here. */
#include "ald/model/params.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model_config.h"

/* Most floats of a model: far above any real one, and far below where sums of sizes overflow. */
static const int64_t total_max = (int64_t)1 << 56;

/* Appends one tensor; `at` receives its offset unless NULL. columns 0 means one dimension. */
static void add(ald_params_t *params, int64_t layer, const char *name, int64_t rows,
                int64_t columns, int64_t *at)
{
    ald_tensor_t *tensor = &params->tensors[params->count++];
    if (layer < 0)
        snprintf(tensor->name, sizeof tensor->name, "%s", name);
    else
        snprintf(tensor->name, sizeof tensor->name, "model.layers.%d.%s", (int)layer, name);
    tensor->ndim = columns > 0 ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns > 0 ? columns : 1;
    tensor->count = rows * tensor->shape[1];
    tensor->offset = params->total;
    tensor->layer = layer;
    if (at != NULL)
        *at = tensor->offset;
    /* A saturated total is refused at the end; counts are below 2^62. */
    params->total =
        params->total + tensor->count < total_max ? params->total + tensor->count : total_max;
}

static void add_layer(ald_params_t *params, int64_t l)
{
    const ald_model_config_t *config = &params->config;
    const int64_t H = config->hidden_size, I = config->intermediate_size, D = config->head_dim;
    const int64_t q = config->heads * D, kv = config->kv_heads * D;
    ald_layer_offsets_t *at = &params->layer[l];
    memset(at, -1, sizeof *at); /* all -1 */
    at->first = params->total;
    if (!config->post_norm || config->sandwich)
        add(params, l, "input_layernorm.weight", H, 0, &at->attention_norm);
    add(params, l, "self_attn.q_proj.weight", q, H, &at->qkv);
    add(params, l, "self_attn.k_proj.weight", kv, H, NULL);
    add(params, l, "self_attn.v_proj.weight", kv, H, NULL);
    if (config->qkv_bias) {
        add(params, l, "self_attn.q_proj.bias", q, 0, &at->qkv_bias);
        add(params, l, "self_attn.k_proj.bias", kv, 0, NULL);
        add(params, l, "self_attn.v_proj.bias", kv, 0, NULL);
    }
    if (config->qk_norm) {
        add(params, l, "self_attn.q_norm.weight", config->wide_norm ? q : D, 0, &at->q_norm);
        add(params, l, "self_attn.k_norm.weight", config->wide_norm ? kv : D, 0, &at->k_norm);
    }
    add(params, l, "self_attn.o_proj.weight", H, q, &at->output);
    if (config->output_bias)
        add(params, l, "self_attn.o_proj.bias", H, 0, &at->output_bias);
    add(params, l, "post_attention_layernorm.weight", H, 0,
        config->post_norm ? &at->attention_post_norm : &at->mlp_norm);
    if (config->sandwich)
        add(params, l, "pre_feedforward_layernorm.weight", H, 0, &at->mlp_norm);
    add(params, l, "mlp.gate_proj.weight", I, H, &at->gate_up);
    add(params, l, "mlp.up_proj.weight", I, H, NULL);
    if (config->mlp_bias) {
        add(params, l, "mlp.gate_proj.bias", I, 0, &at->gate_up_bias);
        add(params, l, "mlp.up_proj.bias", I, 0, NULL);
    }
    add(params, l, "mlp.down_proj.weight", H, I, &at->down);
    if (config->mlp_bias)
        add(params, l, "mlp.down_proj.bias", H, 0, &at->down_bias);
    if (config->post_norm)
        add(params, l, "post_feedforward_layernorm.weight", H, 0, &at->mlp_post_norm);
}

ald_status_t ald_params_init(const ald_model_config_t *config, ald_params_t *out)
{
    /* At most: all that add_layer may add, and embedding, final norm and output matrix. */
    enum { LAYER_TENSORS = 20, OTHER_TENSORS = 3 };
    ald_status_t status = ALD_STATUS_OK;
    const size_t L = (size_t)config->layers, room = L * LAYER_TENSORS + OTHER_TENSORS;
    *out = (ald_params_t){.config = *config};
    out->tensors = ald_calloc(room, sizeof *out->tensors);
    ALD_CHECK_MEMORY(out->tensors, room * sizeof *out->tensors);
    out->layer = ald_calloc(L, sizeof *out->layer);
    ALD_CHECK_MEMORY(out->layer, L * sizeof *out->layer);
    add(out, -1, "model.embed_tokens.weight", config->vocab_size, config->hidden_size,
        &out->embedding);
    for (int64_t l = 0; l < config->layers; ++l)
        add_layer(out, l);
    out->layer_floats = (out->total - out->tensors[0].count) / config->layers;
    add(out, -1, "model.norm.weight", config->hidden_size, 0, &out->final_norm);
    out->lm_head = out->embedding;
    if (!config->tied)
        add(out, -1, "lm_head.weight", config->vocab_size, config->hidden_size, &out->lm_head);
    ALD_CHECK(out->total < total_max, ALD_STATUS_INPUT,
              "a model of this configuration is too large to be laid out");
done:
    if (status != ALD_STATUS_OK)
        ald_params_reset(out);
    return status;
}

void ald_params_reset(ald_params_t *params)
{
    ald_free(params->tensors);
    ald_free(params->layer);
    *params = (ald_params_t){0};
}
