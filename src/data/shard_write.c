/* Rows are gathered into whole chunks before HDF5 sees them: writing single rows into filtered
 * chunks costs up to 300 times as much. A dataset is made when its first chunk is full or at the
 * commit, then as large as its content, so that small shards stay small. */
#include "shard_format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/arena.h"
#include "ald/dtype.h"
#include "ald/file.h"
#include "ald/json.h"

enum {
    CHUNK_TARGET = 1 << 18, /* a random read of one sequence touches few bytes more than its own */
    CHUNK_MAX = 1 << 20,    /* HDF5's chunk cache */
    TEXT_ROWS = 128,
};

typedef struct {
    const ald_dataset_info_t *info;
    hid_t dataset, type; /* -1: not yet made */
    int64_t width;       /* elements in a row */
    int64_t rows;        /* already in the file */
    int64_t chunk_rows, chunk_width;
    int64_t buffered;
    size_t row_bytes;
    uint8_t *buffer; /* [chunk_rows, width] elements as in the file; none for text */
} column_t;

struct ald_shard_writer {
    char *path, *temporary;
    ald_shard_header_t header; /* config isn't kept */
    hid_t file;
    column_t columns[ALD_DATASET_COUNT]; /* info NULL: not in this encoding */
    int64_t tokens, positions;
    bool spoiled;
};

static void column_plan(column_t *column, const ald_dataset_info_t *info,
                        const ald_shard_header_t *header)
{
    const size_t size = ald_column_size(info->type);
    column->info = info;
    column->width = ald_dataset_width(info, header);
    column->row_bytes = (size_t)column->width * size;
    int64_t pieces = (int64_t)((column->row_bytes + CHUNK_MAX - 1) / CHUNK_MAX);
    column->chunk_width = (column->width + pieces - 1) / pieces;
    column->chunk_rows =
        column->row_bytes < CHUNK_TARGET ? CHUNK_TARGET / (int64_t)column->row_bytes : 1;
    if (info->width == ALD_WIDTH_1) /* narrow columns: 4096 values at once */
        column->chunk_rows = info->type == ALD_COLUMN_TEXT ? TEXT_ROWS : 4096;
}

/* Creation properties: chunks, for /teacher shuffle and gzip on request, the checksum last. */
static ald_status_t column_properties(const ald_shard_writer_t *writer, const column_t *column,
                                      const hsize_t *chunk, int rank, hid_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = writer->path, *name = column->info->path;
    ALD_H5(*out = ald_h5_dataset_properties(), path, name);
    ALD_H5(H5Pset_chunk(*out, rank, chunk), path, name);
    ALD_H5(H5Pset_fill_time(*out, H5D_FILL_TIME_ALLOC), path, name);
    if (writer->header.gzip && strncmp(name, "/teacher/", 9) == 0) {
        ALD_H5(H5Pset_shuffle(*out), path, name);
        ALD_H5(H5Pset_deflate(*out, 1), path, name);
    }
    if (column->info->type != ALD_COLUMN_TEXT)
        ALD_H5(H5Pset_fletcher32(*out), path, name);
done:
    return status;
}

/* What makes logits of hidden states. */
static ald_status_t put_head(const ald_shard_writer_t *writer, const column_t *column)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_head_digest_t *head = ald_dataset_head(column->info, &writer->header);
    if (head->sha256[0] == '\0')
        return status;
    ALD_TRY(ald_h5_put_text(column->dataset, writer->path, "final_norm", "applied"));
    ALD_TRY(ald_h5_put_text(column->dataset, writer->path, "output_matrix_sha256", head->sha256));
    ALD_TRY(ald_h5_put_text(column->dataset, writer->path, "output_matrix_dtype", head->dtype));
done:
    return status;
}

/* Makes the dataset with no rows yet. */
static ald_status_t column_create(ald_shard_writer_t *writer, column_t *column, int64_t chunk_rows)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = writer->path, *name = column->info->path;
    const int rank = column->info->width == ALD_WIDTH_1 ? 1 : 2;
    const hsize_t size[2] = {0, (hsize_t)column->width};
    const hsize_t most[2] = {H5S_UNLIMITED, (hsize_t)column->width};
    const hsize_t chunk[2] = {(hsize_t)chunk_rows, (hsize_t)column->chunk_width};
    hid_t space = -1, list = -1;
    ALD_H5(column->type = ald_column_h5_type(column->info->type), path, name);
    ALD_H5(space = H5Screate_simple(rank, size, most), path, name);
    ALD_TRY(column_properties(writer, column, chunk, rank, &list));
    ALD_H5(column->dataset =
               H5Dcreate2(writer->file, name, column->type, space, H5P_DEFAULT, list, H5P_DEFAULT),
           path, name);
    if (column->info->type == ALD_COLUMN_BF16)
        ALD_TRY(ald_h5_put_text(column->dataset, path, "dtype", "bfloat16"));
    if (column->info->width == ALD_WIDTH_H)
        ALD_TRY(put_head(writer, column));
done:
    H5Pclose(list);
    H5Sclose(space);
    return status;
}

/* Appends `rows` rows of file elements to the dataset. */
static ald_status_t column_store(ald_shard_writer_t *writer, column_t *column, const void *data,
                                 int64_t rows)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = writer->path, *name = column->info->path;
    const int rank = column->info->width == ALD_WIDTH_1 ? 1 : 2;
    const hsize_t size[2] = {(hsize_t)(column->rows + rows), (hsize_t)column->width};
    const hsize_t start[2] = {(hsize_t)column->rows, 0};
    const hsize_t count[2] = {(hsize_t)rows, (hsize_t)column->width};
    hid_t space = -1, memory = -1;
    ALD_H5(H5Dset_extent(column->dataset, size), path, name);
    ALD_H5(space = H5Dget_space(column->dataset), path, name);
    ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), path, name);
    ALD_H5(memory = H5Screate_simple(rank, count, NULL), path, name);
    ALD_H5(H5Dwrite(column->dataset, column->type, memory, space, H5P_DEFAULT, data), path, name);
    column->rows += rows;
done:
    H5Sclose(memory);
    H5Sclose(space);
    return status;
}

static ald_status_t column_flush(ald_shard_writer_t *writer, column_t *column)
{
    ald_status_t status = ALD_STATUS_OK;
    if (column->dataset < 0)
        ALD_TRY(column_create(writer, column, column->buffered > 0 ? column->buffered : 1));
    if (column->buffered > 0)
        ALD_TRY(column_store(writer, column, column->buffer, column->buffered));
    column->buffered = 0;
done:
    return status;
}

/* Copies rows behind the buffered ones, in the file's form; returns how far `data` was read. */
static size_t column_copy(column_t *column, const uint8_t *data, int64_t rows)
{
    uint8_t *to = column->buffer + (size_t)column->buffered * column->row_bytes;
    const int64_t elements = rows * column->width;
    column->buffered += rows;
    if (data == NULL) {
        for (int64_t i = 0; i < elements; ++i)
            ((float *)to)[i] = NAN;
        return 0;
    }
    if (column->info->type == ALD_COLUMN_F16) {
        ald_f32_to_dtype((const float *)data, elements, ALD_DTYPE_F16, to);
        return (size_t)elements * sizeof(float);
    }
    memcpy(to, data, (size_t)rows * column->row_bytes);
    return (size_t)rows * column->row_bytes;
}

/* Buffers rows and writes full chunks; NULL stands for NaN. */
static ald_status_t column_append(ald_shard_writer_t *writer, ald_dataset_t dataset,
                                  const void *data, int64_t rows)
{
    ald_status_t status = ALD_STATUS_OK;
    column_t *column = &writer->columns[dataset];
    const size_t bytes = (size_t)column->chunk_rows * column->row_bytes;
    const uint8_t *from = data;
    if (column->buffer == NULL && rows > 0) {
        column->buffer = ald_alloc(bytes);
        ALD_CHECK_MEMORY(column->buffer, bytes);
    }
    while (rows > 0) {
        int64_t room = column->chunk_rows - column->buffered, some = rows < room ? rows : room;
        size_t read = column_copy(column, from, some);
        from = from == NULL ? NULL : from + read;
        rows -= some;
        if (column->buffered == column->chunk_rows)
            ALD_TRY(column_flush(writer, column));
    }
done:
    return status;
}

/* One text; bytes that aren't UTF-8 become U+FFFD, as every reader expects UTF-8. */
static ald_status_t text_append(ald_shard_writer_t *writer, ald_dataset_t dataset, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    column_t *column = &writer->columns[dataset];
    ald_json_t *clean = ald_json_new_text(text, strlen(text));
    ALD_CHECK_MEMORY(clean, strlen(text));
    const char *row = ald_json_text(clean, NULL);
    ALD_TRY(column_store(writer, column, &row, 1));
done:
    ald_json_free(clean);
    return status;
}

static ald_status_t put_attributes(const ald_shard_writer_t *writer,
                                   const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = writer->path;
    hid_t file = writer->file;
    ALD_TRY(ald_h5_put_text(file, path, "format", ALD_SHARD_FORMAT_NAME));
    ALD_TRY(ald_h5_put_integer(file, path, "schema_version", ALD_SHARD_SCHEMA));
    ALD_TRY(ald_h5_put_text(file, path, "encoding", ald_encoding_name(header->encoding)));
    if (header->full16)
        ALD_TRY(ald_h5_put_text(file, path, "full_dtype", "f16"));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i) {
        const ald_shard_attribute_t *attribute = &ald_shard_attributes[i];
        const char *member = (const char *)header + attribute->offset;
        if (attribute->is_text)
            ALD_TRY(ald_h5_put_text(file, path, attribute->name, member));
        else
            ALD_TRY(ald_h5_put_integer(file, path, attribute->name, *(const int64_t *)member));
    }
    if (header->sha256_reference[0] != '\0')
        ALD_TRY(ald_h5_put_text(file, path, "sha256_reference", header->sha256_reference));
    ALD_TRY(ald_h5_put_text(file, path, "config", header->config == NULL ? "" : header->config));
done:
    return status;
}

static ald_status_t make_groups(const ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1, group = -1;
    ALD_H5(list = ald_h5_group_properties(), writer->path, "/");
    for (int i = 0; i < ALD_SHARD_GROUPS; ++i) {
        const char *name = ald_shard_groups[i];
        ALD_H5(group = H5Gcreate2(writer->file, name, H5P_DEFAULT, list, H5P_DEFAULT), writer->path,
               name);
        ALD_H5(H5Gclose(group), writer->path, name);
    }
done:
    H5Pclose(list);
    return status;
}

static ald_status_t writer_start(ald_shard_writer_t *writer, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t zero = 0;
    ALD_TRY(ald_h5_create(writer->temporary, &writer->file));
    ALD_TRY(put_attributes(writer, header));
    ALD_TRY(make_groups(writer));
    ALD_TRY(column_create(writer, &writer->columns[ALD_DATASET_PROMPT], TEXT_ROWS));
    ALD_TRY(column_create(writer, &writer->columns[ALD_DATASET_RESPONSE], TEXT_ROWS));
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_START, &zero, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_RESPONSE_START, &zero, 1));
done:
    return status;
}

static ald_status_t check_header(const char *path, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool hidden = ald_encoding_is_hidden(header->encoding);
    const bool topk = ald_encoding_has_k(header->encoding);
    ALD_CHECK(
        header->vocab_size > 0 && (!hidden || header->hidden_size > 0) &&
            (header->encoding == ALD_ENCODING_TOPK || !header->certified) &&
            (header->encoding == ALD_ENCODING_FULL || !header->full16) &&
            (topk ? header->top_k > 0 && header->top_k <= header->vocab_size : header->top_k == 0),
        ALD_STATUS_INTERNAL, "%s: a shard header with V %lld, H %lld, K %lld", path,
        (long long)header->vocab_size, (long long)header->hidden_size, (long long)header->top_k);
done:
    return status;
}

ald_status_t ald_shard_writer_open(const char *path, const ald_shard_header_t *header,
                                   ald_shard_writer_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_writer_t *writer = ald_calloc(1, sizeof *writer);
    *out = NULL;
    ALD_CHECK_MEMORY(writer, sizeof *writer);
    writer->file = -1;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        writer->columns[i].dataset = writer->columns[i].type = -1;
    ald_h5_begin();
    ALD_TRY(check_header(path, header));
    writer->header = *header;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_dataset_is_in(&ald_shard_datasets[i], header))
            column_plan(&writer->columns[i], &ald_shard_datasets[i], header);
    writer->path = ald_strdup(path);
    writer->temporary = ald_path_temporary(path);
    ALD_CHECK(writer->path != NULL && writer->temporary != NULL, ALD_STATUS_RESOURCE,
              "out of memory");
    ALD_TRY(writer_start(writer, header));
    *out = writer;
    writer = NULL;
done:
    ald_shard_writer_discard(writer);
    return status;
}

static ald_status_t append_sequence(ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint8_t source = (uint8_t)sequence->source;
    ald_scored_t copy = *sequence;
    ALD_TRY(column_append(writer, ALD_DATASET_SEQUENCE_ID, &sequence->id, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_SEQUENCE_SOURCE, &source, 1));
    ALD_TRY(text_append(writer, ALD_DATASET_PROMPT, sequence->prompt));
    ALD_TRY(text_append(writer, ALD_DATASET_RESPONSE, sequence->response));
    ALD_TRY(
        column_append(writer, ALD_DATASET_TOKEN_ID, sequence->prompt_ids, sequence->prompt_count));
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_ID, sequence->response_ids,
                          sequence->response_count));
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (writer->columns[i].info != NULL && ald_shard_datasets[i].rows == ALD_ROWS_R)
            ALD_TRY(column_append(writer, (ald_dataset_t)i,
                                  *ald_dataset_member(&copy, (ald_dataset_t)i),
                                  sequence->response_count));
    writer->tokens += sequence->prompt_count + sequence->response_count;
    writer->positions += sequence->response_count;
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_START, &writer->tokens, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_RESPONSE_START, &writer->positions, 1));
done:
    return status;
}

/* Everything that the encoding needs is there. */
static ald_status_t check_sequence(const ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t copy = *sequence;
    bool whole = sequence->prompt != NULL && sequence->response != NULL &&
                 sequence->prompt_count >= 0 && sequence->response_count >= 0 &&
                 (sequence->prompt_ids != NULL || sequence->prompt_count == 0);
    for (int i = 0; i < ALD_DATASET_COUNT && sequence->response_count > 0; ++i)
        if (writer->columns[i].info != NULL && ald_shard_datasets[i].rows == ALD_ROWS_R &&
            i != ALD_DATASET_LOGPROB_POLICY)
            whole = whole && *ald_dataset_member(&copy, (ald_dataset_t)i) != NULL;
    ALD_CHECK(whole, ALD_STATUS_INTERNAL, "%s: sequence %lld lacks a part of encoding %s",
              writer->path, (long long)sequence->id, ald_encoding_name(writer->header.encoding));
done:
    return status;
}

ald_status_t ald_shard_writer_append(ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(!writer->spoiled, ALD_STATUS_INTERNAL, "%s: append after a failure", writer->path);
    ALD_TRY(check_sequence(writer, sequence));
    ALD_TRY(append_sequence(writer, sequence));
done:
    writer->spoiled = writer->spoiled || status != ALD_STATUS_OK;
    return status;
}

/* Closes what is open, each id once whatever the answer; the first failure is kept. */
static ald_status_t writer_close_file(ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        column_t *column = &writer->columns[i];
        if (column->dataset >= 0 && H5Dclose(column->dataset) < 0 && status == ALD_STATUS_OK)
            status = ald_h5_raise(writer->path, column->info->path);
        if (column->type >= 0)
            H5Tclose(column->type);
        column->dataset = column->type = -1;
    }
    if (writer->file >= 0 && H5Fclose(writer->file) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(writer->path, "cannot write");
    writer->file = -1;
    return status;
}

static void writer_free(ald_shard_writer_t *writer)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        ald_free(writer->columns[i].buffer);
    ald_free(writer->path);
    ald_free(writer->temporary);
    ald_free(writer);
}

static ald_status_t writer_finish(ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (writer->columns[i].info != NULL)
            ALD_TRY(column_flush(writer, &writer->columns[i]));
    ALD_H5(H5Fflush(writer->file, H5F_SCOPE_GLOBAL), writer->path, "cannot write");
done:
    return status;
}

ald_status_t ald_shard_writer_commit(ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(!writer->spoiled, ALD_STATUS_INTERNAL, "%s: commit after a failure", writer->path);
    ALD_TRY(writer_finish(writer));
    ALD_TRY(writer_close_file(writer));
    ALD_TRY(ald_file_publish(writer->temporary, writer->path));
    writer_free(writer);
    writer = NULL;
done:
    ald_shard_writer_discard(writer);
    return status;
}

void ald_shard_writer_discard(ald_shard_writer_t *writer)
{
    if (writer == NULL)
        return;
    char *message = ald_strdup(ald_status_message()); /* of the failure that led here */
    writer_close_file(writer);
    if (message != NULL)
        ald_status_raise(ALD_STATUS_OK, "%s", message);
    ald_free(message);
    if (writer->temporary != NULL)
        unlink(writer->temporary);
    writer_free(writer);
}
