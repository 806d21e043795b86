/* The keys of published config.json files that bear on the mathematics, and what becomes of them.
 * Each member is what the reference classes make of the same file. */
#include <math.h>

#include "ald/base/json.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"
#include "scratch.h"

#define FULL   "\"full_attention\", "
#define FULL_9 FULL FULL FULL FULL FULL FULL FULL FULL FULL
#define LLAMA3(factor)                                                                             \
    "{\"factor\": " factor ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "               \
    "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}"

typedef struct {
    const char *name, *text;
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim;
    int64_t max_position, window; /* of every layer */
    double eps, theta;
    const char *rope_type;
    bool tied, qkv_bias, qk_norm, post_norm;
    ald_dtype_t dtype;
    double parameters; /* millions, as the model's page counts them (embeddings once if tied) */
} published_t;

static const published_t published[] = {
    {"Qwen2-7B-Instruct",
     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"attention_dropout\": 0.0, \"bos_token_id\": "
     "151643, \"eos_token_id\": 151645, \"hidden_act\": \"silu\", \"hidden_size\": 3584, "
     "\"initializer_range\": 0.02, \"intermediate_size\": 18944, \"max_position_embeddings\": "
     "32768, \"max_window_layers\": 28, \"model_type\": \"qwen2\", \"num_attention_heads\": 28, "
     "\"num_hidden_layers\": 28, \"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-06, "
     "\"rope_theta\": 1000000.0, \"sliding_window\": 131072, \"tie_word_embeddings\": false, "
     "\"torch_dtype\": \"bfloat16\", \"use_cache\": true, \"use_sliding_window\": false, "
     "\"vocab_size\": 152064}",
     152064,
     3584,
     18944,
     28,
     28,
     4,
     128,
     32768,
     0,
     1e-6,
     1e6,
     "default",
     false,
     true,
     false,
     false,
     ALD_DTYPE_BF16,
     7616},
    {"Qwen2.5-1.5B-Instruct",
     "{\"attention_dropout\": 0.0, \"bos_token_id\": 151643, \"eos_token_id\": 151645, "
     "\"hidden_act\": \"silu\", \"hidden_size\": 1536, \"intermediate_size\": 8960, "
     "\"max_position_embeddings\": 32768, \"max_window_layers\": 21, \"model_type\": \"qwen2\", "
     "\"num_attention_heads\": 12, \"num_hidden_layers\": 28, \"num_key_value_heads\": 2, "
     "\"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0, \"sliding_window\": 32768, "
     "\"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\", \"use_sliding_window\": "
     "false, \"vocab_size\": 151936}",
     151936,
     1536,
     8960,
     28,
     12,
     2,
     128,
     32768,
     0,
     1e-6,
     1e6,
     "default",
     true,
     true,
     false,
     false,
     ALD_DTYPE_BF16,
     1544},
    {"Qwen3-0.6B",
     "{\"attention_bias\": false, \"attention_dropout\": 0.0, \"bos_token_id\": 151643, "
     "\"eos_token_id\": 151645, \"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": "
     "1024, \"intermediate_size\": 3072, \"max_position_embeddings\": 40960, "
     "\"max_window_layers\": 28, \"model_type\": \"qwen3\", \"num_attention_heads\": 16, "
     "\"num_hidden_layers\": 28, \"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-06, "
     "\"rope_scaling\": null, \"rope_theta\": 1000000, \"sliding_window\": null, "
     "\"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\", \"use_sliding_window\": "
     "false, \"vocab_size\": 151936}",
     151936,
     1024,
     3072,
     28,
     16,
     8,
     128,
     40960,
     0,
     1e-6,
     1e6,
     "default",
     true,
     false,
     true,
     false,
     ALD_DTYPE_BF16,
     596},
    {"Qwen3-0.6B, saved anew",
     "{\"attention_bias\": false, \"attention_dropout\": 0.0, \"dtype\": \"bfloat16\", "
     "\"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": 1024, "
     "\"intermediate_size\": 3072, \"layer_types\": [" FULL_9 FULL_9 FULL_9
     "\"full_attention\"], \"max_position_embeddings\": 40960, \"max_window_layers\": 28, "
     "\"model_type\": \"qwen3\", \"num_attention_heads\": 16, \"num_hidden_layers\": 28, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-06, \"rope_parameters\": "
     "{\"rope_theta\": 1000000, \"rope_type\": \"default\"}, \"sliding_window\": null, "
     "\"tie_word_embeddings\": true, \"use_sliding_window\": false, \"vocab_size\": 151936}",
     151936,
     1024,
     3072,
     28,
     16,
     8,
     128,
     40960,
     0,
     1e-6,
     1e6,
     "default",
     true,
     false,
     true,
     false,
     ALD_DTYPE_BF16,
     596},
    {"Llama-2-7b-hf",
     "{\"architectures\": [\"LlamaForCausalLM\"], \"bos_token_id\": 1, \"eos_token_id\": 2, "
     "\"hidden_act\": \"silu\", \"hidden_size\": 4096, \"intermediate_size\": 11008, "
     "\"max_position_embeddings\": 4096, \"model_type\": \"llama\", \"num_attention_heads\": 32, "
     "\"num_hidden_layers\": 32, \"num_key_value_heads\": 32, \"pretraining_tp\": 1, "
     "\"rms_norm_eps\": 1e-05, \"rope_scaling\": null, \"tie_word_embeddings\": false, "
     "\"torch_dtype\": \"float16\", \"vocab_size\": 32000}",
     32000,
     4096,
     11008,
     32,
     32,
     32,
     128,
     4096,
     0,
     1e-5,
     1e4,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_F16,
     6738},
    {"Meta-Llama-3-8B",
     "{\"attention_bias\": false, \"bos_token_id\": 128000, \"eos_token_id\": 128001, "
     "\"hidden_act\": \"silu\", \"hidden_size\": 4096, \"intermediate_size\": 14336, "
     "\"max_position_embeddings\": 8192, \"model_type\": \"llama\", \"num_attention_heads\": 32, "
     "\"num_hidden_layers\": 32, \"num_key_value_heads\": 8, \"pretraining_tp\": 1, "
     "\"rms_norm_eps\": 1e-05, \"rope_scaling\": null, \"rope_theta\": 500000.0, "
     "\"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", \"vocab_size\": 128256}",
     128256,
     4096,
     14336,
     32,
     32,
     8,
     128,
     8192,
     0,
     1e-5,
     5e5,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     8030},
    {"Llama-3.1-8B-Instruct",
     "{\"attention_bias\": false, \"eos_token_id\": [128001, 128008, 128009], \"hidden_act\": "
     "\"silu\", \"hidden_size\": 4096, \"intermediate_size\": 14336, "
     "\"max_position_embeddings\": 131072, \"mlp_bias\": false, \"model_type\": \"llama\", "
     "\"num_attention_heads\": 32, \"num_hidden_layers\": 32, \"num_key_value_heads\": 8, "
     "\"pretraining_tp\": 1, \"rms_norm_eps\": 1e-05, \"rope_scaling\": " LLAMA3(
         "8.0") ", "
                "\"rope_theta\": 500000.0, \"tie_word_embeddings\": false, \"torch_dtype\": "
                "\"bfloat16\", "
                "\"vocab_size\": 128256}",
     128256,
     4096,
     14336,
     32,
     32,
     8,
     128,
     131072,
     0,
     1e-5,
     5e5,
     "llama3",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     8030},
    {"Llama-3.2-1B",
     "{\"attention_bias\": false, \"head_dim\": 64, \"hidden_act\": \"silu\", \"hidden_size\": "
     "2048, \"intermediate_size\": 8192, \"max_position_embeddings\": 131072, \"mlp_bias\": "
     "false, \"model_type\": \"llama\", \"num_attention_heads\": 32, \"num_hidden_layers\": 16, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_scaling\": " LLAMA3(
         "32.0") ", "
                 "\"rope_theta\": 500000.0, \"tie_word_embeddings\": true, \"torch_dtype\": "
                 "\"bfloat16\", "
                 "\"vocab_size\": 128256}",
     128256,
     2048,
     8192,
     16,
     32,
     8,
     64,
     131072,
     0,
     1e-5,
     5e5,
     "llama3",
     true,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     1236},
    {"Llama-3.3-70B-Instruct",
     "{\"attention_bias\": false, \"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": "
     "8192, \"intermediate_size\": 28672, \"max_position_embeddings\": 131072, \"mlp_bias\": "
     "false, \"model_type\": \"llama\", \"num_attention_heads\": 64, \"num_hidden_layers\": 80, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_scaling\": " LLAMA3(
         "8.0") ", "
                "\"rope_theta\": 500000.0, \"tie_word_embeddings\": false, \"torch_dtype\": "
                "\"bfloat16\", "
                "\"vocab_size\": 128256}",
     128256,
     8192,
     28672,
     80,
     64,
     8,
     128,
     131072,
     0,
     1e-5,
     5e5,
     "llama3",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     70554},
    {"Mistral-7B-v0.1",
     "{\"bos_token_id\": 1, \"eos_token_id\": 2, \"hidden_act\": \"silu\", \"hidden_size\": 4096, "
     "\"intermediate_size\": 14336, \"max_position_embeddings\": 32768, \"model_type\": "
     "\"mistral\", \"num_attention_heads\": 32, \"num_hidden_layers\": 32, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
     "\"sliding_window\": 4096, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "
     "\"vocab_size\": 32000}",
     32000,
     4096,
     14336,
     32,
     32,
     8,
     128,
     32768,
     4096,
     1e-5,
     1e4,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     7242},
    {"Mistral-7B-Instruct-v0.2",
     "{\"attention_dropout\": 0.0, \"hidden_act\": \"silu\", \"hidden_size\": 4096, "
     "\"intermediate_size\": 14336, \"max_position_embeddings\": 32768, \"model_type\": "
     "\"mistral\", \"num_attention_heads\": 32, \"num_hidden_layers\": 32, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0, "
     "\"sliding_window\": null, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "
     "\"vocab_size\": 32000}",
     32000,
     4096,
     14336,
     32,
     32,
     8,
     128,
     32768,
     0,
     1e-5,
     1e6,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     7242},
    {"Mistral-7B-v0.3",
     "{\"attention_dropout\": 0.0, \"hidden_act\": \"silu\", \"hidden_size\": 4096, "
     "\"intermediate_size\": 14336, \"max_position_embeddings\": 32768, \"model_type\": "
     "\"mistral\", \"num_attention_heads\": 32, \"num_hidden_layers\": 32, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0, "
     "\"sliding_window\": null, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "
     "\"vocab_size\": 32768}",
     32768,
     4096,
     14336,
     32,
     32,
     8,
     128,
     32768,
     0,
     1e-5,
     1e6,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     7248},
    {"Mistral-Nemo-Base-2407",
     "{\"attention_dropout\": 0.0, \"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": "
     "5120, \"intermediate_size\": 14336, \"max_position_embeddings\": 131072, \"model_type\": "
     "\"mistral\", \"num_attention_heads\": 32, \"num_hidden_layers\": 40, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0, "
     "\"sliding_window\": null, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "
     "\"vocab_size\": 131072}",
     131072,
     5120,
     14336,
     40,
     32,
     8,
     128,
     131072,
     0,
     1e-5,
     1e6,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     12248},
    {"SmolLM2-135M-Instruct",
     "{\"attention_bias\": false, \"bos_token_id\": 1, \"eos_token_id\": 2, \"hidden_act\": "
     "\"silu\", \"hidden_size\": 576, \"intermediate_size\": 1536, \"is_llama_config\": true, "
     "\"max_position_embeddings\": 8192, \"mlp_bias\": false, \"model_type\": \"llama\", "
     "\"num_attention_heads\": 9, \"num_hidden_layers\": 30, \"num_key_value_heads\": 3, "
     "\"pretraining_tp\": 1, \"rms_norm_eps\": 1e-05, \"rope_interleaved\": false, "
     "\"rope_scaling\": null, \"rope_theta\": 100000, \"tie_word_embeddings\": true, "
     "\"torch_dtype\": \"bfloat16\", \"transformers.js_config\": {\"kv_cache_dtype\": "
     "{\"fp16\": \"float16\"}}, \"vocab_size\": 49152}",
     49152,
     576,
     1536,
     30,
     9,
     3,
     64,
     8192,
     0,
     1e-5,
     1e5,
     "default",
     true,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     134.5},
    {"TinyLlama-1.1B-Chat-v1.0",
     "{\"attention_bias\": false, \"hidden_act\": \"silu\", \"hidden_size\": 2048, "
     "\"intermediate_size\": 5632, \"max_position_embeddings\": 2048, \"model_type\": \"llama\", "
     "\"num_attention_heads\": 32, \"num_hidden_layers\": 22, \"num_key_value_heads\": 4, "
     "\"pretraining_tp\": 1, \"rms_norm_eps\": 1e-05, \"rope_scaling\": null, \"rope_theta\": "
     "10000.0, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", \"vocab_size\": "
     "32000}",
     32000,
     2048,
     5632,
     22,
     32,
     4,
     64,
     2048,
     0,
     1e-5,
     1e4,
     "default",
     false,
     false,
     false,
     false,
     ALD_DTYPE_BF16,
     1100},
    {"OLMo-2-1124-7B",
     "{\"attention_bias\": false, \"attention_dropout\": 0.0, \"eos_token_id\": 100257, "
     "\"hidden_act\": \"silu\", \"hidden_size\": 4096, \"intermediate_size\": 11008, "
     "\"max_position_embeddings\": 4096, \"model_type\": \"olmo2\", \"num_attention_heads\": 32, "
     "\"num_hidden_layers\": 32, \"num_key_value_heads\": 32, \"pad_token_id\": 100277, "
     "\"rms_norm_eps\": 1e-06, \"rope_scaling\": null, \"rope_theta\": 500000, "
     "\"tie_word_embeddings\": false, \"torch_dtype\": \"float32\", \"vocab_size\": 100352}",
     100352,
     4096,
     11008,
     32,
     32,
     32,
     128,
     4096,
     0,
     1e-6,
     5e5,
     "default",
     false,
     false,
     true,
     true,
     ALD_DTYPE_F32,
     7299},
};

static void parse_published(const published_t *p, ald_model_config_t *out)
{
    ald_json_t *json = NULL;
    expect_ok(ald_json_parse(p->text, strlen(p->text), p->name, &json));
    expect_ok(ald_model_config_parse(json, p->name, out));
    ald_json_free(json);
}

static void check_sizes(const published_t *p, const ald_model_config_t *c)
{
    assert_int_equal(c->vocab_size, p->vocab_size);
    assert_int_equal(c->hidden_size, p->hidden_size);
    assert_int_equal(c->intermediate_size, p->intermediate_size);
    assert_int_equal(c->layers, p->layers);
    assert_int_equal(c->heads, p->heads);
    assert_int_equal(c->kv_heads, p->kv_heads);
    assert_int_equal(c->head_dim, p->head_dim);
    assert_int_equal(c->max_position, p->max_position);
    for (int64_t l = 0; l < c->layers; ++l)
        assert_int_equal(ald_model_config_window(c, l), p->window);
}

static void check_rest(const published_t *p, const ald_model_config_t *c)
{
    assert_true(c->rms_norm_eps == p->eps && c->rotation.theta == p->theta);
    assert_string_equal(c->rotation.type, p->rope_type);
    assert_true(c->rotation.factor == 1.0 && c->rotation.limit == 0);
    assert_true(c->rotation.frequency[0] == 1.0);
    assert_int_equal(c->tied, p->tied);
    assert_int_equal(c->qkv_bias, p->qkv_bias);
    assert_int_equal(c->qk_norm, p->qk_norm);
    assert_int_equal(c->wide_norm, p->post_norm);
    assert_int_equal(c->post_norm, p->post_norm);
    assert_false(c->output_bias || c->mlp_bias);
    assert_int_equal(c->dtype, p->dtype);
}

static void published_files_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; ++i) {
        ald_model_config_t config;
        ald_params_t params;
        print_message("%s\n", published[i].name);
        parse_published(&published[i], &config);
        check_sizes(&published[i], &config);
        check_rest(&published[i], &config);
        expect_ok(ald_params_init(&config, &params));
        double millions = (double)params.total / 1e6;
        if (fabs(millions - published[i].parameters) > 1e-3 * published[i].parameters)
            fail_msg("%.1f million parameters, expected %.1f", millions, published[i].parameters);
        ald_params_reset(&params);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(published_files_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
