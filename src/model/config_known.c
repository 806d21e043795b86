/* Which keys of config.json may be there. A key that nobody here has heard of may change what the
 * model computes, and a model that computes something else trains without complaint: so a list of
 * what is harmless decides, and everything else is refused by name. */
#include "model/config_known_impl.h"

#include <math.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "model/config_keys_impl.h"

/* Keys that model_config.c and rotation.c read for every family. */
static const char *const known[] = {"attention_bias",
                                    "dtype",
                                    "eos_token_id",
                                    "head_dim",
                                    "hidden_act",
                                    "hidden_activation",
                                    "hidden_size",
                                    "intermediate_size",
                                    "layer_types",
                                    "max_position_embeddings",
                                    "max_window_layers",
                                    "mlp_bias",
                                    "model_type",
                                    "num_attention_heads",
                                    "num_hidden_layers",
                                    "num_key_value_heads",
                                    "original_max_position_embeddings",
                                    "partial_rotary_factor",
                                    "rms_norm_eps",
                                    "rope_parameters",
                                    "rope_scaling",
                                    "rope_theta",
                                    "sliding_window",
                                    "tie_word_embeddings",
                                    "torch_dtype",
                                    "use_sliding_window",
                                    "vocab_size"};

/* Keys that say nothing of the mathematics: names, tokens, generation, training, which code runs
 * it. */
static const char *const harmless[] = {"_attn_implementation",
                                       "_attn_implementation_autoset",
                                       "_attn_implementation_internal",
                                       "_commit_hash",
                                       "_flash_attn_2_enabled",
                                       "_name_or_path",
                                       "_output_attentions",
                                       "add_bos_token",
                                       "add_eos_token",
                                       "architectures",
                                       "attention_implementation",
                                       "attn_implementation",
                                       "bad_words_ids",
                                       "begin_suppress_tokens",
                                       "bos_token",
                                       "bos_token_id",
                                       "cache_implementation",
                                       "chunk_size_feed_forward",
                                       "classifier_dropout",
                                       "cls_token_id",
                                       "decoder_start_token_id",
                                       "diversity_penalty",
                                       "do_sample",
                                       "early_stopping",
                                       "encoder_no_repeat_ngram_size",
                                       "eos_token",
                                       "exponential_decay_length_penalty",
                                       "finetuning_task",
                                       "forced_bos_token_id",
                                       "forced_eos_token_id",
                                       "gradient_checkpointing",
                                       "hub_model_id",
                                       "id2label",
                                       "ignore_index",
                                       "initializer_range",
                                       "is_llama_config",
                                       "keys_to_ignore_at_inference",
                                       "label2id",
                                       "length_penalty",
                                       "license",
                                       "logits_to_keep",
                                       "mask_token_id",
                                       "max_length",
                                       "max_new_tokens",
                                       "max_seq_len",
                                       "max_seq_length",
                                       "max_sequence_length",
                                       "min_length",
                                       "model_max_length",
                                       "model_name",
                                       "name_or_path",
                                       "no_repeat_ngram_size",
                                       "num_beam_groups",
                                       "num_beams",
                                       "num_labels",
                                       "num_logits_to_keep",
                                       "num_return_sequences",
                                       "output_attentions",
                                       "output_hidden_states",
                                       "output_past",
                                       "output_scores",
                                       "pad_token",
                                       "pad_token_id",
                                       "padding_side",
                                       "prefix",
                                       "pretraining_tp",
                                       "problem_type",
                                       "processor_class",
                                       "remove_invalid_values",
                                       "repetition_penalty",
                                       "return_dict",
                                       "return_dict_in_generate",
                                       "sep_token_id",
                                       "seq_length",
                                       "suppress_tokens",
                                       "task_specific_params",
                                       "temperature",
                                       "tf_legacy_loss",
                                       "tokenizer_class",
                                       "tokenizer_model_max_length",
                                       "tokenizer_padding_side",
                                       "top_k",
                                       "top_p",
                                       "torchscript",
                                       "trained_with",
                                       "transformers.js_config",
                                       "transformers_version",
                                       "typical_p",
                                       "unk_token",
                                       "unk_token_id",
                                       "use_bfloat16",
                                       "use_cache",
                                       "use_flash_attention",
                                       "use_flash_attention_2",
                                       "use_flash_attn"};
/* The same for all keys that begin so: tools write their own versions and settings there. */
static const char *const harmless_prefixes[] = {"unsloth_"};

/* Keys that are harmless with one value alone: the number 0 or 1, true, false (which also turns off
 * what is switched on by a number). */
enum { IF_0, IF_1, IF_FALSE, IF_TRUE };
static const struct {
    const char *key;
    int value;
} conditional[] = {
    {"attention_dropout", IF_0},
    {"attn_pdrop", IF_0},
    {"attn_temperature_tuning", IF_0},
    {"dropout", IF_0},
    {"embd_pdrop", IF_0},
    {"embedding_dropout", IF_0},
    {"ffn_dropout", IF_0},
    {"hidden_dropout", IF_0},
    {"hidden_dropout_prob", IF_0},
    {"n_routed_experts", IF_0},
    {"n_shared_experts", IF_0},
    {"no_rope_layer_interval", IF_0},
    {"num_experts", IF_0},
    {"num_experts_per_tok", IF_0},
    {"num_local_experts", IF_0},
    {"num_nextn_predict_layers", IF_0},
    {"resid_dropout", IF_0},
    {"resid_pdrop", IF_0},
    {"residual_dropout", IF_0},
    {"router_aux_loss_coef", IF_0},
    {"embedding_multiplier", IF_1},
    {"logit_scale", IF_1},
    {"logits_scaling", IF_1},
    {"residual_multiplier", IF_1},
    {"rotary_pct", IF_1},
    {"scale_emb", IF_1},
    {"add_cross_attention", IF_FALSE},
    {"alibi", IF_FALSE},
    {"attention_chunk_size", IF_FALSE},
    {"attention_multiplier", IF_FALSE},
    {"attn_logit_softcapping", IF_FALSE},
    {"attn_qkv_bias", IF_FALSE},
    {"bias", IF_FALSE},
    {"clip_qkv", IF_FALSE},
    {"cross_attention_hidden_size", IF_FALSE},
    {"dim_model_base", IF_FALSE},
    {"final_logit_softcapping", IF_FALSE},
    {"is_decoder", IF_FALSE},
    {"is_encoder_decoder", IF_FALSE},
    {"kv_lora_rank", IF_FALSE},
    {"lm_head_bias", IF_FALSE},
    {"multi_query", IF_FALSE},
    {"no_rope_layers", IF_FALSE},
    {"output_router_logits", IF_FALSE},
    {"parallel_attn", IF_FALSE},
    {"q_lora_rank", IF_FALSE},
    {"qk_layernorm", IF_FALSE},
    {"qkv_bias", IF_FALSE},
    {"quantization_config", IF_FALSE},
    {"query_pre_attn_scalar", IF_FALSE},
    {"rope_interleaved", IF_FALSE},
    {"scale_depth", IF_FALSE},
    {"tie_encoder_decoder", IF_FALSE},
    {"use_alibi", IF_FALSE},
    {"use_bidirectional_attention", IF_FALSE},
    {"use_dynamic_ntk", IF_FALSE},
    {"use_logn_attn", IF_FALSE},
    {"use_mrope", IF_FALSE},
    {"use_parallel_residual", IF_FALSE},
    {"use_qk_norm", IF_FALSE},
    {"is_causal", IF_TRUE},
    {"use_rms_norm", IF_TRUE},
    {"use_rope", IF_TRUE},
};

static bool is_listed(const char *key, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

static bool is_harmless(const char *key)
{
    if (is_listed(key, known, sizeof known / sizeof *known) ||
        is_listed(key, harmless, sizeof harmless / sizeof *harmless))
        return true;
    for (size_t i = 0; i < sizeof harmless_prefixes / sizeof *harmless_prefixes; ++i)
        if (strncmp(key, harmless_prefixes[i], strlen(harmless_prefixes[i])) == 0)
            return true;
    return false;
}

/* Whether the value says nothing. */
static bool is_silent(const char *key, const ald_json_t *value)
{
    const bool list = ald_json_is_array(value) || ald_json_is_object(value);
    return ald_json_is_null(value) ||
           (list && ald_json_count(value) == 0 && strcmp(key, "quantization_config") != 0);
}

static bool is_off(int value, const ald_json_t *found)
{
    const double number = ald_json_is_number(found) ? ald_json_number(found, NAN) : NAN;
    if (ald_json_is_bool(found))
        return ald_json_bool(found, false) == (value == IF_TRUE);
    return (value == IF_0 && number == 0.0) || (value == IF_1 && number == 1.0);
}

/* What a conditional key is to be; NULL: it is that. */
static const char *expectation(const char *key, const ald_json_t *found)
{
    static const char *const texts[] = {"0", "1", "false", "true"};
    for (size_t i = 0; i < sizeof conditional / sizeof *conditional; ++i)
        if (strcmp(key, conditional[i].key) == 0)
            return is_off(conditional[i].value, found) ? NULL : texts[conditional[i].value];
    return "";
}

ald_status_t ald_keys_check_known(const ald_keys_t *keys, const char *const *also)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *key;
    const ald_json_t *value;
    void *iterator = NULL;
    size_t others = 0;
    while (also[others] != NULL)
        ++others;
    while (ald_json_next(keys->json, &iterator, &key, &value)) {
        if (is_harmless(key) || is_listed(key, also, others) || is_silent(key, value))
            continue;
        const char *expected = expectation(key, value);
        if (expected == NULL)
            continue;
        if (expected[0] == '\0')
            ALD_WRONG(
                keys, key,
                "none: this key isn't known, and may change what the model computes (remove it "
                "if it doesn't)");
        if (strcmp(expected, "true") == 0)
            ALD_WRONG(keys, key, "true (anything else is not supported)");
        ALD_WRONG(keys, key, "none (this is not supported)");
    }
done:
    return status;
}
