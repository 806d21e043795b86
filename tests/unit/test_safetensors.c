/* Weight files: conversions, whole model directories, and every kind of damage. */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/digest.h"
#include "ald/model/hf.h"
#include "ald/model/hf_save.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/model/safetensors_write.h"
#include "ald/num/dtype.h"
#include "scratch.h"

/* Every half, NaNs with their payloads, subnormals and negative zero; also at an odd address. */
static void halves_round_trip_exactly(void **state)
{
    enum { ALL = 65536 };
    uint16_t *halves = ald_alloc(ALL * sizeof *halves), *back = ald_alloc(ALL * sizeof *back);
    float *values = ald_alloc(ALL * sizeof *values);
    uint8_t *odd = ald_alloc(ALL * sizeof *halves + 1);
    (void)state;
    for (uint32_t bits = 0; bits < ALL; ++bits)
        halves[bits] = (uint16_t)bits;
    memcpy(odd + 1, halves, ALL * sizeof *halves);
    for (int d = ALD_DTYPE_BF16; d <= ALD_DTYPE_F16; ++d) {
        memset(back, 1, ALL * sizeof *back);
        ald_dtype_to_f32((ald_dtype_t)d, odd + 1, ALL, values);
        ald_f32_to_dtype(values, ALL, (ald_dtype_t)d, back);
        assert_memory_equal(back, halves, ALL * sizeof *halves);
    }
    for (uint32_t bits = 0; bits < ALL; ++bits) /* values are still those of F16 */
        if ((bits & 0x7C00) == 0x7C00)
            assert_true((bits & 0x3FF) == 0 ? isinf(values[bits]) : isnan(values[bits]));
        else
            assert_true(values[bits] ==
                        ldexpf((float)((bits & 0x3FF) | (bits & 0x7C00 ? 0x400 : 0)),
                               (bits & 0x7C00 ? (int)(bits >> 10 & 31) : 1) - 25) *
                            (bits & 0x8000 ? -1.0f : 1.0f));
    ald_free(halves);
    ald_free(back);
    ald_free(values);
    ald_free(odd);
}

static uint16_t narrow(float value, ald_dtype_t dtype)
{
    uint16_t half;
    ald_f32_to_dtype(&value, 1, dtype, &half);
    return half;
}

/* Between each two neighbouring halves: below, at and above the middle. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
        uint16_t pair[2] = {(uint16_t)bits, (uint16_t)(bits + 1)};
        float v[2];
        ald_dtype_to_f32(ALD_DTYPE_F16, pair, 2, v);
        float middle = 0.5f * (v[0] + v[1]); /* exact in float */
        assert_int_equal(narrow(nextafterf(middle, -1), ALD_DTYPE_F16), bits);
        assert_int_equal(narrow(nextafterf(middle, 1e9f), ALD_DTYPE_F16), bits + 1);
        assert_int_equal(narrow(middle, ALD_DTYPE_F16), bits + (bits & 1));
        assert_int_equal(narrow(-middle, ALD_DTYPE_F16), 0x8000 | (bits + (bits & 1)));
    }
    assert_int_equal(narrow(65519.0f, ALD_DTYPE_F16), 0x7BFF);
    assert_int_equal(narrow(65520.0f, ALD_DTYPE_F16), 0x7C00);
    assert_int_equal(narrow(1.00390625f, ALD_DTYPE_BF16), 0x3F80); /* a tie, to even */
    assert_int_equal(narrow(1.01171875f, ALD_DTYPE_BF16), 0x3F82);
    assert_int_equal(narrow(3.4e38f, ALD_DTYPE_BF16), 0x7F80);
    assert_int_equal(narrow(INFINITY, ALD_DTYPE_BF16), 0x7F80);
}

static const char config_text[] =
    "{\n \"model_type\": \"qwen2\", \"vocab_size\": 50, \"hidden_size\": 16, "
    "\"intermediate_size\": 24,\n \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"initializer_range\": 0.041666666666666664,\n "
    "\"label2id\": {\"torch_dtype\": \"kept\"}, \"torch_dtype\" : \"float32\", "
    "\"tie_word_embeddings\": true}\n";

typedef struct {
    ald_params_t params;
    float *values, *again;
} model_t;

/* The scratch folder becomes an origin without weights; values are multiples of 1/64. */
static model_t make_model(void **state)
{
    model_t model = {0};
    ald_model_config_t config;
    scratch_file(state, "config.json", config_text, sizeof config_text - 1);
    scratch_file(state, "tokenizer.json", "{}", 2);
    scratch_file(state, "metrics.jsonl", "{}", 2);
    scratch_file(state, ".hidden", "x", 1);
    expect_ok(ald_model_config_read(*state, &config));
    expect_ok(ald_params_init(&config, &model.params));
    model.values = ald_alloc((size_t)model.params.total * sizeof(float));
    model.again = ald_alloc((size_t)model.params.total * sizeof(float));
    for (int64_t i = 0; i < model.params.total; ++i)
        model.values[i] = (float)(i % 255 - 127) / 64;
    return model;
}

static void free_model(model_t *model)
{
    ald_params_reset(&model->params);
    ald_free(model->values);
    ald_free(model->again);
}

static ald_status_t save(void **state, const model_t *model, const char *to, ald_dtype_t dtype,
                         int64_t shard_bytes)
{
    expect_ok(ald_dir_make(to));
    return ald_hf_save(to, *state, &model->params, model->values, dtype, shard_bytes);
}

static void models_round_trip_in_every_dtype(void **state)
{
    model_t model = make_model(state);
    const size_t bytes = (size_t)model.params.total * sizeof(float);
    for (int i = 0; i < 7; ++i) { /* each over the one before */
        const char *to = scratch_path(state, "deep/out/");
        const bool one_file = i % 6 < 3;
        ald_model_config_t config;
        expect_ok(save(state, &model, to, (ald_dtype_t)(i % 3), one_file ? 0 : 2000));
        memset(model.again, 0, bytes);
        expect_ok(ald_hf_load(to, &model.params, model.again));
        assert_memory_equal(model.values, model.again, bytes);
        expect_ok(ald_model_config_read(to, &config));
        assert_int_equal(config.dtype, i % 3);
        assert_true(ald_path_exists(scratch_path(state, "deep/out/tokenizer.json")));
        assert_false(ald_path_exists(scratch_path(state, "deep/out/metrics.jsonl")));
        assert_false(ald_path_exists(scratch_path(state, "deep/out/.hidden")));
        assert_int_equal(ald_path_exists(scratch_path(state, "deep/out/model.safetensors")),
                         one_file);
        assert_int_equal(
            ald_path_exists(scratch_path(state, "deep/out/model.safetensors.index.json")),
            !one_file);
    }
    free_model(&model);
}

static void config_keeps_its_other_bytes(void **state)
{
    model_t model = make_model(state);
    char *text = NULL;
    size_t size = 0;
    expect_ok(save(state, &model, scratch_path(state, "out"), ALD_DTYPE_BF16, 0));
    expect_ok(ald_file_read(scratch_path(state, "out/config.json"), &text, &size));
    assert_non_null(strstr(text, "\"torch_dtype\" : \"bfloat16\", \"tie_word"));
    assert_non_null(strstr(text, "{\"torch_dtype\": \"kept\"}"));
    assert_non_null(strstr(text, "0.041666666666666664"));
    assert_int_equal(size, sizeof config_text - 1 + strlen("bfloat16") - strlen("float32"));
    ald_free(text);
    free_model(&model);
}

static void digest_covers_the_weights_alone(void **state)
{
    model_t model = make_model(state);
    char a[ALD_SHA256_HEX], b[ALD_SHA256_HEX];
    const char *to = scratch_path(state, "out");
    expect_ok(save(state, &model, to, ALD_DTYPE_F32, 0));
    expect_ok(ald_hf_sha256(to, a));
    scratch_file(state, "out/extra.txt", "x", 1);
    expect_ok(ald_hf_sha256(to, b));
    assert_string_equal(a, b);
    model.values[5] += 1;
    expect_ok(save(state, &model, to, ALD_DTYPE_F32, 0));
    expect_ok(ald_hf_sha256(to, b));
    assert_string_not_equal(a, b);
    free_model(&model);
}

/* Gives a file a time of change, seconds since 1970. */
static void set_time(const char *path, long seconds, long nanoseconds)
{
    const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void digests_are_remembered_while_nothing_changes(void **state)
{
    model_t model = make_model(state);
    char right[ALD_SHA256_HEX], hex[ALD_SHA256_HEX], *note = NULL;
    char weights[4096], path[4096], out[4096];
    size_t size = 0;
    snprintf(out, sizeof out, "%s", scratch_path(state, "out"));
    snprintf(weights, sizeof weights, "%s", scratch_path(state, "out/model.safetensors"));
    snprintf(path, sizeof path, "%s", scratch_path(state, "out/.model.safetensors.sha256"));
    expect_ok(save(state, &model, out, ALD_DTYPE_F32, 0));
    expect_ok(ald_sha256_file(weights, right));
    expect_ok(ald_hf_sha256(out, hex));
    assert_string_equal(hex, right);
    assert_false(ald_path_exists(path)); /* a file of this very moment may change unnoticed */
    set_time(weights, 1000, 5);
    expect_ok(ald_hf_sha256(out, hex));
    assert_string_equal(hex, right);
    expect_ok(ald_file_read(path, &note, &size));
    memset(note, 'a', 64); /* a wrong note shows whether it is believed */
    expect_ok(ald_file_write(path, note, size));
    expect_ok(ald_hf_sha256(out, hex));
    assert_int_equal(strspn(hex, "a"), 64);
    set_time(weights, 1000, 6); /* and written anew */
    expect_ok(ald_hf_sha256(out, hex));
    assert_string_equal(hex, right);
    expect_ok(ald_hf_sha256(out, hex));
    assert_string_equal(hex, right);
    for (size_t cut = 0; cut < size; cut += 7) { /* a damaged one isn't believed */
        expect_ok(ald_file_write(path, note, cut));
        expect_ok(ald_hf_sha256(out, hex));
        assert_string_equal(hex, right);
    }
    expect_ok(ald_file_write(path, note, size));
    expect_ok(ald_file_copy(weights, scratch_path(state, "copy")));
    set_time(scratch_path(state, "copy"), 1000, 5); /* all but the inode */
    assert_int_equal(rename(scratch_path(state, "copy"), weights), 0);
    expect_ok(ald_hf_sha256(out, hex));
    assert_string_equal(hex, right);
    ald_free(note);
    free_model(&model);
}

/* As `sha256sum *.safetensors | sha256sum` prints it. */
static void digest_of_several_files(void **state)
{
    model_t model = make_model(state);
    char hex[ALD_SHA256_HEX], expected[ALD_SHA256_HEX], each[ALD_SHA256_HEX], lines[256] = "";
    expect_ok(save(state, &model, scratch_path(state, "out"), ALD_DTYPE_F32, 16384));
    for (int i = 1; i <= 2; ++i) {
        char name[64], path[96];
        snprintf(name, sizeof name, "model-%05d-of-00002.safetensors", i);
        snprintf(path, sizeof path, "out/%s", name);
        expect_ok(ald_sha256_file(scratch_path(state, path), each));
        snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "%s  %s\n", each, name);
    }
    expect_ok(ald_sha256_file(scratch_file(state, "lines", lines, strlen(lines)), expected));
    expect_ok(ald_hf_sha256(scratch_path(state, "out"), hex));
    assert_string_equal(hex, expected);
    free_model(&model);
}

static void a_full_disk_leaves_no_weights(void **state)
{
    model_t model = make_model(state);
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    ald_status_t status = save(state, &model, scratch_path(state, "out"), ALD_DTYPE_F32, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    expect_failure(status, ALD_STATUS_RESOURCE, "model.safetensors");
    char **names = NULL;
    size_t count = 0;
    expect_ok(ald_dir_list(scratch_path(state, "out"), &names, &count));
    for (size_t i = 0; i < count; ++i)
        assert_null(strstr(names[i], "safetensors"));
    ald_names_free(names, count);
    free_model(&model);
}

/* Writes a file of `header` and `data_size` bytes of data and opens it. */
static ald_status_t open_made(void **state, const char *header, size_t data_size)
{
    uint8_t bytes[4096] = {0};
    uint64_t length = strlen(header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    const char *path = scratch_file(state, "made.safetensors", bytes, 8 + length + data_size);
    ald_safetensors_t *set = NULL;
    ald_status_t status = ald_safetensors_open(path, &set);
    ald_safetensors_close(set);
    return status;
}

#define A(begin, end) "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" begin "," end "]}"
#define B(begin, end) "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" begin "," end "]}"

static void damaged_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t size;
        const char *words;
    } cases[] = {
        {"{" A("0", "8") "," B("8", "16") "}", 12, "tensor \"b\": data_offsets [8, 16] end after"},
        {"{" A("0", "8") "," B("4", "12") "}", 12, "tensor \"b\": data_offsets [4, 12] overlap"},
        {"{" A("0", "8") "," B("0", "8") "}", 8, "overlap"},
        {"{" A("0", "8") "," B("12", "20") "}", 20, "leave a hole"},
        {"{" A("0", "8") "}", 12, "expected 8 bytes of data after the header, found 12"},
        {"{" A("8", "0") "}", 8, "expected [begin, end]"},
        {"{" A("-8", "0") "}", 8, "expected [begin, end]"},
        {"{" A("0", "12") "}", 12, "span 12 bytes"},
        {"{" A("0", "9223372036854775807") "}", 8, "end after"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8,
         "expected F32, BF16 or F16, found \"F8_E4M3\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", 8,
         "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "shape"},
        {"{\"a\": 3}", 0, "expected an object"},
        {"[1]", 0, "header: expected an object"},
        {"{\"a\"", 0, "not valid JSON"},
        {"{" A("0", "8") "," A("0", "8") "}", 8, "duplicate"},
    };
    expect_ok(
        open_made(state, "{\"__metadata__\":{\"x\":\"y\"}," A("0", "8") "," B("8", "16") "}", 16));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(open_made(state, cases[i].header, cases[i].size), ALD_STATUS_INPUT,
                       cases[i].words);
}

static void short_files_are_refused(void **state)
{
    ald_safetensors_t *set = NULL;
    const uint8_t huge[12] = {255, 255, 255, 255, 255, 255, 255, 127};
    expect_failure(ald_safetensors_open(scratch_file(state, "a", "", 0), &set), ALD_STATUS_INPUT,
                   "cut short");
    expect_failure(ald_safetensors_open(scratch_file(state, "b", huge, 12), &set), ALD_STATUS_INPUT,
                   "header");
    expect_failure(ald_safetensors_open(scratch_path(state, "c"), &set), ALD_STATUS_INPUT,
                   "cannot read");
    expect_failure(ald_safetensors_open(*state, &set), ALD_STATUS_INPUT, "found neither");
}

static void a_cut_model_file_is_refused_at_any_length(void **state)
{
    model_t model = make_model(state);
    char *data = NULL;
    size_t size = 0;
    expect_ok(save(state, &model, scratch_path(state, "out"), ALD_DTYPE_BF16, 0));
    expect_ok(ald_file_read(scratch_path(state, "out/model.safetensors"), &data, &size));
    for (size_t cut = 0; cut < size; cut += 97) {
        scratch_file(state, "out/model.safetensors", data, cut);
        expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                       ALD_STATUS_INPUT, "out/model.safetensors");
    }
    ald_free(data);
    free_model(&model);
}

static void wrong_tensors_are_named(void **state)
{
    model_t model = make_model(state);
    ald_unstored_t list[64] = {{0}};
    const char *path = scratch_path(state, "model.safetensors");
    for (int64_t i = 0; i < model.params.count; ++i) {
        const ald_tensor_t *tensor = &model.params.tensors[i];
        list[i] = (ald_unstored_t){tensor->name,
                                   tensor->ndim,
                                   {tensor->shape[0], tensor->shape[1]},
                                   model.values + tensor->offset,
                                   ALD_DTYPE_F32};
    }
    int64_t count = model.params.count;
    expect_ok(ald_safetensors_write(path, list, count - 1));
    expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                   "lack tensor \"model.norm.weight\"");
    list[count] = (ald_unstored_t){
        "model.layers.0.self_attn.rotary_emb.inv_freq", 1, {2}, model.values, ALD_DTYPE_F32};
    expect_ok(ald_safetensors_write(path, list, count + 1));
    expect_ok(ald_hf_load(*state, &model.params, model.again));
    list[count].name = "model.layers.2.mlp.up_proj.weight";
    expect_ok(ald_safetensors_write(path, list, count + 1));
    expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                   "\"model.layers.2.mlp.up_proj.weight\" has no place");
    list[0].shape[0] = 25;
    list[0].shape[1] = 32;
    expect_ok(ald_safetensors_write(path, list, count));
    expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                   "\"model.embed_tokens.weight\": expected shape [50, 16] by config.json, found "
                   "[25, 32]");
    free_model(&model);
}

static void write_f32(void **state, const model_t *model, ald_dtype_t dtype,
                      const ald_unstored_t *extra)
{
    ald_unstored_t list[64] = {{0}};
    const int64_t count = model->params.count;
    for (int64_t i = 0; i < count; ++i) {
        const ald_tensor_t *tensor = &model->params.tensors[i];
        list[i] = (ald_unstored_t){tensor->name,
                                   tensor->ndim,
                                   {tensor->shape[0], tensor->shape[1]},
                                   model->values + tensor->offset,
                                   dtype};
    }
    if (extra != NULL)
        list[count] = *extra;
    expect_ok(ald_safetensors_write(scratch_path(state, "model.safetensors"), list,
                                    count + (extra != NULL)));
}

/* Overwrites one element of the file with a pattern of bits. */
static void poke(void **state, const char *tensor, int64_t element, uint32_t bits)
{
    const char *path = scratch_path(state, "model.safetensors");
    ald_safetensors_t *set = NULL;
    char *data = NULL;
    size_t size = 0;
    expect_ok(ald_safetensors_open(path, &set));
    const ald_stored_t *stored = ald_safetensors_find(set, tensor);
    const int bytes = ald_dtype_size(stored->dtype);
    int64_t after = 0; /* bytes of the tensors that lie behind */
    for (int64_t i = ald_safetensors_count(set) - 1; ald_safetensors_at(set, i) != stored; --i)
        after += ald_safetensors_at(set, i)->count * bytes;
    after += stored->count * bytes;
    ald_safetensors_close(set);
    expect_ok(ald_file_read(path, &data, &size));
    memcpy(data + (int64_t)size - after + element * bytes, &bits, (size_t)bytes);
    scratch_file(state, "model.safetensors", data, size);
    ald_free(data);
}

static void weights_that_are_no_numbers_are_named(void **state)
{
    static const uint32_t bits[][3] = {[ALD_DTYPE_F32] = {0x7F800000, 0xFF800000, 0x7FC00001},
                                       [ALD_DTYPE_BF16] = {0x7F80, 0xFF80, 0x7FC1},
                                       [ALD_DTYPE_F16] = {0x7C00, 0xFC00, 0x7E01}};
    static const char *const found[] = {"found inf", "found -inf", "nan"};
    static const int64_t places[] = {0, 77, 799};
    model_t model = make_model(state);
    for (int d = 0; d < 3; ++d)
        for (int k = 0; k < 3; ++k) {
            char words[128];
            write_f32(state, &model, (ald_dtype_t)d, NULL);
            expect_ok(ald_hf_load(*state, &model.params, model.again));
            poke(state, "model.embed_tokens.weight", places[k], bits[d][k]);
            snprintf(words, sizeof words,
                     "model.safetensors: tensor \"model.embed_tokens.weight\": element %lld: "
                     "expected a finite number",
                     (long long)places[k]);
            expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                           words);
            assert_non_null(strstr(ald_status_message(), found[k]));
        }
    write_f32(state, &model, ALD_DTYPE_F16, NULL);
    poke(state, "model.norm.weight", 3, 0x7BFF); /* the largest half is a number */
    expect_ok(ald_hf_load(*state, &model.params, model.again));
    free_model(&model);
}

static void numbers_that_a_type_lacks_are_not_written(void **state)
{
    model_t model = make_model(state);
    const float values[] = {NAN, INFINITY, 70000.0f};
    for (int k = 0; k < 3; ++k) {
        model.values[model.params.tensors[1].offset + 2] = values[k];
        expect_failure(save(state, &model, scratch_path(state, "out"), ALD_DTYPE_F16, 0),
                       ALD_STATUS_INTERNAL, "element 2 is ");
        assert_non_null(strstr(ald_status_message(), model.params.tensors[1].name));
        assert_false(ald_path_exists(scratch_path(state, "out/model.safetensors")));
    }
    expect_ok(save(state, &model, scratch_path(state, "out"), ALD_DTYPE_BF16, 0)); /* has 70000 */
    free_model(&model);
}

static void a_tied_output_matrix_is_the_embedding(void **state)
{
    model_t model = make_model(state);
    const ald_tensor_t *embedding = &model.params.tensors[0];
    float *other = ald_alloc(sizeof(float) * (size_t)embedding->count);
    memcpy(other, model.values + embedding->offset, sizeof(float) * (size_t)embedding->count);
    ald_unstored_t head = {
        "lm_head.weight", 2, {embedding->shape[0], embedding->shape[1]}, other, ALD_DTYPE_F32};
    write_f32(state, &model, ALD_DTYPE_F32, &head);
    expect_ok(ald_hf_load(*state, &model.params, model.again));
    head.dtype = ALD_DTYPE_BF16; /* the values of make_model have no more bits */
    write_f32(state, &model, ALD_DTYPE_F32, &head);
    expect_ok(ald_hf_load(*state, &model.params, model.again));
    other[embedding->count - 1] += 0.5f;
    write_f32(state, &model, ALD_DTYPE_F32, &head);
    expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                   "tensor \"lm_head.weight\" is another than \"model.embed_tokens.weight\" "
                   "(element 799), but config.json has \"tie_word_embeddings\": true");
    head.shape[0] = 25, head.shape[1] = 32;
    write_f32(state, &model, ALD_DTYPE_F32, &head);
    expect_failure(ald_hf_load(*state, &model.params, model.again), ALD_STATUS_INPUT,
                   "(shape, element 0)");
    ald_free(other);
    free_model(&model);
}

static void an_index_must_be_kept(void **state)
{
    static const char broken[] = "{\"weight_map\": {\"model.norm.weight\": \"../x\"}}";
    static const char lacking[] =
        "{\"weight_map\": {\"gone\": \"model-00001-of-00002.safetensors\"}}";
    static const char missing[] =
        "{\"weight_map\": {\"model.norm.weight\": \"model-00009-of-00009.safetensors\"}}";
    static const char partial[] =
        "{\"weight_map\": {\"model.norm.weight\": \"model-00002-of-00002.safetensors\"}}";
    static const char twice[] =
        "{\"weight_map\": {\"model.norm.weight\": \"model-00002-of-00002.safetensors\", "
        "\"x\": \"model-00003-of-00002.safetensors\"}}";
    model_t model = make_model(state);
    const char *out = scratch_path(state, "out");
    expect_ok(save(state, &model, out, ALD_DTYPE_F32, 16384));
    assert_true(ald_path_exists(scratch_path(state, "out/model-00002-of-00002.safetensors")));
    scratch_file(state, "out/model.safetensors.index.json", lacking, sizeof lacking - 1);
    expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                   ALD_STATUS_INPUT, "tensor \"gone\" is not in model-00001-of-00002.safetensors");
    scratch_file(state, "out/model.safetensors.index.json", missing, sizeof missing - 1);
    expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                   ALD_STATUS_INPUT, "out/model-00009-of-00009.safetensors");
    /* A file that the index doesn't name isn't looked at: its tensors are lacking. */
    scratch_file(state, "out/model.safetensors.index.json", partial, sizeof partial - 1);
    expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                   ALD_STATUS_INPUT, "lack tensor");
    expect_ok(ald_file_copy(scratch_path(state, "out/model-00002-of-00002.safetensors"),
                            scratch_path(state, "out/model-00003-of-00002.safetensors")));
    scratch_file(state, "out/model.safetensors.index.json", twice, sizeof twice - 1);
    expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                   ALD_STATUS_INPUT, "is also in");
    scratch_file(state, "out/model.safetensors.index.json", broken, sizeof broken - 1);
    expect_failure(ald_hf_load(scratch_path(state, "out"), &model.params, model.again),
                   ALD_STATUS_INPUT, "weight_map");
    free_model(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(halves_round_trip_exactly),
        SCRATCH_TEST(halves_round_to_nearest_even),
        SCRATCH_TEST(models_round_trip_in_every_dtype),
        SCRATCH_TEST(config_keeps_its_other_bytes),
        SCRATCH_TEST(digest_covers_the_weights_alone),
        SCRATCH_TEST(digests_are_remembered_while_nothing_changes),
        SCRATCH_TEST(digest_of_several_files),
        SCRATCH_TEST(a_full_disk_leaves_no_weights),
        SCRATCH_TEST(damaged_headers_are_refused),
        SCRATCH_TEST(short_files_are_refused),
        SCRATCH_TEST(a_cut_model_file_is_refused_at_any_length),
        SCRATCH_TEST(wrong_tensors_are_named),
        SCRATCH_TEST(weights_that_are_no_numbers_are_named),
        SCRATCH_TEST(numbers_that_a_type_lacks_are_not_written),
        SCRATCH_TEST(a_tied_output_matrix_is_the_embedding),
        SCRATCH_TEST(an_index_must_be_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
