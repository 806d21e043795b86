/* Fuzzes weight files: the bytes as model.safetensors, or, where they begin with "{", as the index
 * of two files that are whole. What opens is loaded into a model of one layer. */
#include "ald/model/safetensors.h"

#include "ald/model/hf.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "fuzz.h"

static const char model[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 4, \"hidden_size\": 4, \"intermediate_size\": 2, "
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
    "\"max_position_embeddings\": 8, \"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\"}";

/* A file of one tensor of two elements. */
static void write_whole(const char *name, const char *tensor)
{
    char text[256];
    const int length =
        snprintf(text + 8, sizeof text - 8,
                 "{\"%s\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", tensor);
    const uint64_t head = (uint64_t)length;
    memcpy(text, &head, 8);
    memset(text + 8 + length, 0, 4);
    fuzz_file(name, text, 8 + (size_t)length + 4, false);
}

static void prepare(ald_params_t *params)
{
    ald_model_config_t config;
    fuzz_file("config.json", model, sizeof model - 1, false);
    write_whole("a.safetensors", "a");
    write_whole("b.safetensors", "b");
    if (ald_model_config_read(fuzz_folder(), &config) != ALD_STATUS_OK ||
        ald_params_init(&config, params) != ALD_STATUS_OK)
        abort();
}

/* Every byte of every tensor is in the file. */
static void touch(const ald_safetensors_t *set)
{
    volatile unsigned sum = 0;
    for (int64_t i = 0; i < ald_safetensors_count(set); ++i) {
        const ald_stored_t *stored = ald_safetensors_at(set, i);
        const uint8_t *bytes = stored->data;
        for (int64_t k = 0; k < stored->count * ald_dtype_size(stored->dtype); ++k)
            sum += bytes[k];
        if (ald_safetensors_find(set, stored->name) != stored)
            abort();
    }
    (void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bool index = size > 0 && data[0] == '{';
    static ald_params_t params;
    static float *values;
    static size_t held;
    ald_safetensors_t *set = NULL;
    if (values == NULL) {
        prepare(&params);
        values = ald_calloc((size_t)params.total, sizeof *values);
        held = ald_memory_blocks();
    }
    fuzz_file("model.safetensors", data, index ? 0 : size, index);
    fuzz_file("model.safetensors.index.json", data, index ? size : 0, true);
    ald_status_t status = ald_safetensors_open(fuzz_folder(), &set);
    if (status == ALD_STATUS_OK) {
        touch(set);
        status = ald_hf_load(fuzz_folder(), &params, values);
    }
    ald_safetensors_close(set);
    fuzz_end(status, held);
    return 0;
}
