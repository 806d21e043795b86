/* Published config.json files, as far as they bear on the mathematics (published.json), and what
 * becomes of them: each number is what the reference classes make of the same file. */
#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"
#include "scratch.h"

/* LLAMA3, YARN: rope_type. EACH_4TH, EACH_6TH: these layers have no window. */
enum { TIED = 1, QKV_BIAS = 2, QK_NORM = 4, POST_NORM = 8, LLAMA3 = 16, YARN = 32, GEMMA = 64 };
enum { EACH_4TH = 128, EACH_6TH = 256, UNROTATED_4TH = 512 };
enum { F32 = ALD_DTYPE_F32, BF16 = ALD_DTYPE_BF16, F16 = ALD_DTYPE_F16 };

typedef struct {
    const char *name;
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim;
    int64_t max_position, window; /* of every layer, or of those that have one */
    double eps, theta;
    int has, dtype;
    double parameters; /* millions, as the model's page counts them (embeddings once if tied) */
} published_t;

static const published_t published[] = {
    {"Qwen2-7B-Instruct", 152064, 3584, 18944, 28, 28, 4, 128, 32768, 0, 1e-6, 1e6, QKV_BIAS, BF16,
     7616},
    {"Qwen2.5-1.5B-Instruct", 151936, 1536, 8960, 28, 12, 2, 128, 32768, 0, 1e-6, 1e6,
     TIED | QKV_BIAS, BF16, 1544},
    {"Qwen3-0.6B", 151936, 1024, 3072, 28, 16, 8, 128, 40960, 0, 1e-6, 1e6, TIED | QK_NORM, BF16,
     596},
    {"Qwen3-0.6B, saved anew", 151936, 1024, 3072, 28, 16, 8, 128, 40960, 0, 1e-6, 1e6,
     TIED | QK_NORM, BF16, 596},
    {"Llama-2-7b-hf", 32000, 4096, 11008, 32, 32, 32, 128, 4096, 0, 1e-5, 1e4, 0, F16, 6738},
    {"Meta-Llama-3-8B", 128256, 4096, 14336, 32, 32, 8, 128, 8192, 0, 1e-5, 5e5, 0, BF16, 8030},
    {"Llama-3.1-8B-Instruct", 128256, 4096, 14336, 32, 32, 8, 128, 131072, 0, 1e-5, 5e5, LLAMA3,
     BF16, 8030},
    {"Llama-3.2-1B", 128256, 2048, 8192, 16, 32, 8, 64, 131072, 0, 1e-5, 5e5, TIED | LLAMA3, BF16,
     1236},
    {"Llama-3.3-70B-Instruct", 128256, 8192, 28672, 80, 64, 8, 128, 131072, 0, 1e-5, 5e5, LLAMA3,
     BF16, 70554},
    {"Mistral-7B-v0.1", 32000, 4096, 14336, 32, 32, 8, 128, 32768, 4096, 1e-5, 1e4, 0, BF16, 7242},
    {"Mistral-7B-Instruct-v0.2", 32000, 4096, 14336, 32, 32, 8, 128, 32768, 0, 1e-5, 1e6, 0, BF16,
     7242},
    {"Mistral-7B-v0.3", 32768, 4096, 14336, 32, 32, 8, 128, 32768, 0, 1e-5, 1e6, 0, BF16, 7248},
    {"Mistral-Nemo-Base-2407", 131072, 5120, 14336, 40, 32, 8, 128, 131072, 0, 1e-5, 1e6, 0, BF16,
     12248},
    {"SmolLM2-135M-Instruct", 49152, 576, 1536, 30, 9, 3, 64, 8192, 0, 1e-5, 1e5, TIED, BF16,
     134.5},
    {"TinyLlama-1.1B-Chat-v1.0", 32000, 2048, 5632, 22, 32, 4, 64, 2048, 0, 1e-5, 1e4, 0, BF16,
     1100},
    {"OLMo-2-1124-7B", 100352, 4096, 11008, 32, 32, 32, 128, 4096, 0, 1e-6, 5e5,
     QK_NORM | POST_NORM, F32, 7299},
    {"Olmo-3-7B-Instruct", 100278, 4096, 11008, 32, 32, 32, 128, 65536, 4096, 1e-6, 5e5,
     QK_NORM | POST_NORM | YARN | EACH_4TH, BF16, 7298},
    {"SmolLM3-3B", 128256, 2048, 11008, 36, 16, 4, 128, 65536, 0, 1e-6, 5e6, TIED | UNROTATED_4TH,
     BF16, 3075},
    {"gemma-3-270m-it", 262144, 640, 2048, 18, 4, 1, 256, 32768, 512, 1e-6, 1e6,
     TIED | QK_NORM | GEMMA | EACH_6TH, BF16, 268.1},
    {"gemma-3-1b-it", 262144, 1152, 6912, 26, 4, 1, 256, 32768, 512, 1e-6, 1e6,
     TIED | QK_NORM | GEMMA | EACH_6TH, BF16, 999.9},
};
enum { FILES = sizeof published / sizeof *published };

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
    for (int64_t l = 0; l < c->layers; ++l) {
        const bool full = (p->has & EACH_4TH && l % 4 == 3) || (p->has & EACH_6TH && l % 6 == 5);
        const bool unrotated = p->has & UNROTATED_4TH && l % 4 == 3;
        assert_int_equal(ald_model_config_window(c, l), full ? 0 : p->window);
        assert_int_equal(ald_model_config_rotation(c, l) == NULL, unrotated);
    }
}

/* What the layers with a window have of their own, and Gemma. */
static void check_small_families(const published_t *p, const ald_model_config_t *c)
{
    const bool gemma = (p->has & GEMMA) != 0;
    assert_int_equal(c->two_rotations, (p->has & (GEMMA | YARN)) != 0);
    if (c->two_rotations) {
        assert_true(c->window_rotation.theta == (gemma ? 1e4 : p->theta));
        assert_string_equal(c->window_rotation.type, "default");
    }
    assert_true(c->sandwich == gemma && c->offset_norm == gemma);
    assert_true(c->gelu == gemma && c->scaled_embedding == gemma);
    assert_true(c->attention_scale == (gemma ? 1.0 / 16 : 0));
}

static void check_rest(const published_t *p, const ald_model_config_t *c)
{
    assert_true(c->rms_norm_eps == p->eps && c->rotation.theta == p->theta);
    assert_string_equal(c->rotation.type, p->has & LLAMA3 ? "llama3"
                                          : p->has & YARN ? "yarn"
                                                          : "default");
    assert_true(c->rotation.factor == (p->has & YARN ? 1.2079441541679836 : 1.0));
    assert_int_equal(c->rotation.limit, 0);
    assert_true(c->rotation.frequency[0] == 1.0);
    assert_int_equal(c->tied, (p->has & TIED) != 0);
    assert_int_equal(c->qkv_bias, (p->has & QKV_BIAS) != 0);
    assert_int_equal(c->qk_norm, (p->has & QK_NORM) != 0);
    assert_int_equal(c->wide_norm, (p->has & POST_NORM) != 0);
    assert_int_equal(c->post_norm, (p->has & (POST_NORM | GEMMA)) != 0);
    assert_false(c->output_bias || c->mlp_bias);
    assert_int_equal(c->dtype, p->dtype);
}

static void check_parameters(const published_t *p, const ald_model_config_t *c)
{
    ald_params_t params;
    expect_ok(ald_params_init(c, &params));
    double millions = (double)params.total / 1e6;
    if (fabs(millions - p->parameters) > 1e-3 * p->parameters)
        fail_msg("%.1f million parameters, expected %.1f", millions, p->parameters);
    ald_params_reset(&params);
}

/* One row; *state points to it. */
static void is_understood(void **state)
{
    const published_t *p = *state;
    ald_json_t *files = NULL;
    ald_model_config_t config;
    expect_ok(ald_json_read(ALD_ROOT "/tests/unit/published.json", &files));
    assert_int_equal(ald_json_count(files), FILES);
    expect_ok(ald_model_config_parse(ald_json_get(files, p->name), p->name, &config));
    ald_json_free(files);
    check_sizes(p, &config);
    check_rest(p, &config);
    check_small_families(p, &config);
    check_parameters(p, &config);
    assert_int_equal(ald_memory_blocks(), 0);
}

int main(void)
{
    struct CMUnitTest tests[FILES];
    for (int i = 0; i < FILES; ++i)
        tests[i] = (struct CMUnitTest){
            .name = published[i].name,
            .test_func = is_understood,
            .initial_state = (void *)(uintptr_t)&published[i],
        };
    return cmocka_run_group_tests_name("published files", tests, NULL, NULL);
}
