/* A shard may come from a stranger: links, types, filters, shapes, sizes, offsets and enum values
 * are checked at open, before anything is allocated by their word; checksums and ids as they are
 * read. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "ald/arena.h"
#include "ald/dtype.h"
#include "ald/file.h"
#include "shard_chunk.h"
#include "shard_object.h"
#include "shard_text.h"
#include "shard_values.h"

enum {
    VOCAB_MAX = 1 << 28,
    CONFIG_MOST = 1 << 20, /* bytes of its text */
};

struct ald_shard {
    char *path;
    ald_shard_header_t header;
    char *config;
    int64_t file_size;
    struct stat seen; /* the file when it was opened first */
    hid_t file;       /* -1: at rest */
    ald_texts_t texts;
    ald_chunked_t columns[ALD_DATASET_COUNT];
    ald_shard_pool_t *pool;     /* NULL: none */
    ald_shard_t *newer, *older; /* in the pool */
    int64_t count, tokens, positions;
    int64_t *id, *token_start, *response_start; /* [N], [N + 1], [N + 1] */
    uint8_t *source;                            /* [N] */
};

static ald_status_t read_member(ald_shard_t *shard, ald_object_t *root, ald_arena_t *arena,
                                const ald_shard_attribute_t *attribute)
{
    ald_status_t status = ALD_STATUS_OK;
    char *member = (char *)&shard->header + attribute->offset;
    const char *text = NULL;
    if (!attribute->is_text)
        return ald_object_integer(root, attribute->name, (int64_t *)member);
    ALD_TRY(ald_object_text(root, attribute->name, arena, &text));
    ALD_CHECK(strlen(text) < attribute->size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu", shard->path,
              attribute->name, attribute->size - 1, strlen(text));
    memcpy(member, text, strlen(text) + 1);
done:
    return status;
}

/* `format` and `schema_version` come first: nothing else means anything under others. */
static ald_status_t check_format(const char *path, ald_object_t *root, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *format = NULL;
    int64_t version = 0;
    ALD_TRY(ald_object_text(root, "format", arena, &format));
    ALD_CHECK(strcmp(format, ALD_SHARD_FORMAT_NAME) == 0, ALD_STATUS_INPUT,
              "%s: attribute \"format\": expected \"" ALD_SHARD_FORMAT_NAME "\", found \"%.40s\"",
              path, format);
    ALD_TRY(ald_object_integer(root, "schema_version", &version));
    ALD_CHECK(version <= ALD_SHARD_SCHEMA, ALD_STATUS_INPUT,
              "%s: schema version %lld, but this program reads up to version %d", path,
              (long long)version, ALD_SHARD_SCHEMA);
    ALD_CHECK(version >= 1, ALD_STATUS_INPUT, "%s: schema version %lld: expected 1 to %d", path,
              (long long)version, ALD_SHARD_SCHEMA);
done:
    return status;
}

static ald_status_t check_header(const ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *header = &shard->header;
    const bool topk = ald_encoding_has_k(header->encoding);
    ALD_CHECK(header->vocab_size > 0 && header->vocab_size <= VOCAB_MAX, ALD_STATUS_INPUT,
              "%s: attribute \"vocab_size\": expected 1 to %d, found %lld", shard->path, VOCAB_MAX,
              (long long)header->vocab_size);
    ALD_CHECK(header->hidden_size >= ald_encoding_is_hidden(header->encoding) &&
                  header->hidden_size <= VOCAB_MAX,
              ALD_STATUS_INPUT, "%s: attribute \"hidden_size\": found %lld", shard->path,
              (long long)header->hidden_size);
    ALD_CHECK(topk ? header->top_k > 0 && header->top_k <= header->vocab_size &&
                         header->top_k <= ALD_TOP_K_MOST
                   : header->top_k == 0,
              ALD_STATUS_INPUT, "%s: attribute \"top_k\": found %lld with encoding %s", shard->path,
              (long long)header->top_k, ald_encoding_name(header->encoding));
    ALD_CHECK(
        strcmp(header->contrast, "reverse") == 0 || strcmp(header->contrast, "reference") == 0,
        ALD_STATUS_INPUT, "%s: attribute \"contrast\": expected reverse or reference, found \"%s\"",
        shard->path, header->contrast);
done:
    return status;
}

static ald_status_t get_short(ald_object_t *object, const char *name, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    const char *text = NULL;
    ALD_TRY(ald_object_text(object, name, &arena, &text));
    ALD_CHECK(strlen(text) < size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu",
              object->texts->path, name, size - 1, strlen(text));
    memcpy(out, text, strlen(text) + 1);
done:
    ald_arena_reset(&arena);
    return status;
}

/* `full` in halves says so. */
static ald_status_t read_full_dtype(ald_shard_t *shard, ald_object_t *root)
{
    ald_status_t status = ALD_STATUS_OK;
    char dtype[16];
    if (shard->header.encoding != ALD_ENCODING_FULL || H5Aexists(shard->file, "full_dtype") <= 0)
        return status;
    ALD_TRY(get_short(root, "full_dtype", dtype, sizeof dtype));
    ALD_CHECK(strcmp(dtype, "f16") == 0, ALD_STATUS_INPUT,
              "%s: attribute \"full_dtype\": expected \"f16\", found \"%s\"", shard->path, dtype);
    shard->header.full16 = true;
done:
    return status;
}

/* The header of an object by its path. */
static ald_status_t open_object(hid_t file, ald_texts_t *texts, const char *path, ald_object_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    H5O_info_t info;
    *out = (ald_object_t){0};
    ALD_H5(H5Oget_info_by_name2(file, path, &info, H5O_INFO_BASIC, H5P_DEFAULT), texts->path, path);
    ALD_TRY(ald_object_open(texts, path, info.addr, out));
done:
    return status;
}

static bool has(const ald_shard_t *shard, const char *path)
{
    return H5Lexists(shard->file, path, H5P_DEFAULT) > 0;
}

/* With a reference the certificate speaks of it too, or there is none. */
static bool is_certified(const ald_shard_t *shard)
{
    return shard->header.encoding == ALD_ENCODING_TOPK && has(shard, "/teacher") &&
           has(shard, "/teacher/alpha_max") &&
           (shard->header.sha256_reference[0] == '\0' ||
            has(shard, "/teacher/alpha_max_reference"));
}

static ald_status_t read_header(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    ald_object_t root = {0};
    const char *encoding = NULL, *config = NULL;
    ALD_TRY(open_object(shard->file, &shard->texts, "/", &root));
    ALD_TRY(check_format(shard->path, &root, &arena));
    ALD_TRY(ald_object_text(&root, "encoding", &arena, &encoding));
    status = ald_encoding_parse(encoding, &shard->header.encoding);
    if (status != ALD_STATUS_OK)
        ALD_TRY(ald_status_prefix(status, "%s: attribute", shard->path));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i)
        ALD_TRY(read_member(shard, &root, &arena, &ald_shard_attributes[i]));
    ALD_TRY(ald_object_text(&root, "config", &arena, &config));
    ALD_CHECK(strlen(config) <= CONFIG_MOST, ALD_STATUS_INPUT,
              "%s: attribute \"config\": expected at most %d bytes, found %zu", shard->path,
              CONFIG_MOST, strlen(config));
    shard->header.config = shard->config = ald_strdup(config);
    ALD_CHECK_MEMORY(shard->config, strlen(config));
    if (H5Aexists(shard->file, "sha256_reference") > 0)
        ALD_TRY(get_short(&root, "sha256_reference", shard->header.sha256_reference,
                          sizeof shard->header.sha256_reference));
    ALD_TRY(check_header(shard));
    ALD_TRY(read_full_dtype(shard, &root));
    shard->header.certified = is_certified(shard);
done:
    ald_object_close(&root);
    ald_arena_reset(&arena);
    return status;
}

/* The path must lead through hard links: a soft or external one could point anywhere. */
static ald_status_t check_link(const ald_shard_t *shard, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char group[32];
    H5L_info_t info;
    const size_t length = (size_t)(strrchr(path, '/') - path);
    if (length > 0) {
        memcpy(group, path, length);
        group[length] = '\0';
        ALD_TRY(check_link(shard, group));
    }
    htri_t there = H5Lexists(shard->file, path, H5P_DEFAULT);
    ALD_H5(there, shard->path, path);
    ALD_CHECK(there > 0, ALD_STATUS_INPUT, "%s: %s is missing", shard->path, path);
    ALD_H5(H5Lget_info(shard->file, path, &info, H5P_DEFAULT), shard->path, path);
    ALD_CHECK(info.type == H5L_TYPE_HARD, ALD_STATUS_INPUT,
              "%s: %s: expected the data itself, found a link", shard->path, path);
done:
    return status;
}

/* The object header says what a dataset of ours says: only then may HDF5 open it. */
static ald_status_t check_object(ald_object_t *object, const ald_dataset_info_t *info, hid_t type)
{
    static const char *const names[] = {
        "64-bit integers", "32-bit integers",     "32-bit floats",         "16-bit floats",
        "16-bit unsigned", "the enum of sources", "variable-length texts",
    };
    enum { TYPE_BYTES = 512, TAG = 2 }; /* H5Tencode puts two bytes in front of what is stored */
    ald_status_t status = ALD_STATUS_OK;
    const char *file = object->texts->path;
    uint8_t bytes[TYPE_BYTES];
    size_t size = 0;
    ALD_H5(H5Tencode(type, NULL, &size), file, info->path);
    ALD_CHECK(size >= TAG + 8 && size <= sizeof bytes, ALD_STATUS_INTERNAL,
              "%s: a type of %zu bytes", info->path, size);
    ALD_H5(H5Tencode(type, bytes, &size), file, info->path);
    if (info->type == ALD_COLUMN_TEXT) /* a pointer in memory, a reference in the file */
        bytes[TAG + 4] = ALD_TEXT_REFERENCE;
    ALD_TRY(ald_object_check(object, &(ald_expected_t){.type_name = names[info->type],
                                                       .type = bytes + TAG,
                                                       .type_bytes = size - TAG,
                                                       .element = ald_column_size(info->type)}));
done:
    return status;
}

static ald_status_t check_bfloat16(ald_object_t *object)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    const char *dtype = NULL;
    ALD_TRY(ald_object_text(object, "dtype", &arena, &dtype));
    ALD_CHECK(strcmp(dtype, "bfloat16") == 0, ALD_STATUS_INPUT,
              "%s: %s: attribute \"dtype\": expected \"bfloat16\", found \"%.40s\"",
              object->texts->path, object->name, dtype);
done:
    ald_arena_reset(&arena);
    return status;
}

static ald_status_t check_before_open(ald_shard_t *shard, const ald_dataset_info_t *info,
                                      hid_t type)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_object_t object = {0};
    ALD_TRY(open_object(shard->file, &shard->texts, info->path, &object));
    ALD_TRY(check_object(&object, info, type));
    if (info->type == ALD_COLUMN_BF16)
        ALD_TRY(check_bfloat16(&object));
done:
    ald_object_close(&object);
    return status;
}

static ald_status_t check_shape(const ald_shard_t *shard, const ald_dataset_info_t *info,
                                ald_chunked_t *column)
{
    ald_status_t status = ALD_STATUS_OK;
    const int rank = info->width == ALD_WIDTH_1 ? 1 : 2;
    hsize_t size[2] = {0, 1};
    hid_t space = -1;
    ALD_H5(space = H5Dget_space(column->dataset), shard->path, info->path);
    ALD_CHECK(H5Sget_simple_extent_ndims(space) == rank, ALD_STATUS_INPUT,
              "%s: %s: expected %d dimension%s", shard->path, info->path, rank,
              rank == 1 ? "" : "s");
    ALD_H5(H5Sget_simple_extent_dims(space, size, NULL), shard->path, info->path);
    column->width = ald_dataset_width(info, &shard->header);
    ALD_CHECK((int64_t)size[1] == column->width, ALD_STATUS_INPUT,
              "%s: %s: expected %lld columns, found %llu", shard->path, info->path,
              (long long)column->width, (unsigned long long)size[1]);
    ALD_CHECK(size[0] < (hsize_t)1 << 48, ALD_STATUS_INPUT, "%s: %s: found %llu rows", shard->path,
              info->path, (unsigned long long)size[0]);
    column->rows = (int64_t)size[0];
done:
    H5Sclose(space);
    return status;
}

/* A dataset for reading without a chunk cache of HDF5's. */
static hid_t open_dataset(hid_t file, const char *path)
{
    hid_t list = H5Pcreate(H5P_DATASET_ACCESS), dataset = -1;
    if (list >= 0 && H5Pset_chunk_cache(list, 1, 0, 1.0) >= 0)
        dataset = H5Dopen2(file, path, list);
    H5Pclose(list);
    return dataset;
}

/* What makes logits of hidden states; the first shards of version 1 don't say. */
static ald_status_t read_head(ald_shard_t *shard, const ald_dataset_info_t *info, hid_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_head_digest_t *head = (ald_head_digest_t *)ald_dataset_head(info, &shard->header);
    ald_object_t object = {0};
    char norm[16];
    if (H5Aexists(dataset, "output_matrix_sha256") <= 0)
        return status;
    ALD_TRY(open_object(shard->file, &shard->texts, info->path, &object));
    ALD_TRY(get_short(&object, "final_norm", norm, sizeof norm));
    ALD_CHECK(strcmp(norm, "applied") == 0, ALD_STATUS_INPUT,
              "%s: %s: attribute \"final_norm\": expected \"applied\", found \"%s\"", shard->path,
              info->path, norm);
    ALD_TRY(get_short(&object, "output_matrix_sha256", head->sha256, sizeof head->sha256));
    ALD_TRY(get_short(&object, "output_matrix_dtype", head->dtype, sizeof head->dtype));
done:
    ald_object_close(&object);
    return status;
}

static ald_status_t open_column(ald_shard_t *shard, ald_dataset_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dataset_info_t *info = &ald_shard_datasets[dataset];
    ald_chunked_t *column = &shard->columns[dataset];
    H5O_info_t object;
    column->file = shard->path;
    column->name = info->path;
    column->size = ald_column_size(info->type);
    ALD_TRY(check_link(shard, info->path));
    ALD_H5(H5Oget_info_by_name2(shard->file, info->path, &object, H5O_INFO_BASIC, H5P_DEFAULT),
           shard->path, info->path);
    ALD_CHECK(object.type == H5O_TYPE_DATASET, ALD_STATUS_INPUT, "%s: %s: expected a dataset",
              shard->path, info->path);
    ALD_H5(column->type = ald_column_h5_type(info->type), shard->path, info->path);
    ALD_TRY(check_before_open(shard, info, column->type));
    ALD_H5(column->dataset = open_dataset(shard->file, info->path), shard->path, info->path);
    ALD_TRY(check_shape(shard, info, column));
    ALD_TRY(ald_chunked_check(column, info, shard->file_size));
    if (info->width == ALD_WIDTH_H)
        ALD_TRY(read_head(shard, info, column->dataset));
done:
    return status;
}

/* N, T and R by the first dataset that has each; all others must agree. */
static ald_status_t check_rows(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    shard->count = shard->columns[ALD_DATASET_SEQUENCE_ID].rows;
    shard->tokens = shard->columns[ALD_DATASET_TOKEN_ID].rows;
    shard->positions = shard->columns[ALD_DATASET_RESPONSE_ID].rows;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const int64_t expected[] = {shard->count, shard->count + 1, shard->tokens,
                                    shard->positions};
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        const ald_chunked_t *column = &shard->columns[i];
        ALD_CHECK(column->dataset < 0 || column->rows == expected[info->rows], ALD_STATUS_INPUT,
                  "%s: %s: expected %lld rows, found %lld", shard->path, info->path,
                  (long long)expected[info->rows], (long long)column->rows);
    }
done:
    return status;
}

/* A whole narrow dataset, in memory of its own. */
static ald_status_t read_whole(ald_shard_t *shard, ald_dataset_t dataset, void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t rows = shard->columns[dataset].rows;
    const size_t size = ald_column_size(ald_shard_datasets[dataset].type);
    const size_t bytes = ((size_t)rows + 1) * size + ALD_FLETCHER_BYTES;
    *out = ald_calloc(1, bytes);
    ALD_CHECK_MEMORY(*out, bytes);
    ALD_TRY(ald_chunked_read(&shard->columns[dataset], 0, rows, false, *out));
done:
    return status;
}

static ald_status_t check_starts(const ald_shard_t *shard, ald_dataset_t dataset,
                                 const int64_t *start, int64_t end)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = ald_shard_datasets[dataset].path;
    ALD_CHECK(start[0] == 0, ALD_STATUS_INPUT, "%s: %s: expected 0 first, found %lld", shard->path,
              path, (long long)start[0]);
    for (int64_t i = 0; i < shard->count; ++i)
        ALD_CHECK(start[i] <= start[i + 1] && start[i + 1] <= end, ALD_STATUS_INPUT,
                  "%s: %s[%lld]: expected %lld to %lld, found %lld", shard->path, path,
                  (long long)i + 1, (long long)start[i], (long long)end, (long long)start[i + 1]);
    ALD_CHECK(start[shard->count] == end, ALD_STATUS_INPUT,
              "%s: %s: expected %lld last, found %lld", shard->path, path, (long long)end,
              (long long)start[shard->count]);
done:
    return status;
}

static ald_status_t read_sequences(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(read_whole(shard, ALD_DATASET_SEQUENCE_ID, (void **)&shard->id));
    ALD_TRY(read_whole(shard, ALD_DATASET_SEQUENCE_SOURCE, (void **)&shard->source));
    ALD_TRY(read_whole(shard, ALD_DATASET_TOKEN_START, (void **)&shard->token_start));
    ALD_TRY(read_whole(shard, ALD_DATASET_RESPONSE_START, (void **)&shard->response_start));
    ALD_TRY(check_starts(shard, ALD_DATASET_TOKEN_START, shard->token_start, shard->tokens));
    ALD_TRY(
        check_starts(shard, ALD_DATASET_RESPONSE_START, shard->response_start, shard->positions));
    for (int64_t i = 0; i < shard->count; ++i) {
        const int64_t tokens = shard->token_start[i + 1] - shard->token_start[i];
        const int64_t positions = shard->response_start[i + 1] - shard->response_start[i];
        ALD_CHECK(shard->source[i] <= ALD_SOURCE_POLICY, ALD_STATUS_INPUT,
                  "%s: /sequence/source[%lld]: expected 0 to %d, found %d", shard->path,
                  (long long)i, ALD_SOURCE_POLICY, shard->source[i]);
        ALD_CHECK(shard->id[i] >= 0, ALD_STATUS_INPUT,
                  "%s: /sequence/id[%lld]: expected a row's number, found %lld", shard->path,
                  (long long)i, (long long)shard->id[i]);
        ALD_CHECK(positions <= tokens, ALD_STATUS_INPUT,
                  "%s: /sequence/response_start[%lld]: %lld response positions of %lld tokens",
                  shard->path, (long long)i, (long long)positions, (long long)tokens);
    }
done:
    return status;
}

/* Closes the file; all that was learnt from it stays. */
static void fall_asleep(ald_shard_t *shard)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        ald_chunked_close(&shard->columns[i]);
    ald_texts_close(&shard->texts);
    if (shard->file >= 0)
        H5Fclose(shard->file);
    shard->file = -1;
}

/* Opens the file: the superblock must be of the kind that our own reading of texts knows. */
static ald_status_t open_file(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1;
    hsize_t block = 0;
    size_t address = 0, length = 0;
    ALD_TRY(ald_h5_open(shard->path, &shard->file));
    ALD_TRY(ald_texts_open(shard->path, shard->file_size, &shard->texts));
    ALD_H5(list = H5Fget_create_plist(shard->file), shard->path, "open");
    ALD_H5(H5Pget_userblock(list, &block), shard->path, "open");
    ALD_H5(H5Pget_sizes(list, &address, &length), shard->path, "open");
    ALD_CHECK(block == 0 && address == 8 && length == 8, ALD_STATUS_INPUT,
              "%s: superblock: expected 8-byte addresses and no user block", shard->path);
done:
    H5Pclose(list);
    return status;
}

static ald_status_t open_columns(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_dataset_is_in(&ald_shard_datasets[i], &shard->header))
            ALD_TRY(open_column(shard, (ald_dataset_t)i));
    ALD_TRY(check_rows(shard));
done:
    return status;
}

ald_status_t ald_shard_open(const char *path, ald_shard_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = ald_calloc(1, sizeof *shard);
    *out = NULL;
    ALD_CHECK_MEMORY(shard, sizeof *shard);
    shard->file = shard->texts.file = -1;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        shard->columns[i].dataset = shard->columns[i].type = -1;
    ald_h5_begin();
    shard->path = ald_strdup(path);
    ALD_CHECK_MEMORY(shard->path, strlen(path));
    ALD_CHECK(stat(path, &shard->seen) == 0 && S_ISREG(shard->seen.st_mode), ALD_STATUS_INPUT,
              "%s: no such shard", path);
    shard->file_size = (int64_t)shard->seen.st_size;
    ALD_TRY(open_file(shard));
    ALD_TRY(read_header(shard));
    ALD_TRY(open_columns(shard));
    ALD_TRY(read_sequences(shard));
    *out = shard;
    shard = NULL;
done:
    ald_shard_close(shard);
    return status;
}

int64_t ald_shard_reader_bytes(const ald_shard_header_t *header)
{
    int64_t bytes = (int64_t)sizeof(ald_shard_t) + ALD_H5_METADATA + ALD_TEXT_HEAP_KEPT;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_column_plan_t plan = ald_column_plan(&ald_shard_datasets[i], header);
        if (plan.used)
            bytes += (int64_t)plan.chunk_bytes + 1;
    }
    return ALD_SHARDS_AWAKE * bytes + 2 * ALD_CHUNK_MOST;
}

static void pool_leave(ald_shard_t *shard)
{
    ald_shard_pool_t *pool = shard->pool;
    if (shard->newer != NULL)
        shard->newer->older = shard->older;
    else
        pool->newest = shard->older;
    if (shard->older != NULL)
        shard->older->newer = shard->newer;
    else
        pool->oldest = shard->newer;
    shard->newer = shard->older = NULL;
    pool->awake -= 1;
}

/* Becomes the one used last; the one used longest ago makes room. */
static void pool_enter(ald_shard_t *shard)
{
    ald_shard_pool_t *pool = shard->pool;
    if (pool->awake == ALD_SHARDS_AWAKE) {
        ald_shard_t *oldest = pool->oldest;
        fall_asleep(oldest);
        pool_leave(oldest);
    }
    shard->older = pool->newest;
    if (pool->newest != NULL)
        pool->newest->newer = shard;
    else
        pool->oldest = shard;
    pool->newest = shard;
    pool->awake += 1;
}

void ald_shard_join(ald_shard_t *shard, ald_shard_pool_t *pool)
{
    shard->pool = pool;
    pool_enter(shard);
}

/* Opens a sleeping shard again, which must be the file that it was. */
static ald_status_t wake(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = shard->count, tokens = shard->tokens, positions = shard->positions;
    struct stat now;
    ald_h5_begin(); /* maybe another thread's first call */
    if (shard->pool != NULL && shard->file >= 0 && shard->pool->newest != shard) {
        pool_leave(shard);
        pool_enter(shard);
    }
    if (shard->file >= 0)
        return status;
    ALD_CHECK(stat(shard->path, &now) == 0, ALD_STATUS_INPUT, "%s: no such shard", shard->path);
    ALD_CHECK(now.st_ino == shard->seen.st_ino && now.st_size == shard->seen.st_size &&
                  now.st_mtim.tv_sec == shard->seen.st_mtim.tv_sec &&
                  now.st_mtim.tv_nsec == shard->seen.st_mtim.tv_nsec,
              ALD_STATUS_INPUT, "%s: changed since it was opened", shard->path);
    ALD_TRY(open_file(shard));
    ALD_TRY(open_columns(shard));
    ALD_CHECK(count == shard->count && tokens == shard->tokens && positions == shard->positions,
              ALD_STATUS_INPUT, "%s: changed since it was opened", shard->path);
    pool_enter(shard);
done:
    if (status != ALD_STATUS_OK)
        fall_asleep(shard);
    return status;
}

void ald_shard_close(ald_shard_t *shard)
{
    if (shard == NULL)
        return;
    if (shard->pool != NULL && shard->file >= 0)
        pool_leave(shard);
    fall_asleep(shard);
    ald_free(shard->id);
    ald_free(shard->source);
    ald_free(shard->token_start);
    ald_free(shard->response_start);
    ald_free(shard->config);
    ald_free(shard->path);
    ald_free(shard);
}

const ald_shard_header_t *ald_shard_header(const ald_shard_t *shard)
{
    return &shard->header;
}

int64_t ald_shard_count(const ald_shard_t *shard)
{
    return shard->count;
}

int64_t ald_shard_positions(const ald_shard_t *shard)
{
    return shard->positions;
}

int64_t ald_shard_tokens(const ald_shard_t *shard)
{
    return shard->tokens;
}

ald_status_t ald_shard_peek(ald_shard_t *shard, int64_t i, ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_scored_t){0};
    ALD_CHECK(i >= 0 && i < shard->count, ALD_STATUS_INPUT, "%s: sequence %lld: expected 0 to %lld",
              shard->path, (long long)i, (long long)shard->count - 1);
    out->id = shard->id[i];
    out->source = (ald_source_t)shard->source[i];
    out->response_count = shard->response_start[i + 1] - shard->response_start[i];
    out->prompt_count = shard->token_start[i + 1] - shard->token_start[i] - out->response_count;
done:
    return status;
}

static ald_status_t read_text(ald_shard_t *shard, ald_dataset_t dataset, int64_t i,
                              ald_arena_t *arena, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t reference[ALD_TEXT_REFERENCE + ALD_FLETCHER_BYTES];
    ALD_TRY(ald_chunked_read(&shard->columns[dataset], i, 1, false, reference));
    ALD_TRY(ald_texts_read(&shard->texts, ald_shard_datasets[dataset].path, reference, arena, out));
done:
    return status;
}

/* Rows of a numeric dataset in the arena. */
static ald_status_t read_column(ald_shard_t *shard, ald_dataset_t dataset, int64_t first,
                                int64_t rows, ald_arena_t *arena, const void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const size_t bytes =
        ((size_t)(rows * shard->columns[dataset].width) + 1) * ald_column_memory_size(type) +
        ALD_FLETCHER_BYTES;
    void *data = ald_arena_alloc(arena, bytes);
    ALD_CHECK_MEMORY(data, bytes);
    ALD_TRY(
        ald_chunked_read(&shard->columns[dataset], first, rows, type == ALD_COLUMN_F16_WIDE, data));
    ALD_TRY(ald_values_check(shard->path, dataset, first * shard->columns[dataset].width, data,
                             rows * shard->columns[dataset].width));
    *out = data;
done:
    return status;
}

/* The weights of draws are exp of a difference of logits: of finite ones. */
static ald_status_t check_proposal(const ald_shard_t *shard, int64_t first, const ald_scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < s->response_count; ++i)
        ALD_CHECK(
            s->proposal_temperature[i] > 0.0f && isfinite(s->proposal_temperature[i]) &&
                isfinite(s->proposal_factor[i]) && isfinite(s->proposal_logz[i]),
            ALD_STATUS_INPUT,
            "%s: /teacher/proposal_temperature: element %lld: expected a positive number, and "
            "finite ones beside it",
            shard->path, (long long)(first + i));
done:
    return status;
}

/* The tokens, and that the response is their end. */
static ald_status_t read_tokens(ald_shard_t *shard, int64_t i, ald_arena_t *arena,
                                ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t first = shard->token_start[i], count = out->prompt_count + out->response_count;
    const void *ids = NULL;
    ALD_TRY(read_column(shard, ALD_DATASET_TOKEN_ID, first, count, arena, &ids));
    ALD_TRY(ald_values_check_ids(shard->path, ALD_DATASET_TOKEN_ID, first, ids, count,
                                 shard->header.vocab_size));
    out->prompt_ids = ids;
    ALD_CHECK(memcmp(out->prompt_ids + out->prompt_count, out->response_ids,
                     (size_t)out->response_count * sizeof *out->response_ids) == 0,
              ALD_STATUS_INPUT, "%s: /response/id: sequence %lld: expected the end of its tokens",
              shard->path, (long long)i);
done:
    return status;
}

ald_status_t ald_shard_read(ald_shard_t *shard, int64_t i, bool with_teacher, ald_arena_t *arena,
                            ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_shard_peek(shard, i, out));
    ALD_TRY(wake(shard));
    const int64_t first = shard->response_start[i], R = out->response_count;
    ALD_TRY(read_text(shard, ALD_DATASET_PROMPT, i, arena, &out->prompt));
    ALD_TRY(read_text(shard, ALD_DATASET_RESPONSE, i, arena, &out->response));
    for (int d = 0; d < ALD_DATASET_COUNT; ++d) {
        const ald_dataset_info_t *info = &ald_shard_datasets[d];
        const bool teacher = strncmp(info->path, "/teacher/", 9) == 0;
        if (info->rows != ALD_ROWS_R || shard->columns[d].dataset < 0 || (teacher && !with_teacher))
            continue;
        ALD_TRY(read_column(shard, (ald_dataset_t)d, first, R, arena,
                            ald_dataset_member(out, (ald_dataset_t)d)));
    }
    if (out->topk_id != NULL)
        ALD_TRY(ald_values_check_ids(shard->path, ALD_DATASET_TOPK_ID, first * shard->header.top_k,
                                     out->topk_id, R * shard->header.top_k,
                                     shard->header.vocab_size));
    if (out->proposal_temperature != NULL)
        ALD_TRY(check_proposal(shard, first, out));
    ALD_TRY(read_tokens(shard, i, arena, out));
done:
    return status;
}

bool ald_shard_is_foreign(const char *path)
{
    hid_t file = -1;
    ald_texts_t texts = {.file = -1};
    ald_object_t root = {0};
    ald_arena_t arena = {0};
    ald_h5_begin();
    bool whole = ald_h5_open(path, &file) == ALD_STATUS_OK;
    bool ours = whole && ald_texts_open(path, ald_file_size(path), &texts) == ALD_STATUS_OK &&
                open_object(file, &texts, "/", &root) == ALD_STATUS_OK &&
                check_format(path, &root, &arena) == ALD_STATUS_OK;
    ald_object_close(&root);
    ald_arena_reset(&arena);
    ald_texts_close(&texts);
    if (whole)
        H5Fclose(file);
    return whole && !ours;
}
