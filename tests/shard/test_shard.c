/* Shards: every encoding there and back, equal bytes for equal content, and every kind of damage.
 */
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/path.h"
#include "ald/base/rng.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/shard/write.h"
#include "scratch.h"
#include "ald/shard/fletcher.h"
#include "shard/format_impl.h"
#include "shard_sample.h"

static void expect_floats(const float *found, const float *expected, int64_t count)
{
    assert_non_null(found);
    assert_memory_equal(found, expected, (size_t)count * sizeof *found);
}

/* Every dataset of /teacher that a shard with this header has; no other. */
static void expect_teacher(const ald_shard_header_t *header, ald_scored_t *found,
                           ald_scored_t *expected)
{
    for (int d = 0; d < ALD_DATASET_COUNT && expected->response_count > 0; ++d) {
        const ald_dataset_info_t *info = &ald_shard_datasets[d];
        const bool teacher = strncmp(info->path, "/teacher/", 9) == 0;
        if (!teacher || !ald_dataset_is_in(info, header))
            continue;
        const void *one = ald_dataset_content(header, found, (ald_shard_dataset_t)d);
        size_t size = ald_column_memory_size(info->type);
        size *= (size_t)(expected->response_count * ald_dataset_width(info, header));
        assert_non_null(one);
        assert_memory_equal(one, ald_dataset_content(header, expected, (ald_shard_dataset_t)d),
                            size);
    }
    assert_true((found->full_logprob_dpo != NULL) == (header->encoding == ALD_ENCODING_FULL));
    assert_true((found->topk_id != NULL) == ald_encoding_has_k(header->encoding));
    assert_true((found->contrast[header->contrast].tail_mass != NULL) == header->certified);
}

static void expect_sequence(const ald_scored_t *found, const ald_scored_t *expected)
{
    const int64_t P = expected->prompt_count, R = expected->response_count;
    assert_int_equal(found->id, expected->id);
    assert_int_equal(found->source, expected->source);
    assert_int_equal(found->prompt_count, P);
    assert_int_equal(found->response_count, R);
    assert_string_equal(found->prompt, expected->prompt);
    assert_string_equal(found->response, expected->response);
    assert_memory_equal(found->prompt_ids, expected->prompt_ids, (size_t)(4 * P));
    if (R == 0)
        return;
    assert_memory_equal(found->response_ids, expected->response_ids, (size_t)(4 * R));
    expect_floats(found->logprob_dpo, expected->logprob_dpo, R);
    expect_floats(found->contrast[0].logprob, expected->contrast[0].logprob, R);
    expect_floats(found->contrast[0].tvd, expected->contrast[0].tvd, R);
    for (int64_t t = 0; t < R; ++t)
        assert_true(expected->logprob_policy == NULL
                        ? isnan(found->logprob_policy[t])
                        : found->logprob_policy[t] == expected->logprob_policy[t]);
}

/* With the sanitizers every third sequence is read: they take what is done to memory apart, which is the
 * same for each, and the values are compared without them. */
#ifdef __SANITIZE_ADDRESS__
enum { READ_EVERY = 3 };
#else
enum { READ_EVERY = 1 };
#endif

static void every_encoding_comes_back(void **state)
{
    static sample_memory_t memory;
    ald_arena_t arena = {0};
    for (int variant = 0; variant < 2 * (ALD_ENCODING_COUNT + 2); ++variant) {
        ald_shard_header_t header = sample_header((ald_encoding_t)(variant / 2));
        const char *path = scratch_path(state, "a.h5");
        ald_shard_t *shard = NULL;
        if (variant / 2 == ALD_ENCODING_COUNT)
            header = sample_certified();
        if (variant / 2 == ALD_ENCODING_COUNT + 1)
            header = sample_with_reference(ALD_ENCODING_FULL);
        header.full16 = variant / 2 == ALD_ENCODING_COUNT + 1;
        header.gzip = variant % 2 == 1;
        const ald_encoding_t encoding = header.encoding;
        expect_ok(sample_write_header(path, &header, 400));
        expect_ok(ald_shard_open(path, &shard));
        assert_true(ald_shard_header(shard)->certified == header.certified);
        assert_true(ald_shard_header(shard)->full16 == header.full16);
        assert_int_equal(ald_shard_count(shard), 400);
        for (int64_t i = 399; i >= 0; i -= READ_EVERY) {
            ald_scored_t expected = sample_sequence(i, encoding, &memory), found;
            expect_ok(ald_shard_read(shard, i, true, &arena, &found));
            expect_sequence(&found, &expected);
            expect_teacher(&header, &found, &expected);
            expect_ok(ald_shard_read(shard, i, false, &arena, &found));
            expect_sequence(&found, &expected);
            assert_true(found.hidden_dpo == NULL && found.topk_id == NULL);
            ald_arena_reset(&arena);
        }
        ald_shard_close(shard);
    }
    ald_arena_reset(&arena);
}

static void the_header_comes_back(void **state)
{
    const char *path = scratch_path(state, "a.h5");
    ald_shard_t *shard = NULL;
    expect_ok(sample_write(path, ALD_ENCODING_TOPK, 3, false));
    expect_ok(ald_shard_open(path, &shard));
    const ald_shard_header_t *found = ald_shard_header(shard);
    const ald_shard_header_t expected = sample_header(ALD_ENCODING_TOPK);
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i) {
        const ald_shard_attribute_t *attribute = &ald_shard_attributes[i];
        assert_memory_equal((const char *)found + attribute->offset,
                            (const char *)&expected + attribute->offset, attribute->size);
    }
    assert_string_equal(found->config, expected.config);
    assert_int_equal(ald_shard_tokens(shard), (1 + 8 + 15) + (0 + 11 + 22));
    assert_int_equal(ald_shard_positions(shard), 0 + 11 + 22);
    ald_shard_close(shard);
}

static void equal_content_gives_equal_bytes(void **state)
{
    for (int e = 0; e < 3; ++e) {
        char a[ALD_SHA256_HEX], b[ALD_SHA256_HEX];
        expect_ok(sample_write(scratch_path(state, "a.h5"), (ald_encoding_t)e, 300, e == 1));
        sleep(1); /* so that a time in the file would differ */
        expect_ok(sample_write(scratch_path(state, "b.h5"), (ald_encoding_t)e, 300, e == 1));
        expect_ok(ald_sha256_file(scratch_path(state, "a.h5"), a));
        expect_ok(ald_sha256_file(scratch_path(state, "b.h5"), b));
        assert_string_equal(a, b);
    }
}

static void an_empty_shard_and_odd_texts_are_fine(void **state)
{
    static sample_memory_t memory;
    const char *path = scratch_path(state, "a.h5");
    ald_shard_t *shard = NULL;
    ald_shard_writer_t *writer = NULL;
    ald_arena_t arena = {0};
    expect_ok(sample_write(path, ALD_ENCODING_HIDDEN, 0, false));
    expect_ok(ald_shard_open(path, &shard));
    assert_int_equal(ald_shard_count(shard), 0);
    ald_shard_close(shard);
    ald_shard_header_t header = sample_header(ALD_ENCODING_HIDDEN);
    ald_scored_t sequence = sample_sequence(2, ALD_ENCODING_HIDDEN, &memory);
    sequence.response = "cut \xC3";
    expect_ok(ald_shard_writer_open(path, &header, &writer));
    expect_ok(ald_shard_writer_append(writer, &sequence));
    expect_ok(ald_shard_writer_commit(writer));
    expect_ok(ald_shard_open(path, &shard));
    expect_ok(ald_shard_read(shard, 0, true, &arena, &sequence));
    assert_string_equal(sequence.response, "cut \xEF\xBF\xBD");
    ald_shard_close(shard);
    ald_arena_reset(&arena);
}

/* Rows above 1 MiB are cut into several chunks. */
static void wide_rows_come_back(void **state)
{
    enum { WIDE = 300000 };
    static sample_memory_t memory;
    const char *path = scratch_path(state, "a.h5");
    ald_shard_header_t header = sample_header(ALD_ENCODING_FULL);
    ald_scored_t sequence = sample_sequence(1, ALD_ENCODING_FULL, &memory), found;
    ald_shard_writer_t *writer = NULL;
    ald_shard_t *shard = NULL;
    ald_arena_t arena = {0};
    float *row = ald_alloc(3 * WIDE * sizeof *row);
    sample_fill(row, 3 * WIDE, 5);
    header.vocab_size = WIDE;
    sequence.response_count = 3;
    sequence.full_logprob_dpo = sequence.contrast[header.contrast].full_log_ratio = row;
    expect_ok(ald_shard_writer_open(path, &header, &writer));
    expect_ok(ald_shard_writer_append(writer, &sequence));
    expect_ok(ald_shard_writer_commit(writer));
    expect_ok(ald_shard_open(path, &shard));
    expect_ok(ald_shard_read(shard, 0, true, &arena, &found));
    expect_floats(found.contrast[header.contrast].full_log_ratio, row, 3 * WIDE);
    ald_shard_close(shard);
    ald_arena_reset(&arena);
    ald_free(row);
}

/* Only files named as the final ones are left in the folder. */
static void expect_no_temporary(void **state)
{
    char **names = NULL;
    size_t count = 0;
    expect_ok(ald_dir_list(*state, &names, &count));
    for (size_t i = 0; i < count; ++i)
        assert_null(strstr(names[i], ".tmp-"));
    ald_names_free(names, count);
}

static void a_full_disk_is_reported_at_any_size(void **state)
{
    const char *path = scratch_path(state, "a.h5"), *good = scratch_path(state, "good.h5");
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    expect_ok(sample_write(good, ALD_ENCODING_FULL, 60, false));
    const rlim_t size = (rlim_t)ald_file_size(good);
    for (rlim_t limit = 0; limit < size; limit += 7919) {
        small = old;
        small.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &small);
        ald_status_t status = sample_write(path, ALD_ENCODING_FULL, 60, false);
        setrlimit(RLIMIT_FSIZE, &old);
        expect_failure(status, ALD_STATUS_RESOURCE, "a.h5");
        assert_false(ald_path_exists(path));
        expect_no_temporary(state);
    }
    expect_ok(sample_write(path, ALD_ENCODING_FULL, 60, false));
}

static void a_spoiled_writer_cannot_commit(void **state)
{
    const char *path = scratch_path(state, "a.h5");
    static sample_memory_t memory;
    ald_shard_header_t header = sample_header(ALD_ENCODING_FULL);
    ald_scored_t sequence = sample_sequence(2, ALD_ENCODING_FULL, &memory);
    ald_shard_writer_t *writer = NULL;
    expect_ok(ald_shard_writer_open(path, &header, &writer));
    sequence.contrast[ALD_CONTRAST_REVERSE].tvd = NULL;
    expect_failure(ald_shard_writer_append(writer, &sequence), ALD_STATUS_INTERNAL, "lacks a part");
    expect_failure(ald_shard_writer_commit(writer), ALD_STATUS_INTERNAL, "after a failure");
    assert_false(ald_path_exists(path));
    expect_no_temporary(state);
    expect_failure(sample_write(scratch_path(state, "none/a.h5"), ALD_ENCODING_FULL, 1, false),
                   ALD_STATUS_INPUT, "No such file or directory");
}

/* Opens a shard and reads all of it. */
static ald_status_t read_all(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ald_arena_t arena = {0};
    ald_scored_t sequence;
    ALD_TRY(ald_shard_open(path, &shard));
    for (int64_t i = 0; i < ald_shard_count(shard); ++i)
        ALD_TRY(ald_shard_read(shard, i, true, &arena, &sequence));
done:
    ald_shard_close(shard);
    ald_arena_reset(&arena);
    return status;
}

static void cut_files_are_refused_at_any_length(void **state)
{
    char *data = NULL;
    size_t size = 0;
    expect_ok(sample_write(scratch_path(state, "a.h5"), ALD_ENCODING_TOPK, 20, false));
    expect_ok(ald_file_read(scratch_path(state, "a.h5"), &data, &size));
    for (size_t cut = 0; cut < size; cut += 613) {
        const char *path = scratch_file(state, "cut.h5", data, cut);
        expect_failure(read_all(path), ALD_STATUS_INPUT, "cut short");
    }
    expect_failure(read_all(scratch_path(state, "gone.h5")), ALD_STATUS_INPUT, "no such shard");
    expect_failure(read_all(*state), ALD_STATUS_INPUT, "no such shard");
    ald_free(data);
}

/* One bit in the first chunk of each dataset with a checksum. */
static void flipped_bits_are_found(void **state)
{
    for (int d = 0; d < ALD_DATASET_COUNT; ++d) {
        const ald_dataset_info_t *info = &ald_shard_datasets[d];
        const char *path = scratch_path(state, "a.h5");
        if (info->type == ALD_COLUMN_TEXT)
            continue;
        ald_shard_header_t header = sample_header(ALD_ENCODING_HIDDEN);
        for (int e = 0; e < ALD_ENCODING_COUNT; ++e)
            if ((info->encodings >> e & 1) != 0)
                header = info->of == ALD_OF_REFERENCE ? sample_with_reference((ald_encoding_t)e)
                                                      : sample_header((ald_encoding_t)e);
        if ((info->encodings & ALD_IN_CERTIFIED) != 0)
            header = sample_certified();
        if ((info->encodings & ALD_IN_FULL16) != 0) {
            header = sample_with_reference(ALD_ENCODING_FULL);
            header.full16 = true;
        }
        expect_ok(sample_write_header(path, &header, 20));
        ald_h5_begin();
        hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        hid_t dataset = H5Dopen2(file, info->path, H5P_DEFAULT), space = H5Dget_space(dataset);
        haddr_t address;
        hsize_t offset[2], size;
        unsigned mask;
        assert_true(H5Dget_chunk_info(dataset, space, 0, offset, &mask, &address, &size) >= 0);
        H5Sclose(space);
        H5Dclose(dataset);
        H5Fclose(file);
        FILE *stream = fopen(path, "r+b");
        fseek(stream, (long)(address + size / 2), SEEK_SET);
        int byte = fgetc(stream);
        fseek(stream, -1, SEEK_CUR);
        fputc(byte ^ 4, stream);
        fclose(stream);
        expect_failure(read_all(path), ALD_STATUS_INPUT, "Fletcher-32");
        expect_failure(read_all(path), ALD_STATUS_INPUT, info->path);
    }
}

static hid_t reopen(const char *path)
{
    ald_h5_begin();
    return H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
}

static void store(hid_t file, const char *name, hid_t type, hsize_t at, const void *value)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hsize_t one[2] = {1, 1}, start[2] = {at, 0};
    hid_t memory = H5Screate_simple(1, one, NULL);
    assert_true(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, one, NULL) >= 0);
    assert_true(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void put_integer(hid_t file, const char *name, int64_t value)
{
    assert_true(H5Adelete(file, name) >= 0);
    expect_ok(ald_h5_put_integer(file, "test", name, value));
}

static void put_text(hid_t file, const char *name, const char *value)
{
    assert_true(H5Adelete(file, name) >= 0);
    expect_ok(ald_h5_put_text(file, "test", name, value));
}

/* A dataset without data in the place of another, of `rows` rows. */
static void replace(hid_t file, const char *name, hid_t type, hsize_t rows, int checksum)
{
    const hsize_t chunk = 1024;
    hid_t space = H5Screate_simple(1, &rows, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 1, rows < chunk ? &rows : &chunk);
    if (checksum)
        H5Pset_fletcher32(list);
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Pclose(list);
    H5Sclose(space);
}

static void damage(hid_t file, int kind)
{
    const int64_t minus = -1, large = 1000000, twelve = 12;
    const int32_t bad_id = SAMPLE_V;
    const uint8_t bad_source = 7;
    hid_t source = ald_column_h5_type(ALD_COLUMN_SOURCE);
    switch (kind) {
    case 0:
        put_integer(file, "schema_version", 3);
        break;
    case 1:
        H5Ldelete(file, "/response/tvd", H5P_DEFAULT);
        break;
    case 2:
        store(file, "/sequence/token_start", H5T_NATIVE_INT64, 3, &minus);
        break;
    case 3:
        store(file, "/sequence/response_start", H5T_NATIVE_INT64, 0, &twelve);
        break;
    case 4:
        store(file, "/sequence/response_start", H5T_NATIVE_INT64, 20, &large);
        break;
    case 5:
        store(file, "/token/id", H5T_NATIVE_INT32, 5, &bad_id);
        break;
    case 6:
        store(file, "/teacher/token_id", H5T_NATIVE_INT32, 0, &bad_id);
        break;
    case 7:
        store(file, "/sequence/source", source, 2, &bad_source);
        break;
    case 8:
        put_text(file, "format", "other");
        break;
    case 9:
        H5Adelete(file, "encoding");
        break;
    case 10:
        put_text(file, "encoding", "samples");
        break;
    case 11:
        put_text(file, "vocab_size", "50");
        break;
    case 12:
        put_integer(file, "vocab_size", -50);
        break;
    case 13:
        put_integer(file, "top_k", 6);
        break;
    case 14:
        replace(file, "/response/tvd", H5T_IEEE_F64LE, 10, 1);
        break;
    case 15:
        replace(file, "/response/tvd", H5T_IEEE_F32LE, (hsize_t)1 << 40, 1);
        break;
    case 16:
        replace(file, "/response/tvd", H5T_IEEE_F32LE, 10, 0);
        break;
    case 17:
        H5Ldelete(file, "/response/tvd", H5P_DEFAULT);
        H5Lcreate_soft("/response/logprob_dpo", file, "/response/tvd", H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 18:
        H5Ldelete(file, "/teacher", H5P_DEFAULT);
        H5Lcreate_external("other.h5", "/teacher", file, "/teacher", H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 19:
        H5Ldelete(file, "/token/id", H5P_DEFAULT);
        H5Lcreate_hard(file, "/response/id", file, "/token/id", H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 20:
        H5Ldelete(file, "/response/tvd", H5P_DEFAULT);
        H5Gclose(H5Gcreate2(file, "/response/tvd", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        break;
    case 21:
        store(file, "/sequence/id", H5T_NATIVE_INT64, 1, &minus);
        break;
    case 22:
        put_text(file, "chat_format", "a name that is far longer than any of ours");
        break;
    case 23:
        put_text(file, "contrast", "both");
        break;
    }
    H5Tclose(source);
}

static void every_damage_is_named(void **state)
{
    static const char *const words[] = {
        "schema version 3, but this program reads up to version 2",
        "/response/tvd is missing",
        "/sequence/token_start[3]: expected",
        "/sequence/response_start: expected 0 first, found 12",
        "/sequence/response_start[20]: expected",
        "/token/id: element 5: expected an id below 50, found 50",
        "/teacher/token_id: element 0: expected an id below 50",
        "/sequence/source[2]: expected 0 to 2, found 7",
        "attribute \"format\": expected \"aligndistil-shard\", found \"other\"",
        "attribute \"encoding\" is missing",
        "encoding: expected one of full|hidden|hidden32|topk|sampled, found \"samples\"",
        "attribute \"vocab_size\": expected one integer",
        "attribute \"vocab_size\": expected 1 to",
        "expected 6 columns, found 5",
        "/response/tvd: expected 32-bit floats",
        "/response/tvd: 1099511627776 rows need",
        "/response/tvd: expected a Fletcher-32 checksum",
        "/response/tvd: expected the data itself, found a link",
        "expected a group or a dataset",
        "expected",
        "/response/tvd: expected a dataset",
        "/sequence/id[1]: expected a row's number, found -1",
        "attribute \"chat_format\": expected at most 23 characters",
        "attribute \"contrast\": expected reverse or reference",
    };
    const char *path = scratch_path(state, "a.h5");
    for (int kind = 0; kind < (int)(sizeof words / sizeof *words); ++kind) {
        expect_ok(sample_write(path, ALD_ENCODING_TOPK, 20, false));
        hid_t file = reopen(path);
        assert_true(file >= 0);
        damage(file, kind);
        assert_true(H5Fclose(file) >= 0);
        expect_failure(read_all(path), ALD_STATUS_INPUT, words[kind]);
        expect_failure(read_all(path), ALD_STATUS_INPUT, "a.h5");
    }
}

/* As the sums are defined, a word at a time. */
static uint32_t fletcher_twin(const uint8_t *data, size_t size)
{
    uint64_t one = 0, two = 0, any = 0;
    for (size_t i = 0; i < size; i += 2) {
        uint64_t word = (uint64_t)data[i] << 8 | (i + 1 < size ? data[i + 1] : 0);
        one = (one + word) % 65535;
        two = (two + one) % 65535;
        any |= word;
    }
    one = any != 0 && one == 0 ? 65535 : one;
    two = any != 0 && two == 0 ? 65535 : two;
    return (uint32_t)(two << 16 | one);
}

static void checksums_are_the_sums(void **state)
{
    enum { SIZE = 70000 };
    (void)state;
    uint8_t *data = ald_alloc(SIZE);
    for (int kind = 0; kind < 3; ++kind) { /* random, all 255 (sums of 0 modulo 65535), all 0 */
        for (int i = 0; i < SIZE; ++i)
            data[i] = kind == 0   ? (uint8_t)(ald_rng_uniform(1, 2, (uint64_t)i) * 256)
                      : kind == 1 ? 255
                                  : 0;
        for (size_t size = 0; size <= SIZE; size += size < 300 ? 1 : 997)
            assert_int_equal(ald_fletcher32(data, size), fletcher_twin(data, size));
    }
    ald_free(data);
}

/* A writer holds no more than it says, however much is written. */
static void a_writer_is_bounded(void **state)
{
    enum { COPIES = 3000 };
    static sample_memory_t memory;
    ald_shard_header_t header = sample_header(ALD_ENCODING_FULL);
    ald_scored_t sequence = sample_sequence(7, ALD_ENCODING_FULL, &memory);
    ald_shard_writer_t *writer = NULL;
    expect_ok(ald_shard_writer_open(scratch_path(state, "a.h5"), &header, &writer));
    for (int i = 0; i < COPIES; ++i)
        expect_ok(ald_shard_writer_append(writer, &sequence));
    assert_true((int64_t)ald_memory_held() <= ald_shard_writer_bytes(&header));
    expect_ok(ald_shard_writer_commit(writer));
    assert_true(ald_file_size(scratch_path(state, "a.h5")) > 40 << 20);
    assert_true((int64_t)ald_memory_peak() <= ald_shard_writer_bytes(&header) + (1 << 20));
}

/* Opens `count` shards of 3 sequences. */
static void open_many(void **state, int count, ald_shardset_t *set)
{
    const ald_shard_header_t any = {.encoding = ALD_ENCODING_ANY};
    char name[32];
    for (int i = 0; i < count; ++i) {
        snprintf(name, sizeof name, "shard-%06d.h5", i);
        expect_ok(sample_write(scratch_path(state, name), ALD_ENCODING_HIDDEN, 3, false));
    }
    expect_ok(ald_shardset_open_folder(*state, &any, set));
}

static size_t open_files(void)
{
    char **names = NULL;
    size_t count = 0;
    expect_ok(ald_dir_list("/proc/self/fd", &names, &count));
    ald_names_free(names, count);
    return count;
}

static void expect_entry(ald_readahead_t *ahead, const ald_shardset_t *set, int64_t entry)
{
    static sample_memory_t memory;
    ald_scored_t found,
        expected = sample_sequence(set->entries[entry].index, ALD_ENCODING_HIDDEN, &memory);
    expect_ok(ald_readahead_take(ahead, entry, &found));
    expect_sequence(&found, &expected);
    expect_teacher(ald_shard_header(set->shards[set->entries[entry].shard]), &found, &expected);
}

/* By plan, against it, and without one; from more shards than may be open. */
static void reading_ahead_gives_the_same(void **state)
{
    enum { SHARDS = 40, ENTRIES = 3 * SHARDS };
    ald_shardset_t set = {0};
    ald_readahead_t *ahead = NULL;
    int64_t order[ENTRIES];
    const size_t before = open_files();
    open_many(state, SHARDS, &set);
    assert_true(open_files() <= before + 2 * ALD_SHARDS_AWAKE);
    for (int64_t i = 0; i < ENTRIES; ++i)
        order[i] = i * 37 % ENTRIES;
    expect_ok(ald_readahead_open(&set, &ahead));
    expect_ok(ald_readahead_plan(ahead, order, ENTRIES));
    for (int64_t i = 0; i < ENTRIES - 5; ++i) {
        expect_entry(ahead, &set, order[i]);
        if (i % 4 == 3)
            ald_readahead_release(ahead);
    }
    expect_entry(ahead, &set, 2);
    expect_entry(ahead, &set, 1);
    expect_ok(ald_readahead_plan(ahead, order, 2));
    expect_entry(ahead, &set, order[0]);
    expect_entry(ahead, &set, order[1]);
    assert_true(ald_readahead_waited(ahead) > 0.0);
    assert_true(open_files() <= before + 2 * ALD_SHARDS_AWAKE);
    ald_readahead_close(ahead);
    ald_shardset_reset(&set);
    assert_int_equal(open_files(), before);
}

static int64_t bytes_of(const ald_shardset_t *set, int64_t entry)
{
    const ald_entry_t *e = &set->entries[entry];
    return 4 * (e->prompt_count + e->response_count) +
           e->response_count * ald_shard_position_bytes(ald_shard_header(set->shards[e->shard]));
}

/* Bounded by number, by bytes, and by what there is; and what memory that is used again may keep.
 */
static void reading_ahead_says_its_memory(void **state)
{
    enum { MANY = 100, MIB = 1 << 20, LARGE = 50 * MIB };
    ald_shardset_t set = {0};
    int64_t same[MANY] = {0}, order[] = {0, 1, 2};
    open_many(state, 1, &set);
    const int64_t position = ald_shard_position_bytes(ald_shard_header(set.shards[0]));
    const int64_t three = bytes_of(&set, 0) + bytes_of(&set, 1) + bytes_of(&set, 2);
    assert_int_equal(ald_readahead_bytes(&set, order, 3, 0), three);
    assert_int_equal(ald_readahead_bytes(&set, order, 3, MIB), 3 * MIB);
    assert_int_equal(ald_readahead_bytes(&set, same, MANY, 0),
                     ALD_READAHEAD_COUNT * bytes_of(&set, 0));
    assert_int_equal(ald_readahead_kept(&set, same, MANY, 0), bytes_of(&set, 0));
    assert_int_equal(ald_readahead_kept(&set, same, MANY, MIB), MIB);
    set.entries[0].response_count = LARGE / position;
    assert_int_equal(ald_readahead_bytes(&set, same, MANY, 0), 2 * bytes_of(&set, 0));
    assert_int_equal(ald_readahead_kept(&set, same, MANY, MIB), MIB); /* given back after use */
    set.entries[0].response_count = 5LL * LARGE / position;
    assert_int_equal(ald_readahead_bytes(&set, order, 3, 0), bytes_of(&set, 0));
    for (int64_t i = 0; i < MANY; ++i) /* the first ones leave room for those behind */
        same[i] = i < MANY / 4 ? 2 : 1;
    set.entries[2].response_count = MIB / position;
    assert_int_equal(ald_readahead_bytes(&set, same, MANY, 0),
                     ALD_READAHEAD_COUNT * bytes_of(&set, 2));
    ald_shardset_reset(&set);
}

/* What fails on the thread is the taker's answer; the sequences before it are whole. */
static void reading_ahead_reports_failures(void **state)
{
    ald_shardset_t set = {0};
    ald_readahead_t *ahead = NULL;
    ald_scored_t found;
    open_many(state, ALD_SHARDS_AWAKE + 2, &set);
    const int64_t order[] = {0, 1, 2};
    expect_ok(ald_readahead_open(&set, &ahead));
    char name[32];
    snprintf(name, sizeof name, "shard-%06d.h5", (int)set.entries[1].shard);
    expect_ok(ald_readahead_plan(ahead, order, 1));
    expect_entry(ahead, &set, 0);
    assert_int_equal(unlink(scratch_path(state, name)), 0); /* it was closed to make room */
    expect_failure(ald_readahead_take(ahead, 1, &found), ALD_STATUS_INPUT, name);
    expect_entry(ahead, &set, 2);
    ald_readahead_close(ahead);
    ald_shardset_reset(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(a_writer_is_bounded), /* first: it looks at the peak */
        SCRATCH_TEST(checksums_are_the_sums),
        SCRATCH_TEST(reading_ahead_gives_the_same),
        SCRATCH_TEST(reading_ahead_says_its_memory),
        SCRATCH_TEST(reading_ahead_reports_failures),
        SCRATCH_TEST(every_encoding_comes_back),
        SCRATCH_TEST(the_header_comes_back),
        SCRATCH_TEST(equal_content_gives_equal_bytes),
        SCRATCH_TEST(an_empty_shard_and_odd_texts_are_fine),
        SCRATCH_TEST(wide_rows_come_back),
        SCRATCH_TEST(a_full_disk_is_reported_at_any_size),
        SCRATCH_TEST(a_spoiled_writer_cannot_commit),
        SCRATCH_TEST(cut_files_are_refused_at_any_length),
        SCRATCH_TEST(flipped_bits_are_found),
        SCRATCH_TEST(every_damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
