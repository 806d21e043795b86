/* inspect of a model directory or a checkpoint: shape, stored type, sizes, digests, tokenizer.
 * Weights are opened and digested but not loaded: a model larger than memory can be looked at. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/num/dtype.h"
#include "ald/text/tokenizer.h"
#include "cli/inspect_impl.h"

static void put_integer(ald_json_t *report, const char *name, int64_t value)
{
    ald_json_set(report, name, ald_json_new_integer(value));
}

static void put_shapes(ald_json_t *report, const ald_params_t *params)
{
    const ald_model_config_t *config = &params->config;
    ald_json_t *shape = ald_json_new_object();
    put_integer(shape, "layers", config->layers);
    put_integer(shape, "hidden", config->hidden_size);
    put_integer(shape, "intermediate", config->intermediate_size);
    put_integer(shape, "heads", config->heads);
    put_integer(shape, "kv_heads", config->kv_heads);
    put_integer(shape, "head_dim", config->head_dim);
    ald_json_set(report, "model_type", ald_json_new_string(config->model_type));
    put_integer(report, "parameters", params->total);
    put_integer(report, "tensors", params->count);
    ald_json_set(report, "shape", shape);
    put_integer(report, "vocabulary", config->vocab_size);
    put_integer(report, "positions", config->max_position);
    ald_json_set(report, "tied", ald_json_new_bool(config->tied));
    ald_json_set(report, "attention_bias", ald_json_new_bool(config->qkv_bias));
    ald_json_set(report, "qk_norm", ald_json_new_bool(config->qk_norm));
    ald_json_set(report, "rope_theta", ald_json_new_number(config->rotation.theta));
    ald_json_set(report, "rope_type", ald_json_new_string(config->rotation.type));
    ald_json_set(report, "sliding_window", ald_json_new_integer(config->window));
    if (config->eos_count > 0)
        put_integer(report, "eos", config->eos[0]);
}

/* Opens the weights, which checks them against the tensor list's names, and sums their bytes. */
static ald_status_t put_weights(ald_json_t *report, const char *path, const ald_params_t *params)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_safetensors_t *set = NULL;
    const char *const *files = NULL;
    char hex[ALD_SHA256_HEX];
    int64_t bytes = 0;
    ALD_TRY(ald_safetensors_open(path, &set));
    const int64_t count = ald_safetensors_files(set, &files);
    for (int64_t i = 0; i < count; ++i)
        bytes += ald_file_size(files[i]);
    const ald_stored_t *first = ald_safetensors_find(set, params->tensors[0].name);
    ALD_CHECK(first != NULL, ALD_STATUS_INPUT, "%s: the weights lack tensor \"%s\"", path,
              params->tensors[0].name);
    ALD_TRY(ald_hf_sha256(path, hex));
    ald_json_set(report, "dtype", ald_json_new_string(ald_dtype_name(first->dtype)));
    put_integer(report, "weight_files", count);
    put_integer(report, "weight_bytes", bytes);
    ald_json_set(report, "sha256", ald_json_new_string(hex));
done:
    ald_safetensors_close(set);
    return status;
}

static ald_status_t put_tokenizer(ald_json_t *report, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_tokenizer_t *tokenizer = NULL;
    char *file = ald_path_join(path, "tokenizer.json");
    ALD_CHECK_MEMORY(file, strlen(path));
    if (!ald_path_exists(file))
        goto done;
    ALD_TRY(ald_tokenizer_open(path, &tokenizer));
    put_integer(report, "tokenizer", ald_tokenizer_size(tokenizer));
    ald_json_set(report, "sha256_tokenizer", ald_json_new_string(ald_tokenizer_sha256(tokenizer)));
done:
    ald_tokenizer_destroy(tokenizer);
    ald_free(file);
    return status;
}

/* A checkpoint has state.json and optimizer.h5 beside the model. */
static ald_status_t put_state(ald_json_t *report, const char *path)
{
    static const char *const keys[] = {"stage", "step", "steps", "seed", "tool_version"};
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *state = NULL;
    char *file = ald_path_join(path, "state.json"), *moments = ald_path_join(path, "optimizer.h5");
    ALD_CHECK_MEMORY(file, strlen(path));
    ALD_CHECK_MEMORY(moments, strlen(path));
    if (!ald_path_exists(file))
        goto done;
    ALD_TRY(ald_json_read(file, &state));
    ald_json_set(report, "kind", ald_json_new_string("checkpoint"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i)
        if (!ald_json_is_null(ald_json_get(state, keys[i])))
            ald_json_set(report, keys[i], ald_json_copy(ald_json_get(state, keys[i])));
    put_integer(report, "optimizer_bytes", ald_file_size(moments));
done:
    ald_json_free(state);
    ald_free(file);
    ald_free(moments);
    return status;
}

ald_status_t ald_inspect_model(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t config;
    ald_params_t params = {0};
    ald_json_t *report = ald_json_new_object();
    *out = NULL;
    ald_json_set(report, "path", ald_json_new_string(path));
    ald_json_set(report, "kind", ald_json_new_string("model"));
    ALD_TRY(ald_model_config_read(path, &config));
    ALD_TRY(ald_params_init(&config, &params));
    put_shapes(report, &params);
    ALD_TRY(put_weights(report, path, &params));
    ALD_TRY(put_tokenizer(report, path));
    ALD_TRY(put_state(report, path));
    *out = report;
    report = NULL;
done:
    ald_params_reset(&params);
    ald_json_free(report);
    return status;
}
