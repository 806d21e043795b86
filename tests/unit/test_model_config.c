/* config.json of every supported family, and of those that aren't. */
#include "scratch.h"

#include "ald/model_config.h"
#include "ald/params.h"

#define BASE                                                                                       \
    "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "                        \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4"

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
    assert_true(config.rms_norm_eps == 1e-6 && config.rope_theta == 10000);
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
    expect_ok(parse("{\"model_type\": \"qwen3\", " BASE ", \"head_dim\": 16, "
                    "\"attention_bias\": true, \"dtype\": \"float16\"}",
                    &config));
    assert_true(config.qkv_bias && config.output_bias && config.qk_norm);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.dtype, ALD_DTYPE_F16);
    expect_ok(parse("{\"model_type\": \"mistral\", " BASE ", \"sliding_window\": null}", &config));
    assert_false(config.qkv_bias);
    expect_ok(parse("{\"model_type\": \"llama\", " BASE
                    ", \"rope_theta\": 5e5, \"rope_parameters\": "
                    "{\"rope_theta\": 1000000, \"rope_type\": \"default\"}}",
                    &config));
    assert_true(config.rope_theta == 1e6);
}

static void wrong_keys_are_named(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"[]", "DIR/config.json: expected an object"},
        {"{\"model_type\": \"gpt2\", " BASE "}", "model_type: expected one of qwen2"},
        {"{\"model_type\": \"llama\", " BASE ", \"hidden_act\": \"gelu\"}", "hidden_act"},
        {"{\"model_type\": \"llama\", " BASE ", \"mlp_bias\": true}", "mlp_bias"},
        {"{\"model_type\": \"llama\", " BASE ", \"num_key_value_heads\": 3}", "a divisor"},
        {"{\"model_type\": \"llama\", " BASE ", \"head_dim\": 7}", "head_dim: expected an even"},
        {"{\"model_type\": \"llama\", " BASE ", \"rms_norm_eps\": -1}", "rms_norm_eps"},
        {"{\"model_type\": \"llama\", " BASE ", \"rope_scaling\": {\"rope_type\": \"yarn\"}}",
         "rope_scaling: type \"yarn\""},
        {"{\"model_type\": \"qwen2\", " BASE ", \"use_sliding_window\": true}",
         "use_sliding_window"},
        {"{\"model_type\": \"mistral\", " BASE "}", "sliding_window"},
        {"{\"model_type\": \"mistral\", " BASE ", \"attention_bias\": true}", "attention_bias"},
        {"{\"model_type\": \"llama\", " BASE ", \"eos_token_id\": 100}", "eos_token_id"},
        {"{\"model_type\": \"llama\", " BASE ", \"torch_dtype\": \"int8\"}", "torch_dtype"},
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(silent_keys_get_their_defaults),
        SCRATCH_TEST(families_differ_in_bias_and_norm),
        SCRATCH_TEST(wrong_keys_are_named),
        SCRATCH_TEST(end_tokens_come_from_the_generation_config),
        SCRATCH_TEST(tensors_lie_back_to_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
