#include "ald/model_config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/arena.h"
#include "ald/file.h"

enum { LAYERS_MAX = 1 << 16 };

/* What the Hugging Face classes do where config.json is silent. */
typedef struct {
    const char *name;
    int64_t max_position;
    int64_t sliding_window; /* 0: none unless use_sliding_window says so */
    int64_t head_dim;       /* 0: hidden_size / num_attention_heads */
    bool qkv_bias;          /* always; attention_bias isn't looked at */
    bool optional_bias;     /* attention_bias gives q, k, v and o a bias */
    bool qk_norm;
} family_t;

static const family_t families[] = {
    {"qwen2", 32768, 0, 0, true, false, false},
    {"qwen3", 32768, 0, 128, false, true, true},
    {"llama", 2048, 0, 0, false, true, false},
    {"mistral", 131072, 4096, 0, false, false, false},
};

/* An object of the file, and how messages call it. */
typedef struct {
    const ald_json_t *json;
    const char *name;
} source_t;

/* Raises "FILE: key: expected WHAT, found VALUE". */
static ald_status_t wrong(const source_t *source, const char *key, const char *expected)
{
    const ald_json_t *value = ald_json_get(source->json, key);
    char *text = NULL;
    if (value == NULL)
        return ald_status_raise(ALD_STATUS_INPUT, "%s: %s: expected %s, but the key is missing",
                                source->name, key, expected);
    if (ald_json_dump(value, false, &text) != ALD_STATUS_OK)
        return ALD_STATUS_INPUT;
    ald_status_t status = ald_status_raise(ALD_STATUS_INPUT, "%s: %s: expected %s, found %.60s",
                                           source->name, key, expected, text);
    ald_free(text);
    return status;
}

#define WRONG(source, key, expected)                                                               \
    do {                                                                                           \
        status = wrong((source), (key), (expected));                                               \
        goto done;                                                                                 \
    } while (0)

static bool is_silent(const source_t *source, const char *key)
{
    return ald_json_is_null(ald_json_get(source->json, key));
}

/* A positive integer of at most INT32_MAX; `otherwise` where the file is silent (0: required). */
static ald_status_t get_size(const source_t *source, const char *key, int64_t otherwise,
                             int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (otherwise > 0 && is_silent(source, key))
        goto done;
    *out = ald_json_integer(ald_json_get(source->json, key), 0);
    if (*out < 1 || *out > INT_MAX)
        WRONG(source, key, "a positive integer");
done:
    return status;
}

static ald_status_t get_positive(const source_t *source, const char *key, double otherwise,
                                 double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (is_silent(source, key))
        goto done;
    *out = ald_json_number(ald_json_get(source->json, key), NAN);
    if (!(*out > 0 && isfinite(*out)))
        WRONG(source, key, "a positive number");
done:
    return status;
}

static ald_status_t get_bool(const source_t *source, const char *key, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = false;
    if (is_silent(source, key))
        goto done;
    if (!ald_json_is_bool(ald_json_get(source->json, key)))
        WRONG(source, key, "true or false");
    *out = ald_json_bool(ald_json_get(source->json, key), false);
done:
    return status;
}

static ald_status_t get_family(const source_t *source, const family_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = ald_json_text(ald_json_get(source->json, "model_type"), NULL);
    for (size_t i = 0; type != NULL && i < sizeof families / sizeof *families; ++i) {
        if (strcmp(type, families[i].name) == 0) {
            *out = &families[i];
            goto done;
        }
    }
    WRONG(source, "model_type", "one of qwen2, qwen3, llama, mistral");
done:
    return status;
}

static ald_status_t get_dtype(const source_t *source, ald_dtype_t *out)
{
    static const char *const names[] = {"float32", "bfloat16", "float16"};
    ald_status_t status = ALD_STATUS_OK;
    const char *key = is_silent(source, "dtype") ? "torch_dtype" : "dtype";
    const char *text = ald_json_text(ald_json_get(source->json, key), NULL);
    *out = ALD_DTYPE_F32;
    if (is_silent(source, key))
        goto done;
    for (int i = 0; text != NULL && i < 3; ++i) {
        if (strcmp(text, names[i]) == 0) {
            *out = (ald_dtype_t)i;
            goto done;
        }
    }
    WRONG(source, key, "one of \"float32\", \"bfloat16\", \"float16\"");
done:
    return status;
}

static ald_status_t get_sizes(const source_t *source, const family_t *family,
                              ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(get_size(source, "vocab_size", 0, &out->vocab_size));
    ALD_TRY(get_size(source, "hidden_size", 0, &out->hidden_size));
    ALD_TRY(get_size(source, "intermediate_size", 0, &out->intermediate_size));
    ALD_TRY(get_size(source, "num_hidden_layers", 0, &out->layers));
    ALD_TRY(get_size(source, "num_attention_heads", 0, &out->heads));
    ALD_TRY(get_size(source, "num_key_value_heads", out->heads, &out->kv_heads));
    ALD_TRY(get_size(source, "max_position_embeddings", family->max_position, &out->max_position));
    if (out->heads % out->kv_heads != 0)
        WRONG(source, "num_key_value_heads", "a divisor of num_attention_heads");
    int64_t split = family->head_dim;
    if (split == 0 && is_silent(source, "head_dim")) {
        if (out->hidden_size % out->heads != 0)
            WRONG(source, "num_attention_heads", "a divisor of hidden_size (without head_dim)");
        split = out->hidden_size / out->heads;
    }
    ALD_TRY(get_size(source, "head_dim", split, &out->head_dim));
    ALD_CHECK(out->head_dim % 2 == 0, ALD_STATUS_INPUT,
              "%s: head_dim: expected an even number, found %lld", source->name,
              (long long)out->head_dim);
    if (out->layers > LAYERS_MAX)
        WRONG(source, "num_hidden_layers", "at most 65536");
    if (out->intermediate_size > INT_MAX / 2)
        WRONG(source, "intermediate_size", "at most 1073741823");
    ALD_CHECK((out->heads + 2 * out->kv_heads) * out->head_dim <= INT_MAX, ALD_STATUS_INPUT,
              "%s: head_dim: heads times head_dim is too large", source->name);
done:
    return status;
}

/* One of rope_scaling and rope_parameters: only the plain rotation is accepted. */
static ald_status_t check_rope(const source_t *source, const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *rope = ald_json_get(source->json, key);
    if (ald_json_is_null(rope))
        goto done;
    if (!ald_json_is_object(rope))
        WRONG(source, key, "an object or null");
    const ald_json_t *type = ald_json_get(rope, "rope_type");
    type = type != NULL ? type : ald_json_get(rope, "type");
    const char *name = type == NULL ? "default" : ald_json_text(type, NULL);
    ALD_CHECK(name != NULL && strcmp(name, "default") == 0, ALD_STATUS_INPUT,
              "%s: %s: type \"%s\" is not supported, expected null or \"default\"", source->name,
              key, name == NULL ? ald_json_type_name(type) : name);
done:
    return status;
}

static ald_status_t get_rope(const source_t *source, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char name[512];
    double share = 1;
    snprintf(name, sizeof name, "%s: rope_parameters", source->name);
    source_t inner = {ald_json_get(source->json, "rope_parameters"), name};
    ALD_TRY(check_rope(source, "rope_scaling"));
    ALD_TRY(check_rope(source, "rope_parameters"));
    ALD_TRY(get_positive(source, "rope_theta", 10000, &out->rope_theta));
    ALD_TRY(get_positive(&inner, "rope_theta", out->rope_theta, &out->rope_theta));
    ALD_TRY(get_positive(source, "partial_rotary_factor", 1, &share));
    if (share != 1)
        WRONG(source, "partial_rotary_factor", "1");
done:
    return status;
}

/* A sliding window is fine as long as no layer uses it within max_position_embeddings. */
static ald_status_t check_window(const source_t *source, const family_t *family,
                                 const ald_model_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    bool used = false;
    const ald_json_t *types = ald_json_get(source->json, "layer_types");
    for (size_t i = 0; i < ald_json_count(types); ++i) {
        const char *type = ald_json_text(ald_json_at(types, i), NULL);
        ALD_CHECK(type != NULL && strcmp(type, "full_attention") == 0, ALD_STATUS_INPUT,
                  "%s: layer_types[%zu]: expected \"full_attention\", found \"%s\"", source->name,
                  i, type == NULL ? "" : type);
    }
    ALD_TRY(get_bool(source, "use_sliding_window", &used));
    if (used)
        WRONG(source, "use_sliding_window", "false (sliding windows are not supported)");
    if (family->sliding_window == 0)
        goto done;
    const ald_json_t *window = ald_json_get(source->json, "sliding_window");
    int64_t width = ald_json_integer(window, window == NULL ? family->sliding_window : 0);
    bool off = window != NULL && ald_json_is_null(window);
    if (!off && width < config->max_position)
        WRONG(source, "sliding_window", "null or at least max_position_embeddings");
done:
    return status;
}

/* Parts that would change the mathematics. */
static ald_status_t check_unsupported(const source_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    bool bias = false;
    const char *act = ald_json_text(ald_json_get(source->json, "hidden_act"), NULL);
    if (!is_silent(source, "hidden_act") && (act == NULL || strcmp(act, "silu") != 0))
        WRONG(source, "hidden_act", "\"silu\"");
    ALD_TRY(get_bool(source, "mlp_bias", &bias));
    if (bias)
        WRONG(source, "mlp_bias", "false");
    ALD_CHECK(is_silent(source, "quantization_config"), ALD_STATUS_INPUT,
              "%s: quantization_config: quantised weights are not supported", source->name);
done:
    return status;
}

static ald_status_t get_attention(const source_t *source, const family_t *family,
                                  ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool bias = false;
    ALD_TRY(get_bool(source, "attention_bias", &bias));
    if (bias && !family->optional_bias && !family->qkv_bias)
        WRONG(source, "attention_bias", "false");
    out->qkv_bias = family->qkv_bias || (bias && family->optional_bias);
    out->output_bias = bias && family->optional_bias;
    out->qk_norm = family->qk_norm;
done:
    return status;
}

/* eos_token_id: an id, a list of ids, or nothing. */
static ald_status_t get_eos(const source_t *source, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *value = ald_json_get(source->json, "eos_token_id");
    bool list = ald_json_is_array(value);
    size_t count = ald_json_is_null(value) ? 0 : list ? ald_json_count(value) : 1;
    const size_t room = sizeof out->eos / sizeof *out->eos;
    if (count == 0)
        goto done;
    if (count > room)
        WRONG(source, "eos_token_id", "at most 16 ids");
    for (size_t i = 0; i < count; ++i) {
        int64_t id = ald_json_integer(list ? ald_json_at(value, i) : value, -1);
        if (id < 0 || id >= out->vocab_size)
            WRONG(source, "eos_token_id", "ids of the vocabulary");
        out->eos[i] = (int32_t)id;
    }
    out->eos_count = (int)count;
done:
    return status;
}

ald_status_t ald_model_config_parse(const ald_json_t *json, const char *name,
                                    ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const family_t *family = NULL;
    const source_t source = {json, name};
    *out = (ald_model_config_t){0};
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "%s: expected an object, found %s", name,
              ald_json_type_name(json));
    ALD_TRY(get_family(&source, &family));
    snprintf(out->model_type, sizeof out->model_type, "%s", family->name);
    ALD_TRY(get_sizes(&source, family, out));
    ALD_TRY(get_positive(&source, "rms_norm_eps", 1e-6, &out->rms_norm_eps));
    ALD_TRY(get_rope(&source, out));
    ALD_TRY(get_attention(&source, family, out));
    ALD_TRY(get_bool(&source, "tie_word_embeddings", &out->tied));
    ALD_TRY(get_dtype(&source, &out->dtype));
    ALD_TRY(check_window(&source, family, out));
    ALD_TRY(check_unsupported(&source));
    ALD_TRY(get_eos(&source, out));
done:
    return status;
}

/* generation_config.json's end tokens go before those of config.json. */
static ald_status_t read_generation(const char *path, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    if (!ald_path_exists(path))
        goto done;
    ALD_TRY(ald_json_read(path, &json));
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "%s: expected an object, found %s", path,
              ald_json_type_name(json));
    ALD_TRY(get_eos(&(source_t){json, path}, out));
done:
    ald_json_free(json);
    return status;
}

ald_status_t ald_model_config_read(const char *directory, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    char *config = ald_path_join(directory, "config.json");
    char *generation = ald_path_join(directory, "generation_config.json");
    ALD_CHECK_MEMORY(config, strlen(directory));
    ALD_CHECK_MEMORY(generation, strlen(directory));
    ALD_CHECK(ald_path_is_directory(directory), ALD_STATUS_INPUT, "%s: no such model directory",
              directory);
    ALD_TRY(ald_json_read(config, &json));
    ALD_TRY(ald_model_config_parse(json, config, out));
    ALD_TRY(read_generation(generation, out));
done:
    ald_json_free(json);
    ald_free(config);
    ald_free(generation);
    return status;
}
