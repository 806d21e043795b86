/* Reads config.json by a table of families. A key that isn't known to leave the mathematics alone
 * is an error (config_known.c), since a model that computes something else trains without
 * complaint. */
#include "ald/model/model_config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"
#include "model/config_keys_impl.h"
#include "model/config_known_impl.h"

/* The layers that have a window where layer_types is missing. */
typedef enum {
    NO_WINDOW,
    LAST_LAYERS,      /* from max_window_layers on, if use_sliding_window */
    UNROTATED_LAYERS, /* those without rotation, if use_sliding_window */
    ALL_LAYERS,       /* if sliding_window; layer_types has to agree */
    MOST_LAYERS,      /* all but each n-th */
} windows_t;

/* A family: its values for keys that config.json lacks, as in transformers, and its tensors. */
typedef struct {
    const char *name;
    int64_t max_position;
    int64_t head_dim; /* 0: hidden_size / num_attention_heads */
    int64_t kv_heads; /* 0: num_attention_heads */
    double eps;
    double theta; /* 0: 10000 */
    windows_t windows;
    int64_t period; /* n of MOST_LAYERS */
    ald_window_turn_t turn;
    bool tied;
    bool qkv_bias;      /* always; attention_bias isn't looked at */
    bool optional_bias; /* attention_bias gives q, k, v and o a bias */
    bool mlp_bias;      /* mlp_bias is looked at */
    bool unrotated;     /* no_rope_layers is looked at */
    bool qk_norm, wide_norm, post_norm;
    bool gemma;          /* sandwich norms of 1 + weight, scaled embedding and scores, gelu */
    const char *keys[5]; /* of config.json that this family alone has */
} family_t;

static const family_t families[] = {
    {.name = "qwen2",
     .max_position = 32768,
     .kv_heads = 32,
     .eps = 1e-6,
     .windows = LAST_LAYERS,
     .qkv_bias = true},
    {.name = "qwen3",
     .max_position = 32768,
     .head_dim = 128,
     .kv_heads = 32,
     .eps = 1e-6,
     .windows = LAST_LAYERS,
     .optional_bias = true,
     .qk_norm = true},
    {.name = "llama", .max_position = 2048, .eps = 1e-6, .optional_bias = true, .mlp_bias = true},
    {.name = "mistral", .max_position = 131072, .kv_heads = 8, .eps = 1e-6, .windows = ALL_LAYERS},
    {.name = "olmo2",
     .max_position = 2048,
     .eps = 1e-5,
     .optional_bias = true,
     .qk_norm = true,
     .wide_norm = true,
     .post_norm = true},
    {.name = "olmo3",
     .max_position = 2048,
     .eps = 1e-5,
     .windows = MOST_LAYERS,
     .period = 4,
     .turn = ALD_WINDOWS_PLAIN,
     .optional_bias = true,
     .qk_norm = true,
     .wide_norm = true,
     .post_norm = true},
    {.name = "smollm3",
     .max_position = 32768,
     .kv_heads = 4,
     .eps = 1e-6,
     .theta = 2e6,
     .windows = UNROTATED_LAYERS,
     .tied = true,
     .optional_bias = true,
     .mlp_bias = true,
     .unrotated = true,
     .keys = {"no_rope_layers", "no_rope_layer_interval"}},
    {.name = "gemma3_text",
     .max_position = 131072,
     .head_dim = 256,
     .kv_heads = 4,
     .eps = 1e-6,
     .theta = 1e6,
     .windows = MOST_LAYERS,
     .period = 6,
     .turn = ALD_WINDOWS_LOCAL,
     .tied = true,
     .optional_bias = true,
     .qk_norm = true,
     .post_norm = true,
     .gemma = true,
     .keys = {"query_pre_attn_scalar", "rope_local_base_freq", "sliding_window_pattern",
              "_sliding_window_pattern"}},
};

static ald_status_t get_family(const ald_keys_t *keys, const family_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = ald_json_text(ald_json_get(keys->json, "model_type"), NULL);
    for (size_t i = 0; type != NULL && i < sizeof families / sizeof *families; ++i) {
        if (strcmp(type, families[i].name) == 0) {
            *out = &families[i];
            goto done;
        }
    }
    ALD_WRONG(keys, "model_type",
              "one of qwen2, qwen3, llama, mistral, olmo2, olmo3, smollm3, gemma3_text");
done:
    return status;
}

static ald_status_t get_dtype(const ald_keys_t *keys, ald_dtype_t *out)
{
    static const char *const names[] = {"float32", "bfloat16", "float16"};
    ald_status_t status = ALD_STATUS_OK;
    const char *key = ald_keys_silent(keys, "dtype") ? "torch_dtype" : "dtype";
    const char *text = ald_json_text(ald_json_get(keys->json, key), NULL);
    *out = ALD_DTYPE_F32;
    if (ald_keys_silent(keys, key))
        goto done;
    for (int i = 0; text != NULL && i < 3; ++i) {
        if (strcmp(text, names[i]) == 0) {
            *out = (ald_dtype_t)i;
            goto done;
        }
    }
    ALD_WRONG(keys, key, "one of \"float32\", \"bfloat16\", \"float16\"");
done:
    return status;
}

static ald_status_t get_sizes(const ald_keys_t *keys, const family_t *family,
                              ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_keys_size(keys, "vocab_size", 0, &out->vocab_size));
    ALD_TRY(ald_keys_size(keys, "hidden_size", 0, &out->hidden_size));
    ALD_TRY(ald_keys_size(keys, "intermediate_size", 0, &out->intermediate_size));
    ALD_TRY(ald_keys_size(keys, "num_hidden_layers", 0, &out->layers));
    ALD_TRY(ald_keys_size(keys, "num_attention_heads", 0, &out->heads));
    bool missing = ald_json_get(keys->json, "num_key_value_heads") == NULL;
    ALD_TRY(ald_keys_size(keys, "num_key_value_heads",
                          missing && family->kv_heads > 0 ? family->kv_heads : out->heads,
                          &out->kv_heads));
    ALD_TRY(
        ald_keys_size(keys, "max_position_embeddings", family->max_position, &out->max_position));
    if (out->heads % out->kv_heads != 0)
        ALD_WRONG(keys, "num_key_value_heads", "a divisor of num_attention_heads");
    int64_t split = family->head_dim;
    if (split == 0 && ald_keys_silent(keys, "head_dim")) {
        if (out->hidden_size % out->heads != 0)
            ALD_WRONG(keys, "num_attention_heads", "a divisor of hidden_size (without head_dim)");
        split = out->hidden_size / out->heads;
    }
    ALD_TRY(ald_keys_size(keys, "head_dim", split, &out->head_dim));
    ALD_CHECK(out->head_dim % 2 == 0, ALD_STATUS_INPUT,
              "%s: head_dim: expected an even number, found %lld", keys->name,
              (long long)out->head_dim);
    ALD_CHECK(out->head_dim <= 2 * ALD_ROTATION_PAIRS, ALD_STATUS_INPUT,
              "%s: head_dim: expected at most %d, found %lld", keys->name, 2 * ALD_ROTATION_PAIRS,
              (long long)out->head_dim);
    if (out->layers > ALD_LAYERS_MAX)
        ALD_WRONG(keys, "num_hidden_layers", "at most 1024");
    if (out->intermediate_size > INT_MAX / 2)
        ALD_WRONG(keys, "intermediate_size", "at most 1073741823");
    ALD_CHECK((out->heads + 2 * out->kv_heads) * out->head_dim <= INT_MAX, ALD_STATUS_INPUT,
              "%s: head_dim: heads times head_dim is too large", keys->name);
done:
    return status;
}

static void set_window(ald_model_config_t *config, int64_t layer, int64_t window)
{
    config->window = window;
    config->windowed[layer / 64] |= (uint64_t)1 << layer % 64;
}

/* The value of sliding_window, if the family has windows and use_sliding_window doesn't turn them
 * off; else 0. */
static ald_status_t get_window(const ald_keys_t *keys, const family_t *family, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool missing = ald_json_get(keys->json, "sliding_window") == NULL;
    bool used = false;
    *out = 0;
    ALD_TRY(ald_keys_bool(keys, "use_sliding_window", false, &used));
    if (used && family->windows == NO_WINDOW)
        ALD_WRONG(keys, "use_sliding_window", "false");
    const bool switched = family->windows == LAST_LAYERS || family->windows == UNROTATED_LAYERS;
    if (family->windows == NO_WINDOW || (switched && !used))
        goto done;
    if (missing || !ald_keys_silent(keys, "sliding_window"))
        ALD_TRY(ald_keys_size(keys, "sliding_window", 4096, out));
done:
    return status;
}

/* Reads layer_types, which must have an entry for each layer and agree with the window. */
static ald_status_t get_layer_types(const ald_keys_t *keys, const family_t *family, int64_t window,
                                    ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *types = ald_json_get(keys->json, "layer_types");
    if (!ald_json_is_array(types) || ald_json_count(types) != (size_t)out->layers)
        ALD_WRONG(keys, "layer_types", "a list of num_hidden_layers names");
    for (int64_t i = 0; i < out->layers; ++i) {
        const char *type = ald_json_text(ald_json_at(types, (size_t)i), NULL);
        bool slides = type != NULL && strcmp(type, "sliding_attention") == 0;
        ALD_CHECK(slides || (type != NULL && strcmp(type, "full_attention") == 0), ALD_STATUS_INPUT,
                  "%s: layer_types[%lld]: expected \"full_attention\" or \"sliding_attention\", "
                  "found \"%s\"",
                  keys->name, (long long)i, type == NULL ? "" : type);
        ALD_CHECK(!slides || window > 0, ALD_STATUS_INPUT,
                  "%s: layer_types[%lld]: \"sliding_attention\", but no sliding_window is in use",
                  keys->name, (long long)i);
        ALD_CHECK(slides || family->windows != ALL_LAYERS || window == 0, ALD_STATUS_INPUT,
                  "%s: layer_types[%lld]: expected \"sliding_attention\" (sliding_window is %lld)",
                  keys->name, (long long)i, (long long)window);
        if (slides)
            set_window(out, i, window);
    }
done:
    return status;
}

/* The n of MOST_LAYERS. transformers writes _sliding_window_pattern and doesn't read it. */
static ald_status_t get_period(const ald_keys_t *keys, const family_t *family, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t written;
    ALD_TRY(ald_keys_size(keys, "sliding_window_pattern", family->period, out));
    ALD_TRY(ald_keys_size(keys, "_sliding_window_pattern", *out, &written));
    if (written != *out)
        ALD_WRONG(keys, "_sliding_window_pattern", "the number in sliding_window_pattern (or 6)");
done:
    return status;
}

static ald_status_t get_windows(const ald_keys_t *keys, const family_t *family,
                                ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t window, first = 0, period = 0;
    ALD_TRY(get_window(keys, family, &window));
    if (!ald_keys_silent(keys, "layer_types")) {
        ALD_TRY(get_layer_types(keys, family, window, out));
        goto done;
    }
    if (family->windows == MOST_LAYERS) {
        ALD_TRY(get_period(keys, family, &period));
        if (window == 0 && period > 1)
            ALD_WRONG(keys, "sliding_window", "a positive integer");
    }
    if (family->windows == LAST_LAYERS && window > 0) {
        first = ald_keys_silent(keys, "max_window_layers")
                    ? 28
                    : ald_json_integer(ald_json_get(keys->json, "max_window_layers"), -1);
        if (first < 0)
            ALD_WRONG(keys, "max_window_layers", "0 or a positive integer");
    }
    for (int64_t i = first; i < out->layers && window > 0; ++i)
        if (family->windows == MOST_LAYERS        ? (i + 1) % period != 0
            : family->windows == UNROTATED_LAYERS ? ald_model_config_rotation(out, i) == NULL
                                                  : true)
            set_window(out, i, window);
done:
    return status;
}

/* Reads which layers have no rotation: those with a 0 in no_rope_layers, which may be longer than
 * needed, or each n-th. */
static ald_status_t get_unrotated(const ald_keys_t *keys, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(keys->json, "no_rope_layers");
    const bool silent = ald_json_is_null(list);
    int64_t interval = 4;
    if (silent)
        ALD_TRY(ald_keys_size(keys, "no_rope_layer_interval", interval, &interval));
    else if (!ald_json_is_array(list) || ald_json_count(list) < (size_t)out->layers)
        ALD_WRONG(keys, "no_rope_layers", "a list of num_hidden_layers numbers");
    for (int64_t i = 0; i < out->layers; ++i) {
        const int64_t turns =
            silent ? (i + 1) % interval != 0 : ald_json_integer(ald_json_at(list, (size_t)i), -1);
        ALD_CHECK(turns == 0 || turns == 1, ALD_STATUS_INPUT,
                  "%s: no_rope_layers[%lld]: expected 1 (with rotation) or 0 (without)", keys->name,
                  (long long)i);
        if (turns == 0)
            out->unrotated[i / 64] |= (uint64_t)1 << i % 64;
    }
done:
    return status;
}

/* Refuses other activations, and keys that may change the mathematics. */
static ald_status_t check_unsupported(const ald_keys_t *keys, const family_t *family)
{
    static const char *const activations[] = {"hidden_act", "hidden_activation"};
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < 2; ++i) {
        const char *act = ald_json_text(ald_json_get(keys->json, activations[i]), NULL);
        bool silu = act != NULL && (strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0);
        bool gelu = act != NULL && strcmp(act, "gelu_pytorch_tanh") == 0;
        if (!ald_keys_silent(keys, activations[i]) && !(family->gemma ? gelu : silu))
            ALD_WRONG(keys, activations[i], family->gemma ? "\"gelu_pytorch_tanh\"" : "\"silu\"");
    }
    ALD_TRY(ald_keys_check_known(keys, family->keys));
done:
    return status;
}

static ald_status_t get_flags(const ald_keys_t *keys, const family_t *family,
                              ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool bias = false;
    ALD_TRY(ald_keys_bool(keys, "attention_bias", false, &bias));
    if (bias && !family->optional_bias && !family->qkv_bias)
        ALD_WRONG(keys, "attention_bias", "false");
    out->qkv_bias = family->qkv_bias || (bias && family->optional_bias);
    out->output_bias = bias && family->optional_bias;
    out->qk_norm = family->qk_norm;
    out->wide_norm = family->wide_norm;
    out->post_norm = family->post_norm;
    out->sandwich = out->offset_norm = out->scaled_embedding = out->gelu = family->gemma;
    ALD_TRY(ald_keys_bool(keys, "tie_word_embeddings", family->tied, &out->tied));
    ALD_TRY(ald_keys_bool(keys, "mlp_bias", false, &out->mlp_bias));
    if (out->mlp_bias && !family->mlp_bias)
        ALD_WRONG(keys, "mlp_bias", "false");
done:
    return status;
}

/* Reads query_pre_attn_scalar, by whose root Gemma's scores are divided. */
static ald_status_t get_attention_scale(const ald_keys_t *keys, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double scalar;
    ALD_TRY(ald_keys_positive(keys, "query_pre_attn_scalar", 256, &scalar));
    out->attention_scale = 1 / sqrt(scalar);
done:
    return status;
}

/* Reads eos_token_id: an id, a list of ids, or nothing. */
static ald_status_t get_eos(const ald_keys_t *keys, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *value = ald_json_get(keys->json, "eos_token_id");
    bool list = ald_json_is_array(value);
    size_t count = ald_json_is_null(value) ? 0 : list ? ald_json_count(value) : 1;
    const size_t room = sizeof out->eos / sizeof *out->eos;
    if (count == 0)
        goto done;
    if (count > room)
        ALD_WRONG(keys, "eos_token_id", "at most 16 ids");
    for (size_t i = 0; i < count; ++i) {
        int64_t id = ald_json_integer(list ? ald_json_at(value, i) : value, -1);
        if (id < 0 || id >= out->vocab_size)
            ALD_WRONG(keys, "eos_token_id", "ids of the vocabulary");
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
    const ald_keys_t keys = {json, name};
    *out = (ald_model_config_t){0};
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "%s: expected an object, found %s", name,
              ald_json_type_name(json));
    ALD_TRY(get_family(&keys, &family));
    snprintf(out->model_type, sizeof out->model_type, "%s", family->name);
    ALD_TRY(get_sizes(&keys, family, out));
    ALD_TRY(ald_keys_positive(&keys, "rms_norm_eps", family->eps, &out->rms_norm_eps));
    ALD_TRY(ald_rotation_parse(&keys, family->turn, family->theta > 0 ? family->theta : 1e4, out));
    ALD_TRY(get_flags(&keys, family, out));
    ALD_TRY(get_dtype(&keys, &out->dtype));
    if (family->unrotated)
        ALD_TRY(get_unrotated(&keys, out));
    if (family->gemma)
        ALD_TRY(get_attention_scale(&keys, out));
    ALD_TRY(get_windows(&keys, family, out));
    ALD_TRY(check_unsupported(&keys, family));
    ALD_TRY(get_eos(&keys, out));
done:
    return status;
}

/* Reads generation_config.json, whose end tokens go before those of config.json. */
static ald_status_t read_generation(const char *path, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    if (!ald_path_exists(path))
        goto done;
    ALD_TRY(ald_json_read(path, &json));
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "%s: expected an object, found %s", path,
              ald_json_type_name(json));
    ALD_TRY(get_eos(&(ald_keys_t){json, path}, out));
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
