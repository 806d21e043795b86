/* config.json of every supported family, and of those that aren't. */
#include <math.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"
#include "scratch.h"

#define BASE                                                                                       \
    "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "                        \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4"

#define KV2 "\"num_key_value_heads\": 2"

static ald_status_t parse(const char *text, ald_model_config_t *out)
{
    ald_json_t *json = NULL;
    expect_ok(ald_json_parse(text, strlen(text), "DIR/config.json", &json));
    ald_status_t status = ald_model_config_parse(json, "DIR/config.json", out);
    ald_json_free(json);
    return status;
}

static void silent_keys_get_their_defaults(void **state)
{
    (void)state;
    ald_model_config_t config;
    expect_ok(parse("{\"model_type\": \"llama\", " BASE "}", &config));
    assert_string_equal(config.model_type, "llama");
    assert_int_equal(config.kv_heads, 4);
    assert_int_equal(config.head_dim, 8);
    assert_int_equal(config.max_position, 2048);
    assert_true(config.rms_norm_eps == 1e-6 && config.rotation.theta == 10000);
    assert_false(config.tied || config.qkv_bias || config.output_bias || config.qk_norm);
    assert_int_equal(config.dtype, ALD_DTYPE_F32);
    assert_int_equal(config.eos_count, 0);
}

static void families_differ_in_bias_and_norm(void **state)
{
    (void)state;
    ald_model_config_t config;
    expect_ok(parse("{\"model_type\": \"qwen2\", " BASE ", \"num_key_value_heads\": 2, "
                    "\"torch_dtype\": \"bfloat16\", \"tie_word_embeddings\": true, "
                    "\"sliding_window\": 16, \"use_sliding_window\": false}",
                    &config));
    assert_true(config.qkv_bias && !config.output_bias && !config.qk_norm && config.tied);
    assert_int_equal(config.dtype, ALD_DTYPE_BF16);
    expect_ok(parse("{\"model_type\": \"qwen3\", " BASE ", " KV2 ", \"head_dim\": 16, "
                    "\"attention_bias\": true, \"dtype\": \"float16\"}",
                    &config));
    assert_true(config.qkv_bias && config.output_bias && config.qk_norm);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.dtype, ALD_DTYPE_F16);
    expect_ok(parse("{\"model_type\": \"mistral\", " BASE ", " KV2 ", \"sliding_window\": null}",
                    &config));
    assert_false(config.qkv_bias || config.window != 0);
    expect_ok(parse("{\"model_type\": \"olmo2\", " BASE ", \"head_dim\": null}", &config));
    assert_true(config.qk_norm && config.wide_norm && config.post_norm && !config.qkv_bias);
    assert_true(config.rms_norm_eps == 1e-5);
    assert_int_equal(config.head_dim, 8);
    expect_ok(parse("{\"model_type\": \"llama\", " BASE ", \"mlp_bias\": true}", &config));
    assert_true(config.mlp_bias && !config.output_bias);
    assert_false(config.sandwich || config.gelu || config.scaled_embedding || config.offset_norm);
    expect_ok(parse("{\"model_type\": \"llama\", " BASE
                    ", \"rope_theta\": 5e5, \"rope_parameters\": "
                    "{\"rope_theta\": 1000000, \"rope_type\": \"default\"}}",
                    &config));
    assert_true(config.rotation.theta == 1e6);
}

static void small_families_have_their_own_defaults(void **state)
{
    (void)state;
    ald_model_config_t config;
    expect_ok(parse("{\"model_type\": \"smollm3\", " BASE "}", &config));
    assert_true(config.tied && config.rotation.theta == 2e6 && config.attention_scale == 0);
    assert_int_equal(config.kv_heads, 4);
    assert_false(config.two_rotations || config.qk_norm || config.post_norm || config.qkv_bias);
    expect_ok(parse("{\"model_type\": \"olmo3\", " BASE ", \"attention_bias\": true}", &config));
    assert_true(config.qk_norm && config.wide_norm && config.post_norm && config.output_bias);
    assert_false(config.sandwich || config.gelu || config.scaled_embedding || config.tied);
    expect_ok(parse("{\"model_type\": \"gemma3_text\", " BASE "}", &config));
    assert_true(config.qk_norm && config.post_norm && config.sandwich && config.offset_norm);
    assert_true(config.gelu && config.scaled_embedding && config.tied && !config.wide_norm);
    assert_int_equal(config.head_dim, 256);
    assert_true(config.attention_scale == 1.0 / 16);
    assert_true(config.rotation.theta == 1e6 && config.window_rotation.theta == 1e4);
    expect_ok(parse("{\"model_type\": \"gemma3_text\", " BASE ", \"head_dim\": 8, "
                    "\"query_pre_attn_scalar\": 4, \"hidden_activation\": "
                    "\"gelu_pytorch_tanh\", \"cache_implementation\": \"hybrid\", "
                    "\"use_bidirectional_attention\": false, \"final_logit_softcapping\": null, "
                    "\"tie_word_embeddings\": false, \"rope_local_base_freq\": 50}",
                    &config));
    assert_true(config.attention_scale == 0.5 && !config.tied);
    assert_true(config.window_rotation.theta == 50);
}

static void wrong_keys_of_small_families_are_named(void **state)
{
#define SMOLLM3 "{\"model_type\": \"smollm3\", " BASE ", "
#define OLMO3   "{\"model_type\": \"olmo3\", " BASE ", "
#define GEMMA3  "{\"model_type\": \"gemma3_text\", " BASE ", \"head_dim\": 8, "
    static const char *const cases[][2] = {
        {SMOLLM3 "\"no_rope_layers\": [1]}",
         "DIR/config.json: no_rope_layers: expected a list of num_hidden_layers numbers, found"},
        {SMOLLM3 "\"no_rope_layers\": []}", "no_rope_layers: expected a list"},
        {SMOLLM3 "\"no_rope_layers\": [1, 2]}",
         "DIR/config.json: no_rope_layers[1]: expected 1 (with rotation) or 0 (without)"},
        {SMOLLM3 "\"no_rope_layer_interval\": 0}",
         "no_rope_layer_interval: expected a positive integer, found 0"},
        {SMOLLM3 "\"query_pre_attn_scalar\": 256}", "query_pre_attn_scalar: expected none"},
        {SMOLLM3 "\"hidden_act\": \"gelu_pytorch_tanh\"}", "hidden_act: expected \"silu\""},
        {SMOLLM3 "\"layer_types\": [\"full_attention\", \"sliding_attention\"]}",
         "layer_types[1]: \"sliding_attention\", but no sliding_window is in use"},
        {OLMO3 "\"sliding_window\": null}",
         "sliding_window: expected a positive integer, found null"},
        {OLMO3 "\"sliding_window_pattern\": 4}", "sliding_window_pattern: expected none"},
        {OLMO3 "\"no_rope_layers\": [1, 1]}", "no_rope_layers: expected none"},
        {GEMMA3 "\"sliding_window_pattern\": 0}",
         "sliding_window_pattern: expected a positive integer, found 0"},
        {GEMMA3 "\"_sliding_window_pattern\": 3}",
         "_sliding_window_pattern: expected the number in sliding_window_pattern (or 6), found 3"},
        {GEMMA3 "\"query_pre_attn_scalar\": 0}", "query_pre_attn_scalar: expected a positive"},
        {GEMMA3 "\"rope_local_base_freq\": \"x\"}", "rope_local_base_freq: expected a positive"},
        {GEMMA3 "\"hidden_activation\": \"silu\"}",
         "hidden_activation: expected \"gelu_pytorch_tanh\", found \"silu\""},
        {GEMMA3 "\"hidden_act\": \"silu\"}", "hidden_act: expected \"gelu_pytorch_tanh\""},
        {GEMMA3 "\"final_logit_softcapping\": 30.0}", "final_logit_softcapping: expected none"},
        {GEMMA3 "\"attn_logit_softcapping\": 50.0}", "attn_logit_softcapping: expected none"},
        {GEMMA3 "\"use_bidirectional_attention\": true}",
         "use_bidirectional_attention: expected none"},
        {GEMMA3 "\"mlp_bias\": true}", "mlp_bias: expected false, found true"},
        {GEMMA3 "\"rope_parameters\": {\"rope_type\": \"default\"}}",
         "DIR/config.json: rope_parameters: expected an object with \"full_attention\" and"},
        {GEMMA3 "\"rope_scaling\": {\"rope_type\": \"linear\"}}",
         "DIR/config.json: rope_scaling: factor: expected a positive number"},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(parse(cases[i][0], &config), ALD_STATUS_INPUT, cases[i][1]);
}

static void wrong_keys_are_named(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"[]", "DIR/config.json: expected an object"},
        {"{\"model_type\": \"gpt2\", " BASE "}", "model_type: expected one of qwen2"},
        {"{\"model_type\": \"llama\", " BASE ", \"hidden_act\": \"gelu\"}", "hidden_act"},
        {"{\"model_type\": \"llama\", " BASE ", \"num_key_value_heads\": 3}", "a divisor"},
        {"{\"model_type\": \"llama\", " BASE ", \"head_dim\": 7}", "head_dim: expected an even"},
        {"{\"model_type\": \"llama\", " BASE ", \"rms_norm_eps\": -1}", "rms_norm_eps"},
        {"{\"model_type\": \"mistral\", " BASE ", " KV2 ", \"attention_bias\": true}",
         "attention_bias: expected false, found true"},
        {"{\"model_type\": \"llama\", " BASE ", \"eos_token_id\": 100}", "eos_token_id"},
        {"{\"model_type\": \"llama\", " BASE ", \"torch_dtype\": \"int8\"}", "torch_dtype"},
        {"{\"model_type\": \"llama\", " BASE ", \"dtype\": \"auto\"}",
         "DIR/config.json: dtype: expected one of \"float32\", \"bfloat16\", \"float16\", found "
         "\"auto\""},
        {"{\"model_type\": \"gemma2\", " BASE "}",
         "model_type: expected one of qwen2, qwen3, llama, mistral, olmo2, olmo3, smollm3, "
         "gemma3_text, found \"gemma2\""},
        {"{\"model_type\": \"gemma3\", \"text_config\": {}}", "gemma3_text, found \"gemma3\""},
        {"{\"model_type\": \"llama\", " BASE ", \"head_dim\": 514}",
         "head_dim: expected at most 512"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 9, \"hidden_size\": 8, "
         "\"intermediate_size\": 8, \"num_hidden_layers\": 1025, \"num_attention_heads\": 2}",
         "DIR/config.json: num_hidden_layers: expected at most 1024, found 1025"},
        {"{\"model_type\": \"qwen2\", " BASE "}",
         "num_key_value_heads: expected a divisor of num_attention_heads, but the key is missing"},
        {"{\"model_type\": \"olmo2\", " BASE ", \"mlp_bias\": true}",
         "DIR/config.json: mlp_bias: expected false, found true"},
        {"{\"model_type\": \"llama\", " BASE ", \"quantization_config\": {}}",
         "quantization_config"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 9, \"hidden_size\": 8, "
         "\"intermediate_size\": 8, \"num_hidden_layers\": 1}",
         "num_attention_heads: expected a positive integer, but the key is missing"},
        {"{\"model_type\": \"llama\", \"vocab_size\": \"x\"}",
         "DIR/config.json: vocab_size: expected a positive integer, found \"x\""},
        {"{\"model_type\": \"llama\", \"vocab_size\": 99999999999}", "vocab_size"},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(parse(cases[i].text, &config), ALD_STATUS_INPUT, cases[i].words);
}

static void foreign_mathematics_is_refused(void **state)
{
    static const char *const cases[][2] = {
        {"attn_logit_softcapping", "50.0"},
        {"final_logit_softcapping", "30.0"},
        {"query_pre_attn_scalar", "256"},
        {"attention_multiplier", "0.0078125"},
        {"embedding_multiplier", "12.0"},
        {"residual_multiplier", "0.22"},
        {"logits_scaling", "8.0"},
        {"logit_scale", "0.0625"},
        {"scale_emb", "12"},
        {"scale_depth", "1.4"},
        {"dim_model_base", "256"},
        {"clip_qkv", "8.0"},
        {"rope_interleaved", "true"},
        {"no_rope_layers", "[1, 0]"},
        {"no_rope_layer_interval", "4"},
        {"num_local_experts", "8"},
        {"num_experts", "64"},
        {"n_routed_experts", "64"},
        {"use_qk_norm", "true"},
        {"qk_layernorm", "true"},
        {"parallel_attn", "true"},
        {"attention_chunk_size", "8192"},
        {"attn_temperature_tuning", "4"},
        {"q_lora_rank", "1536"},
        {"kv_lora_rank", "512"},
        {"alibi", "true"},
        {"lm_head_bias", "true"},
        {"partial_rotary_factor", "0.5"},
        {"hidden_activation", "\"gelu\""},
        {"hidden_act", "\"relu2\""},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        char text[512], words[128];
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " BASE ", \"%s\": %s}",
                 cases[i][0], cases[i][1]);
        snprintf(words, sizeof words, "DIR/config.json: %s: expected ", cases[i][0]);
        expect_failure(parse(text, &config), ALD_STATUS_INPUT, words);
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " BASE ", \"%s\": null}",
                 cases[i][0]);
        expect_ok(parse(text, &config));
    }
    expect_ok(parse("{\"model_type\": \"llama\", " BASE ", \"embedding_multiplier\": 1.0, "
                    "\"num_experts\": 0, \"alibi\": false, \"hidden_act\": \"swish\"}",
                    &config));
}

static void keys_that_nobody_knows_are_refused(void **state)
{
    static const char *const refused[][2] = {
        {"is_causal", "false"},
        {"use_bidirectional_attention", "true"},
        {"attention_logit_cap", "30.0"},
        {"use_rope", "false"},
        {"auto_map", "{\"AutoModel\": \"modeling.Other\"}"},
        {"attention_dropout", "0.1"},
        {"some_new_switch", "false"},
        {"compression_config", "{\"bits\": 4}"},
        {"text_config", "{\"hidden_size\": 8}"},
        {"quantization", "{\"bits\": 4}"},
        {"use_mrope", "true"},
        {"rotary_pct", "0.25"},
        {"tie_encoder_decoder", "true"},
        {"num_nextn_predict_layers", "1"},
        {"unknown", "0"},
        {"sliding_window_pattern", "6"},
    };
    /* What versions of transformers, Unsloth and others write into any model. */
    static const char *const taken[][2] = {
        {"is_causal", "true"},
        {"some_new_switch", "null"},
        {"some_new_list", "[]"},
        {"pruned_heads", "{}"},
        {"attention_dropout", "0.0"},
        {"attention_dropout", "0"},
        {"use_mrope", "false"},
        {"pretraining_tp", "1"},
        {"unsloth_fixed", "true"},
        {"use_cache", "false"},
        {"unsloth_version", "\"2026.1\""},
        {"torchscript", "false"},
        {"_attn_implementation_autoset", "true"},
        {"id2label", "{\"0\": \"LABEL_0\"}"},
        {"label2id", "{\"LABEL_0\": 0}"},
        {"top_k", "50"},
        {"temperature", "1.0"},
        {"is_decoder", "false"},
        {"pad_token_id", "3"},
        {"_name_or_path", "\"Qwen/Qwen2.5-0.5B\""},
        {"transformers_version", "\"5.0.0\""},
        {"transformers.js_config", "{\"a\": 1}"},
        {"problem_type", "null"},
        {"chunk_size_feed_forward", "0"},
        {"tf_legacy_loss", "false"},
        {"original_max_position_embeddings", "4096"},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
        char text[512], words[128];
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " BASE ", \"%s\": %s}",
                 refused[i][0], refused[i][1]);
        snprintf(words, sizeof words, "DIR/config.json: %s: expected ", refused[i][0]);
        expect_failure(parse(text, &config), ALD_STATUS_INPUT, words);
    }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; ++i) {
        char text[512];
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " BASE ", \"%s\": %s}",
                 taken[i][0], taken[i][1]);
        expect_ok(parse(text, &config));
    }
}

/* --- windows --- */

#define FOUR                                                                                       \
    "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "                        \
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 4, " KV2
#define QWEN2   "{\"model_type\": \"qwen2\", " FOUR ", "
#define MISTRAL "{\"model_type\": \"mistral\", " FOUR ", "
#define TYPES   "\"layer_types\": [\"full_attention\", \"sliding_attention\", "
#define FULL2   "\"full_attention\", \"full_attention\"]"

static void windows_by_layer(void **state)
{
    static const struct {
        const char *text;
        int64_t window[4];
    } cases[] = {
        {MISTRAL "\"sliding_window\": 16}", {16, 16, 16, 16}},
        {MISTRAL "\"rms_norm_eps\": 1e-5}", {4096, 4096, 4096, 4096}},
        {MISTRAL "\"sliding_window\": null}", {0, 0, 0, 0}},
        {MISTRAL "\"sliding_window\": null, \"layer_types\": [\"full_attention\", "
                 "\"full_attention\", " FULL2 "}",
         {0, 0, 0, 0}},
        {QWEN2 "\"sliding_window\": 16}", {0, 0, 0, 0}},
        {QWEN2 "\"use_sliding_window\": true, \"max_window_layers\": 3}", {0, 0, 0, 4096}},
        {QWEN2 "\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 0}",
         {16, 16, 16, 16}},
        {QWEN2 "\"use_sliding_window\": true, \"sliding_window\": 16}", {0, 0, 0, 0}},
        {QWEN2 "\"use_sliding_window\": true, \"sliding_window\": null, "
               "\"max_window_layers\": 0}",
         {0, 0, 0, 0}},
        {QWEN2
         "\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 0, " TYPES
             FULL2 "}",
         {0, 16, 0, 0}},
        {"{\"model_type\": \"llama\", " FOUR ", \"sliding_window\": 16}", {0, 0, 0, 0}},
        {"{\"model_type\": \"olmo3\", " FOUR "}", {4096, 4096, 4096, 0}},
        {"{\"model_type\": \"olmo3\", " FOUR ", \"sliding_window\": 8, " TYPES FULL2 "}",
         {0, 8, 0, 0}},
        {"{\"model_type\": \"olmo3\", " FOUR ", \"sliding_window\": null, \"layer_types\": ["
         "\"full_attention\", \"full_attention\", " FULL2 "}",
         {0, 0, 0, 0}},
        {"{\"model_type\": \"gemma3_text\", " FOUR "}", {4096, 4096, 4096, 4096}},
        {"{\"model_type\": \"gemma3_text\", " FOUR ", \"sliding_window\": 8, "
         "\"sliding_window_pattern\": 2}",
         {8, 0, 8, 0}},
        {"{\"model_type\": \"gemma3_text\", " FOUR ", \"sliding_window\": 8, "
         "\"_sliding_window_pattern\": 3, " TYPES FULL2 "}",
         {0, 8, 0, 0}},
        {"{\"model_type\": \"smollm3\", " FOUR ", \"sliding_window\": 8}", {0, 0, 0, 0}},
        {"{\"model_type\": \"smollm3\", " FOUR ", \"sliding_window\": 8, "
         "\"use_sliding_window\": true, \"max_window_layers\": 0}",
         {0, 0, 0, 8}},
        {"{\"model_type\": \"smollm3\", " FOUR ", \"sliding_window\": 8, "
         "\"use_sliding_window\": true, \"no_rope_layers\": [0, 1, 1, 0]}",
         {8, 0, 0, 8}},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        expect_ok(parse(cases[i].text, &config));
        for (int l = 0; l < 4; ++l)
            if (ald_model_config_window(&config, l) != cases[i].window[l])
                fail_msg("%s: layer %d has %lld", cases[i].text, l,
                         (long long)ald_model_config_window(&config, l));
    }
}

static void wrong_windows_are_named(void **state)
{
    static const char *const cases[][2] = {
        {MISTRAL "\"sliding_window\": 0}",
         "DIR/config.json: sliding_window: expected a positive integer, found 0"},
        {QWEN2 "\"use_sliding_window\": 1}",
         "DIR/config.json: use_sliding_window: expected true or false, found 1"},
        {QWEN2 "\"use_sliding_window\": true, \"max_window_layers\": -1}",
         "DIR/config.json: max_window_layers: expected 0 or a positive integer, found -1"},
        {"{\"model_type\": \"llama\", " FOUR ", \"use_sliding_window\": true}",
         "DIR/config.json: use_sliding_window: expected false, found true"},
        {QWEN2 TYPES FULL2 "}",
         "DIR/config.json: layer_types[1]: \"sliding_attention\", but no sliding_window is in use"},
        {QWEN2 TYPES "\"full_attention\"]}",
         "DIR/config.json: layer_types: expected a list of num_hidden_layers names"},
        {QWEN2 "\"layer_types\": \"full_attention\"}", "layer_types: expected a list"},
        {QWEN2 "\"layer_types\": [\"full_attention\", \"linear_attention\", " FULL2 "}",
         "DIR/config.json: layer_types[1]: expected \"full_attention\" or \"sliding_attention\", "
         "found \"linear_attention\""},
        {MISTRAL TYPES FULL2 "}",
         "DIR/config.json: layer_types[0]: expected \"sliding_attention\" (sliding_window is "
         "4096)"},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(parse(cases[i][0], &config), ALD_STATUS_INPUT, cases[i][1]);
}

/* --- rotations --- */

/* head_dim 8: frequencies 1, 0.1, 0.01, 0.001 by default. */
#define LLAMA      "{\"model_type\": \"llama\", " BASE ", "
#define LLAMA3     "\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
#define YARN_BASIC "\"type\": \"yarn\", \"factor\": 4"

static void rotations_by_type(void **state)
{
    /* yarn, context C: pair i turns C 10^-i / (2 pi) times, so that the line goes from
     * i = log10(C / (2 pi 32)) to log10(C / (2 pi)): for 2048 from 1.008 to 2.513, truncated from 1
     * to 3. */
    static const struct {
        const char *text;
        double frequency[4], factor, limit;
    } cases[] = {
        {LLAMA "\"rope_scaling\": {\"type\": \"default\"}}", {1, 0.1, 0.01, 0.001}, 1, 0},
        {LLAMA "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
         {0.5, 0.05, 0.005, 0.0005},
         1,
         0},
        {LLAMA "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"type\": \"dynamic\", "
               "\"factor\": 2}, \"max_position_embeddings\": 77}",
         {1, 0.1, 0.01, 0.001},
         1,
         77},
        /* 2048 / (2 pi) = 325.9 turns of pair 0, then 32.6, 3.259 and 0.326: of these the first two
         * are kept, the last is slowed down, and the third lies (3.259 - 1) / 3 of the way. */
        {LLAMA "\"rope_scaling\": {" LLAMA3 "\"high_freq_factor\": 4, "
               "\"original_max_position_embeddings\": 2048}}",
         {1, 0.1, 0.01 * (0.7531644 + 0.2468356 / 8), 0.000125},
         1,
         0},
        {LLAMA "\"rope_scaling\": {" LLAMA3 "\"high_freq_factor\": 4}, "
               "\"original_max_position_embeddings\": 2048}",
         {1, 0.1, 0.01 * (0.7531644 + 0.2468356 / 8), 0.000125},
         1,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC "}}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"original_max_position_embeddings\": 2048}, "
               "\"max_position_embeddings\": 99999}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC "}, \"original_max_position_embeddings\": 2048, "
               "\"max_position_embeddings\": 99999}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"truncate\": false}}",
         {1, 0.1, 0.01 * (0.3409295 + 0.6590705 / 4), 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"beta_fast\": 3200, \"beta_slow\": 100}}",
         {1, 0.025, 0.0025, 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"attention_factor\": 1.5, \"mscale\": 1, "
               "\"mscale_all_dim\": 1}}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.5,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"mscale\": 2, \"mscale_all_dim\": 0.5}}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.277259 / 1.069315,
         0},
        {LLAMA "\"rope_scaling\": {" YARN_BASIC ", \"mscale\": 2, \"mscale_all_dim\": 0}}",
         {1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.00025},
         1.138629,
         0},
        {LLAMA "\"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": "
               "2, \"rope_theta\": 10000.0}}",
         {0.5, 0.05, 0.005, 0.0005},
         1,
         0},
        {LLAMA "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", "
               "\"factor\": 2}, \"sliding_attention\": {\"type\": \"linear\", \"factor\": "
               "2.0}}}",
         {0.5, 0.05, 0.005, 0.0005},
         1,
         0},
        {LLAMA "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": "
               "{\"rope_type\": \"linear\", \"factor\": 2}}",
         {0.5, 0.05, 0.005, 0.0005},
         1,
         0},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
        expect_ok(parse(cases[c].text, &config));
        for (int i = 0; i < 4; ++i)
            if (fabs(config.rotation.frequency[i] - cases[c].frequency[i]) >
                1e-6 * cases[c].frequency[i])
                fail_msg("%s: frequency[%d] is %.9g, expected %.9g", cases[c].text, i,
                         config.rotation.frequency[i], cases[c].frequency[i]);
        if (fabs(config.rotation.factor - cases[c].factor) > 1e-6)
            fail_msg("%s: factor is %.9g", cases[c].text, config.rotation.factor);
        assert_true((double)config.rotation.limit == cases[c].limit);
    }
}

/* The second frequency of a layer, of 0.1 at theta 10000; 0 without rotation. */
static void rotations_by_layer(void **state)
{
#define GEMMA  "{\"model_type\": \"gemma3_text\", \"head_dim\": 8, " FOUR ", "
#define OLMO   "{\"model_type\": \"olmo3\", " FOUR ", \"rope_theta\": 1e4, "
#define SMOL   "{\"model_type\": \"smollm3\", " FOUR ", \"rope_theta\": 1e4, "
#define LAYERS "\"sliding_window\": 8, " TYPES FULL2
    static const struct {
        const char *text;
        double frequency[4];
    } cases[] = {
        {GEMMA LAYERS "}", {0.0316228, 0.1, 0.0316228, 0.0316228}},
        {GEMMA LAYERS ", \"rope_theta\": 1e4, \"rope_local_base_freq\": 16, "
                      "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}}",
         {0.0125, 0.5, 0.0125, 0.0125}},
        /* as transformers 5 writes them, with the bases within or without */
        {GEMMA LAYERS ", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e4, "
                      "\"rope_type\": \"linear\", \"factor\": 8.0}, \"sliding_attention\": "
                      "{\"rope_type\": \"default\", \"rope_theta\": 16}}}",
         {0.0125, 0.5, 0.0125, 0.0125}},
        {GEMMA LAYERS ", \"rope_theta\": 1e4, \"rope_local_base_freq\": 16, "
                      "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", "
                      "\"factor\": 8.0}, \"sliding_attention\": {\"rope_type\": \"default\"}}}",
         {0.0125, 0.5, 0.0125, 0.0125}},
        {GEMMA LAYERS ", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e4}}}",
         {0.1, 0.1, 0.1, 0.1}},
        {OLMO LAYERS "}", {0.1, 0.1, 0.1, 0.1}},
        {OLMO LAYERS ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}}",
         {0.05, 0.1, 0.05, 0.05}},
        {OLMO LAYERS ", \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2, "
                     "\"rope_theta\": 16}}",
         {0.25, 0.5, 0.25, 0.25}},
        {SMOL "\"no_rope_layers\": [1, 0, 0, 1, 0]}", {0.1, 0, 0, 0.1}},
        {SMOL "\"no_rope_layer_interval\": 2}", {0.1, 0, 0.1, 0}},
        {SMOL "\"no_rope_layers\": null}", {0.1, 0.1, 0.1, 0}},
        {QWEN2 "\"rope_theta\": 1e4}", {0.1, 0.1, 0.1, 0.1}},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
        expect_ok(parse(cases[c].text, &config));
        for (int l = 0; l < config.layers; ++l) {
            const ald_rotation_t *rotation = ald_model_config_rotation(&config, l);
            const double found = rotation == NULL ? 0.0 : rotation->frequency[1];
            if (fabs(found - cases[c].frequency[l]) > 1e-6)
                fail_msg("%s: layer %d has %.9g", cases[c].text, l, found);
            assert_true(rotation == NULL || rotation->factor == 1);
        }
    }
}

static void wrong_rotations_are_named(void **state)
{
#define SCALING LLAMA "\"rope_scaling\": "
#define PLACE   "DIR/config.json: rope_scaling: "
    static const char *const cases[][2] = {
        {SCALING "3}", "DIR/config.json: rope_scaling: expected an object, found"},
        {SCALING "{\"type\": \"longrope\"}}",
         PLACE "type: expected one of \"default\", \"linear\", \"dynamic\", \"llama3\", "
               "\"yarn\", found \"longrope\""},
        {SCALING "{\"rope_type\": \"su\"}}", "found \"su\""},
        {SCALING "{\"rope_type\": 7}}", PLACE "rope_type: expected one of"},
        {SCALING "{\"rope_type\": \"linear\", \"type\": \"dynamic\", \"factor\": 2}}",
         PLACE "type: expected the same as rope_type, found \"dynamic\""},
        {SCALING "{\"factor\": 2}}", PLACE "rope_type: expected the type that the factor belongs "
                                           "to, but the key is missing"},
        {SCALING "{\"type\": \"linear\"}}",
         PLACE "factor: expected a positive number, but the key is missing"},
        {SCALING "{\"type\": \"dynamic\", \"factor\": null}}",
         PLACE "factor: expected a positive number, found null"},
        {SCALING "{\"type\": \"yarn\"}}", PLACE "factor: expected a positive number"},
        {SCALING "{\"type\": \"linear\", \"factor\": -2}}",
         PLACE "factor: expected a positive number, found -2"},
        {SCALING "{\"rope_type\": \"llama3\", \"factor\": 8}}",
         PLACE "low_freq_factor: expected a positive number, but the key is missing"},
        {SCALING "{" LLAMA3 "\"high_freq_factor\": 1}}",
         PLACE "high_freq_factor: expected a number above low_freq_factor, found 1"},
        {SCALING "{" LLAMA3 "\"high_freq_factor\": 4}}",
         PLACE "original_max_position_embeddings: expected a positive integer, but the key is "
               "missing"},
        {SCALING "{" YARN_BASIC ", \"truncate\": 1}}", PLACE "truncate: expected true or false"},
        {SCALING "{" YARN_BASIC ", \"beta_fast\": \"x\"}}", PLACE "beta_fast: expected a positive"},
        {SCALING "{" YARN_BASIC ", \"mscale\": -1}}", PLACE "mscale: expected a positive"},
        {SCALING "{" YARN_BASIC ", \"attention_factor\": 0}}",
         PLACE "attention_factor: expected a positive number, found 0"},
        {SCALING "{" YARN_BASIC ", \"mrope_section\": [1]}}",
         PLACE "mrope_section: this key is not supported"},
        {SCALING "{" YARN_BASIC ", \"partial_rotary_factor\": 0.5}}",
         PLACE "partial_rotary_factor: expected 1, found 0.5"},
        {LLAMA "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1000000.0}, "
               "\"sliding_attention\": {\"rope_theta\": 10000.0}}}",
         "DIR/config.json: rope_parameters: full_attention and sliding_attention differ; expected "
         "one rotation for all layers"},
        {LLAMA "\"rope_parameters\": {\"full_attention\": {}, \"chunked_attention\": {}}}",
         "DIR/config.json: rope_parameters: chunked_attention: expected"},
        {LLAMA "\"rope_parameters\": {\"full_attention\": {\"type\": \"linear\"}}}",
         "DIR/config.json: rope_parameters: full_attention: factor: expected"},
        {LLAMA "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": "
               "{\"rope_theta\": 10000.0}}",
         "DIR/config.json: rope_scaling and rope_parameters differ; expected one rotation"},
        {LLAMA "\"rope_theta\": 1, \"rope_scaling\": {" YARN_BASIC "}}",
         "DIR/config.json: rope_theta: expected a number above 1 (for \"yarn\"), found 1"},
        {SCALING "{" YARN_BASIC ", \"rope_theta\": 0.5}}",
         PLACE "rope_theta: expected a number above 1 (for \"yarn\"), found 0.5"},
        {LLAMA "\"rope_theta\": 0}", "DIR/config.json: rope_theta: expected a positive number"},
    };
    (void)state;
    ald_model_config_t config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(parse(cases[i][0], &config), ALD_STATUS_INPUT, cases[i][1]);
}

static void end_tokens_come_from_the_generation_config(void **state)
{
    ald_model_config_t config;
    const char *text = "{\"model_type\": \"llama\", " BASE ", \"eos_token_id\": 7}";
    scratch_file(state, "config.json", text, strlen(text));
    expect_ok(ald_model_config_read(*state, &config));
    assert_int_equal(config.eos_count, 1);
    assert_int_equal(config.eos[0], 7);
    scratch_file(state, "generation_config.json", "{\"eos_token_id\": [5, 6]}", 24);
    expect_ok(ald_model_config_read(*state, &config));
    assert_int_equal(config.eos_count, 2);
    assert_int_equal(config.eos[1], 6);
    expect_failure(ald_model_config_read(scratch_path(state, "none"), &config), ALD_STATUS_INPUT,
                   "none: no such model directory");
}

static void tensors_lie_back_to_back(void **state)
{
    (void)state;
    ald_model_config_t config;
    ald_params_t params;
    expect_ok(parse("{\"model_type\": \"qwen3\", " BASE ", \"num_key_value_heads\": 2, "
                    "\"head_dim\": 6, \"attention_bias\": true}",
                    &config));
    expect_ok(ald_params_init(&config, &params));
    int64_t at = 0;
    for (int64_t i = 0; i < params.count; ++i) {
        assert_int_equal(params.tensors[i].offset, at);
        at += params.tensors[i].count;
    }
    assert_int_equal(params.total, at);
    assert_int_equal(params.count, 2 * 15 + 3);
    assert_string_equal(params.tensors[1].name, "model.layers.0.input_layernorm.weight");
    const ald_layer_offsets_t *layer = &params.layer[1];
    assert_int_equal(layer->qkv_bias - layer->qkv, (4 + 2 * 2) * 6 * 32);
    assert_int_equal(layer->down - layer->gate_up, 2 * 48 * 32);
    assert_int_equal(params.lm_head, params.total - 100 * 32);
    ald_params_reset(&params);
    config.tied = true;
    expect_ok(ald_params_init(&config, &params));
    assert_int_equal(params.lm_head, params.embedding);
    ald_params_reset(&params);
    expect_ok(
        parse("{\"model_type\": \"gemma3_text\", " BASE ", \"attention_bias\": true}", &config));
    expect_ok(ald_params_init(&config, &params));
    assert_int_equal(params.count, 2 * 17 + 2);
    layer = &params.layer[1];
    assert_string_equal(params.tensors[13].name, "model.layers.0.pre_feedforward_layernorm.weight");
    assert_int_equal(layer->mlp_norm - layer->attention_post_norm, 32);
    assert_true(layer->attention_norm > 0 && layer->mlp_post_norm > layer->down);
    ald_params_reset(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(silent_keys_get_their_defaults),
        SCRATCH_TEST(families_differ_in_bias_and_norm),
        SCRATCH_TEST(small_families_have_their_own_defaults),
        SCRATCH_TEST(wrong_keys_of_small_families_are_named),
        SCRATCH_TEST(wrong_keys_are_named),
        SCRATCH_TEST(foreign_mathematics_is_refused),
        SCRATCH_TEST(keys_that_nobody_knows_are_refused),
        SCRATCH_TEST(windows_by_layer),
        SCRATCH_TEST(wrong_windows_are_named),
        SCRATCH_TEST(rotations_by_type),
        SCRATCH_TEST(rotations_by_layer),
        SCRATCH_TEST(wrong_rotations_are_named),
        SCRATCH_TEST(end_tokens_come_from_the_generation_config),
        SCRATCH_TEST(tensors_lie_back_to_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
