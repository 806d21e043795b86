/* A shard may come from a stranger: links, types, filters, shapes, sizes, offsets and enum values
 * are checked at open, before anything is allocated by their word; checksums and ids as they are
 * read. */
#include "shard_format.h"

#include <math.h>
#include <string.h>

#include "ald/arena.h"
#include "ald/dtype.h"
#include "ald/file.h"

enum {
    CHUNK_BYTES_MAX = 64 << 20, /* more than any chunk of ours */
    DEFLATE_GAIN_MAX = 1100,    /* deflate can't shrink further */
    VOCAB_MAX = 1 << 28,
};

typedef struct {
    hid_t dataset, type; /* -1: not in this encoding */
    int64_t rows, width;
} column_t;

struct ald_shard {
    char *path;
    ald_shard_header_t header;
    char *config;
    int64_t file_size;
    hid_t file;
    column_t columns[ALD_DATASET_COUNT];
    int64_t count, tokens, positions;
    int64_t *id, *token_start, *response_start; /* [N], [N + 1], [N + 1] */
    uint8_t *source;                            /* [N] */
};

static ald_status_t read_member(ald_shard_t *shard, const ald_shard_attribute_t *attribute)
{
    ald_status_t status = ALD_STATUS_OK;
    char *member = (char *)&shard->header + attribute->offset, *text = NULL;
    if (!attribute->is_text)
        return ald_h5_get_integer(shard->file, shard->path, attribute->name, (int64_t *)member);
    ALD_TRY(ald_h5_get_text(shard->file, shard->path, attribute->name, &text));
    ALD_CHECK(strlen(text) < attribute->size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu", shard->path,
              attribute->name, attribute->size - 1, strlen(text));
    memcpy(member, text, strlen(text) + 1);
done:
    ald_free(text);
    return status;
}

/* `format` and `schema_version` come first: nothing else means anything under others. */
static ald_status_t check_format(const ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    char *format = NULL;
    int64_t version = 0;
    ALD_TRY(ald_h5_get_text(shard->file, shard->path, "format", &format));
    ALD_CHECK(strcmp(format, ALD_SHARD_FORMAT_NAME) == 0, ALD_STATUS_INPUT,
              "%s: attribute \"format\": expected \"" ALD_SHARD_FORMAT_NAME "\", found \"%.40s\"",
              shard->path, format);
    ALD_TRY(ald_h5_get_integer(shard->file, shard->path, "schema_version", &version));
    ALD_CHECK(version <= ALD_SHARD_SCHEMA, ALD_STATUS_INPUT,
              "%s: schema version %lld, but this program reads up to version %d", shard->path,
              (long long)version, ALD_SHARD_SCHEMA);
    ALD_CHECK(version >= 1, ALD_STATUS_INPUT, "%s: schema version %lld: expected 1 to %d",
              shard->path, (long long)version, ALD_SHARD_SCHEMA);
done:
    ald_free(format);
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
    ALD_CHECK(topk ? header->top_k > 0 && header->top_k <= header->vocab_size : header->top_k == 0,
              ALD_STATUS_INPUT, "%s: attribute \"top_k\": found %lld with encoding %s", shard->path,
              (long long)header->top_k, ald_encoding_name(header->encoding));
    ALD_CHECK(
        strcmp(header->contrast, "reverse") == 0 || strcmp(header->contrast, "reference") == 0,
        ALD_STATUS_INPUT, "%s: attribute \"contrast\": expected reverse or reference, found \"%s\"",
        shard->path, header->contrast);
done:
    return status;
}

static ald_status_t get_short(const ald_shard_t *shard, hid_t dataset, const char *name, char *out,
                              size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ALD_TRY(ald_h5_get_text(dataset, shard->path, name, &text));
    ALD_CHECK(strlen(text) < size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu", shard->path, name,
              size - 1, strlen(text));
    memcpy(out, text, strlen(text) + 1);
done:
    ald_free(text);
    return status;
}

/* `full` in halves says so. */
static ald_status_t read_full_dtype(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    char *dtype = NULL;
    if (shard->header.encoding != ALD_ENCODING_FULL || H5Aexists(shard->file, "full_dtype") <= 0)
        return status;
    ALD_TRY(ald_h5_get_text(shard->file, shard->path, "full_dtype", &dtype));
    ALD_CHECK(strcmp(dtype, "f16") == 0, ALD_STATUS_INPUT,
              "%s: attribute \"full_dtype\": expected \"f16\", found \"%.40s\"", shard->path,
              dtype);
    shard->header.full16 = true;
done:
    ald_free(dtype);
    return status;
}

static ald_status_t read_header(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    char *encoding = NULL;
    ALD_TRY(check_format(shard));
    ALD_TRY(ald_h5_get_text(shard->file, shard->path, "encoding", &encoding));
    status = ald_encoding_parse(encoding, &shard->header.encoding);
    if (status != ALD_STATUS_OK)
        ALD_TRY(ald_status_prefix(status, "%s: attribute", shard->path));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i)
        ALD_TRY(read_member(shard, &ald_shard_attributes[i]));
    if (H5Aexists(shard->file, "sha256_reference") > 0)
        ALD_TRY(get_short(shard, shard->file, "sha256_reference", shard->header.sha256_reference,
                          sizeof shard->header.sha256_reference));
    ALD_TRY(ald_h5_get_text(shard->file, shard->path, "config", &shard->config));
    shard->header.config = shard->config;
    ALD_TRY(check_header(shard));
    ALD_TRY(read_full_dtype(shard));
    shard->header.certified = shard->header.encoding == ALD_ENCODING_TOPK &&
                              H5Lexists(shard->file, "/teacher", H5P_DEFAULT) > 0 &&
                              H5Lexists(shard->file, "/teacher/alpha_max", H5P_DEFAULT) > 0;
done:
    ald_free(encoding);
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

/* Only filters of ours (a plugin would be foreign code), and the checksum among them. */
static ald_status_t check_filters(const ald_shard_t *shard, const ald_dataset_info_t *info,
                                  hid_t list, bool *deflated)
{
    ald_status_t status = ALD_STATUS_OK;
    bool checked = false;
    const int count = H5Pget_nfilters(list);
    ALD_H5(count, shard->path, info->path);
    for (int i = 0; i < count; ++i) {
        unsigned flags, config;
        size_t values = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(list, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        ALD_CHECK(filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE ||
                      filter == H5Z_FILTER_FLETCHER32,
                  ALD_STATUS_INPUT,
                  "%s: %s: expected no filters but deflate, shuffle and "
                  "Fletcher-32, found number %d",
                  shard->path, info->path, (int)filter);
        checked = checked || filter == H5Z_FILTER_FLETCHER32;
        *deflated = *deflated || filter == H5Z_FILTER_DEFLATE;
    }
    ALD_CHECK(checked || info->type == ALD_COLUMN_TEXT, ALD_STATUS_INPUT,
              "%s: %s: expected a Fletcher-32 checksum", shard->path, info->path);
done:
    return status;
}

/* The bytes are in this file, all of them, in chunks of a sane size. */
static ald_status_t check_storage(const ald_shard_t *shard, const ald_dataset_info_t *info,
                                  const column_t *column)
{
    ald_status_t status = ALD_STATUS_OK;
    bool deflated = false;
    hsize_t chunk[2] = {1, 1};
    hid_t list = -1;
    ALD_H5(list = H5Dget_create_plist(column->dataset), shard->path, info->path);
    ALD_CHECK(H5Pget_layout(list) == H5D_CHUNKED, ALD_STATUS_INPUT,
              "%s: %s: expected chunks in this file", shard->path, info->path);
    ALD_H5(H5Pget_chunk(list, 2, chunk), shard->path, info->path);
    const size_t size = ald_column_size(info->type);
    ALD_CHECK(chunk[0] <= CHUNK_BYTES_MAX && chunk[1] <= CHUNK_BYTES_MAX &&
                  chunk[0] * chunk[1] <= CHUNK_BYTES_MAX / size,
              ALD_STATUS_INPUT, "%s: %s: expected chunks of at most %d bytes", shard->path,
              info->path, CHUNK_BYTES_MAX);
    ALD_TRY(check_filters(shard, info, list, &deflated));
    const double gain = deflated ? DEFLATE_GAIN_MAX : 1;
    const hsize_t stored = H5Dget_storage_size(column->dataset);
    const double needed = (double)column->rows * (double)column->width * (double)size;
    ALD_CHECK(stored <= (hsize_t)shard->file_size && (double)stored * gain >= needed,
              ALD_STATUS_INPUT, "%s: %s: %lld rows need %.0f bytes, but %llu are stored",
              shard->path, info->path, (long long)column->rows, needed, (unsigned long long)stored);
done:
    H5Pclose(list);
    return status;
}

static ald_status_t check_type(const ald_shard_t *shard, const ald_dataset_info_t *info,
                               const column_t *column)
{
    static const char *const expected[] = {
        "64-bit integers", "32-bit integers",     "32-bit floats",         "16-bit floats",
        "16-bit unsigned", "the enum of sources", "variable-length texts",
    };
    ald_status_t status = ALD_STATUS_OK;
    char *dtype = NULL;
    hid_t found = -1;
    ALD_H5(found = H5Dget_type(column->dataset), shard->path, info->path);
    const bool fits = info->type == ALD_COLUMN_TEXT ? H5Tis_variable_str(found) > 0
                                                    : H5Tequal(found, column->type) > 0;
    ALD_CHECK(fits, ALD_STATUS_INPUT, "%s: %s: expected %s, found another type", shard->path,
              info->path, expected[info->type]);
    if (info->type == ALD_COLUMN_BF16) {
        ALD_TRY(ald_h5_get_text(column->dataset, shard->path, "dtype", &dtype));
        ALD_CHECK(strcmp(dtype, "bfloat16") == 0, ALD_STATUS_INPUT,
                  "%s: %s: attribute \"dtype\": expected \"bfloat16\", found \"%.40s\"",
                  shard->path, info->path, dtype);
    }
done:
    ald_free(dtype);
    H5Tclose(found);
    return status;
}

static ald_status_t check_shape(const ald_shard_t *shard, const ald_dataset_info_t *info,
                                column_t *column)
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

/* What makes logits of hidden states; the first shards of version 1 don't say. */
static ald_status_t read_head(ald_shard_t *shard, const ald_dataset_info_t *info, hid_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_head_digest_t *head = (ald_head_digest_t *)ald_dataset_head(info, &shard->header);
    char norm[16];
    if (H5Aexists(dataset, "output_matrix_sha256") <= 0)
        return status;
    ALD_TRY(get_short(shard, dataset, "final_norm", norm, sizeof norm));
    ALD_CHECK(strcmp(norm, "applied") == 0, ALD_STATUS_INPUT,
              "%s: %s: attribute \"final_norm\": expected \"applied\", found \"%s\"", shard->path,
              info->path, norm);
    ALD_TRY(get_short(shard, dataset, "output_matrix_sha256", head->sha256, sizeof head->sha256));
    ALD_TRY(get_short(shard, dataset, "output_matrix_dtype", head->dtype, sizeof head->dtype));
done:
    return status;
}

static ald_status_t open_column(ald_shard_t *shard, ald_dataset_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dataset_info_t *info = &ald_shard_datasets[dataset];
    column_t *column = &shard->columns[dataset];
    H5O_info_t object;
    ALD_TRY(check_link(shard, info->path));
    ALD_H5(H5Oget_info_by_name2(shard->file, info->path, &object, H5O_INFO_BASIC, H5P_DEFAULT),
           shard->path, info->path);
    ALD_CHECK(object.type == H5O_TYPE_DATASET, ALD_STATUS_INPUT, "%s: %s: expected a dataset",
              shard->path, info->path);
    ALD_H5(column->dataset = H5Dopen2(shard->file, info->path, H5P_DEFAULT), shard->path,
           info->path);
    ALD_H5(column->type = ald_column_h5_type(info->type), shard->path, info->path);
    ALD_TRY(check_type(shard, info, column));
    ALD_TRY(check_shape(shard, info, column));
    ALD_TRY(check_storage(shard, info, column));
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
        const column_t *column = &shard->columns[i];
        ALD_CHECK(column->dataset < 0 || column->rows == expected[info->rows], ALD_STATUS_INPUT,
                  "%s: %s: expected %lld rows, found %lld", shard->path, info->path,
                  (long long)expected[info->rows], (long long)column->rows);
    }
done:
    return status;
}

/* Reads rows [first, first + rows) in the file's form. */
static ald_status_t read_rows(const ald_shard_t *shard, ald_dataset_t dataset, int64_t first,
                              int64_t rows, void *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dataset_info_t *info = &ald_shard_datasets[dataset];
    const column_t *column = &shard->columns[dataset];
    const int rank = info->width == ALD_WIDTH_1 ? 1 : 2;
    const hsize_t start[2] = {(hsize_t)first, 0};
    const hsize_t count[2] = {(hsize_t)rows, (hsize_t)column->width};
    hid_t space = -1, memory = -1;
    if (rows == 0)
        return status;
    ALD_H5(space = H5Dget_space(column->dataset), shard->path, info->path);
    ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), shard->path,
           info->path);
    ALD_H5(memory = H5Screate_simple(rank, count, NULL), shard->path, info->path);
    ALD_H5(H5Dread(column->dataset, column->type, memory, space, H5P_DEFAULT, out), shard->path,
           info->path);
done:
    H5Sclose(memory);
    H5Sclose(space);
    return status;
}

/* A whole narrow dataset, in memory of its own. */
static ald_status_t read_whole(const ald_shard_t *shard, ald_dataset_t dataset, void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t rows = shard->columns[dataset].rows;
    const size_t size = ald_column_size(ald_shard_datasets[dataset].type);
    *out = ald_calloc((size_t)rows + 1, size);
    ALD_CHECK_MEMORY(*out, (size_t)rows * size);
    ALD_TRY(read_rows(shard, dataset, 0, rows, *out));
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

ald_status_t ald_shard_open(const char *path, ald_shard_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = ald_calloc(1, sizeof *shard);
    *out = NULL;
    ALD_CHECK_MEMORY(shard, sizeof *shard);
    shard->file = -1;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        shard->columns[i].dataset = shard->columns[i].type = -1;
    ald_h5_begin();
    shard->path = ald_strdup(path);
    ALD_CHECK_MEMORY(shard->path, strlen(path));
    shard->file_size = ald_file_size(path);
    ALD_CHECK(shard->file_size >= 0, ALD_STATUS_INPUT, "%s: no such shard", path);
    ALD_TRY(ald_h5_open(path, &shard->file));
    ALD_TRY(read_header(shard));
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_dataset_is_in(&ald_shard_datasets[i], &shard->header))
            ALD_TRY(open_column(shard, (ald_dataset_t)i));
    ALD_TRY(check_rows(shard));
    ALD_TRY(read_sequences(shard));
    *out = shard;
    shard = NULL;
done:
    ald_shard_close(shard);
    return status;
}

void ald_shard_close(ald_shard_t *shard)
{
    if (shard == NULL)
        return;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        if (shard->columns[i].dataset >= 0)
            H5Dclose(shard->columns[i].dataset);
        if (shard->columns[i].type >= 0)
            H5Tclose(shard->columns[i].type);
    }
    if (shard->file >= 0)
        H5Fclose(shard->file);
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

static ald_status_t read_text(const ald_shard_t *shard, ald_dataset_t dataset, int64_t i,
                              ald_arena_t *arena, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ALD_TRY(read_rows(shard, dataset, i, 1, &text));
    const char *read = text == NULL ? "" : text; /* HDF5 gives NULL for an empty one */
    *out = ald_arena_strdup(arena, read, strlen(read));
    ALD_CHECK_MEMORY(*out, strlen(read));
done:
    H5free_memory(text);
    return status;
}

/* Rows of a numeric dataset in the arena; F16 becomes float. */
static ald_status_t read_column(const ald_shard_t *shard, ald_dataset_t dataset, int64_t first,
                                int64_t rows, ald_arena_t *arena, const void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const int64_t elements = rows * shard->columns[dataset].width;
    void *data = ald_arena_calloc(arena, (size_t)elements + 1, ald_column_size(type));
    ALD_CHECK_MEMORY(data, (size_t)elements * ald_column_size(type));
    ALD_TRY(read_rows(shard, dataset, first, rows, data));
    *out = data;
    if (type == ALD_COLUMN_F16) {
        float *wide = ALD_ARENA_ARRAY(arena, float, elements + 1);
        ALD_CHECK_MEMORY(wide, (size_t)elements * sizeof *wide);
        ald_dtype_to_f32(ALD_DTYPE_F16, data, elements, wide);
        *out = wide;
    }
done:
    return status;
}

static ald_status_t check_ids(const ald_shard_t *shard, ald_dataset_t dataset, int64_t first,
                              const int32_t *ids, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = shard->header.vocab_size;
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(ids[i] >= 0 && ids[i] < V, ALD_STATUS_INPUT,
                  "%s: %s: element %lld: expected an id below %lld, found %d", shard->path,
                  ald_shard_datasets[dataset].path, (long long)(first + i), (long long)V, ids[i]);
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
    ALD_TRY(check_ids(shard, ALD_DATASET_TOKEN_ID, first, ids, count));
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
        ALD_TRY(check_ids(shard, ALD_DATASET_TOPK_ID, first * shard->header.top_k, out->topk_id,
                          R * shard->header.top_k));
    if (out->proposal_temperature != NULL)
        ALD_TRY(check_proposal(shard, first, out));
    ALD_TRY(read_tokens(shard, i, arena, out));
done:
    return status;
}

bool ald_shard_is_foreign(const char *path)
{
    hid_t file = -1;
    char *format = NULL;
    int64_t version = 1;
    ald_h5_begin();
    bool whole = ald_h5_open(path, &file) == ALD_STATUS_OK;
    bool ours = whole && ald_h5_get_text(file, path, "format", &format) == ALD_STATUS_OK &&
                strcmp(format, ALD_SHARD_FORMAT_NAME) == 0 &&
                ald_h5_get_integer(file, path, "schema_version", &version) == ALD_STATUS_OK &&
                version <= ALD_SHARD_SCHEMA;
    if (whole)
        H5Fclose(file);
    ald_free(format);
    return whole && !ours;
}
