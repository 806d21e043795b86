/* Gathers the rows of sequences into whole chunks, since writing single rows into filtered chunks
 * takes up to 300 times as long. The file itself belongs to the sink and its thread. */
#include "ald/shard/write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"
#include "ald/shard/format.h"
#include "shard/format_impl.h"
#include "shard/sink_impl.h"
#include "shard/values_impl.h"

enum { TEXT_PIECE = 1 << 16 }; /* bytes of a piece of texts; a longer text has one of its own */

typedef struct {
    int64_t rows;       /* that the sink has been given */
    int64_t buffered;   /* rows in the piece */
    ald_piece_t *piece; /* that is being filled; NULL: none */
} column_t;

struct ald_shard_writer {
    char *path, *temporary;
    ald_shard_header_t header; /* config isn't kept */
    ald_column_plan_t plans[ALD_DATASET_COUNT];
    column_t columns[ALD_DATASET_COUNT];
    ald_sink_t *sink;
    int64_t tokens, positions;
    bool spoiled;
};

int64_t ald_shard_writer_bytes(const ald_shard_header_t *header)
{
    int64_t bytes = (int64_t)sizeof(ald_shard_writer_t) + ALD_SINK_QUEUE + ALD_SINK_LIBRARY;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_column_plan_t plan = ald_column_plan(&ald_shard_datasets[i], header);
        if (plan.used)
            bytes += (int64_t)plan.chunk_bytes;
        if (ald_shard_datasets[i].type == ALD_COLUMN_TEXT)
            bytes += TEXT_PIECE;
    }
    return bytes;
}

/* Copies elements into the file's form; NULL stands for NaN. */
static void copy_elements(ald_column_type_t type, const uint8_t *from, int64_t count, uint8_t *to)
{
    if (from == NULL)
        for (int64_t i = 0; i < count; ++i)
            ((float *)to)[i] = NAN;
    else if (type == ALD_COLUMN_F16_WIDE)
        ald_f32_to_dtype((const float *)from, count, ALD_DTYPE_F16, to);
    else
        memcpy(to, from, (size_t)count * ald_column_size(type));
}

static ald_status_t piece_begin(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                ald_piece_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t bytes = writer->plans[dataset].chunk_bytes;
    *out = ald_sink_piece(writer->sink, bytes);
    ALD_CHECK_MEMORY(*out, bytes);
    (*out)->dataset = dataset;
done:
    return status;
}

/* Gives the gathered rows to the sink; the rest of their chunk is zero. */
static ald_status_t column_flush(ald_shard_writer_t *writer, ald_shard_dataset_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_plan_t *plan = &writer->plans[dataset];
    column_t *column = &writer->columns[dataset];
    const size_t row_bytes = (size_t)plan->width * plan->size;
    if (column->piece == NULL)
        ALD_TRY(piece_begin(writer, dataset, &column->piece));
    ald_piece_t *piece = column->piece;
    const size_t used = (size_t)column->buffered * row_bytes;
    piece->row = column->rows;
    piece->rows = column->buffered;
    piece->bytes = column->rows == 0 ? used : plan->chunk_bytes;
    memset(piece->data + used, 0, piece->bytes - used);
    column->rows += column->buffered;
    column->buffered = 0;
    column->piece = NULL;
    ALD_TRY(ald_sink_put(writer->sink, piece));
done:
    return status;
}

/* Gathers rows, and gives full chunks to the sink. */
static ald_status_t gather_rows(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                const uint8_t *from, int64_t rows)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const ald_column_plan_t *plan = &writer->plans[dataset];
    column_t *column = &writer->columns[dataset];
    while (rows > 0) {
        if (column->piece == NULL)
            ALD_TRY(piece_begin(writer, dataset, &column->piece));
        const int64_t room = plan->chunk_rows - column->buffered, some = rows < room ? rows : room;
        const int64_t elements = some * plan->width;
        copy_elements(type, from, elements,
                      column->piece->data + (size_t)(column->buffered * plan->width) * plan->size);
        from = from == NULL ? NULL : from + (size_t)elements * ald_column_memory_size(type);
        column->buffered += some;
        rows -= some;
        if (column->buffered == plan->chunk_rows)
            ALD_TRY(column_flush(writer, dataset));
    }
done:
    return status;
}

/* Writes rows that take several chunks each. */
static ald_status_t cut_rows(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                             const uint8_t *from, int64_t rows)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const ald_column_plan_t *plan = &writer->plans[dataset];
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t at = 0; at < plan->width; at += plan->chunk_width) {
            const int64_t left = plan->width - at;
            const int64_t count = left < plan->chunk_width ? left : plan->chunk_width;
            const size_t used = (size_t)count * plan->size;
            ald_piece_t *piece;
            ALD_TRY(piece_begin(writer, dataset, &piece));
            copy_elements(type, from, count, piece->data);
            memset(piece->data + used, 0, plan->chunk_bytes - used);
            from += (size_t)count * ald_column_memory_size(type);
            piece->row = writer->columns[dataset].rows;
            piece->column = at;
            piece->rows = 1;
            piece->bytes = plan->chunk_bytes;
            ALD_TRY(ald_sink_put(writer->sink, piece));
        }
        writer->columns[dataset].rows += 1;
    }
done:
    return status;
}

static ald_status_t column_append(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                  const void *data, int64_t rows)
{
    const bool cut = writer->plans[dataset].chunk_width < writer->plans[dataset].width;
    return cut ? cut_rows(writer, dataset, data, rows) : gather_rows(writer, dataset, data, rows);
}

/* Gives the gathered texts to the sink. */
static ald_status_t texts_flush(ald_shard_writer_t *writer, ald_shard_dataset_t dataset)
{
    column_t *column = &writer->columns[dataset];
    ald_piece_t *piece = column->piece;
    if (piece == NULL)
        return ALD_STATUS_OK;
    piece->dataset = dataset;
    piece->row = column->rows;
    piece->rows = column->buffered;
    column->rows += column->buffered;
    column->buffered = 0;
    column->piece = NULL;
    return ald_sink_put(writer->sink, piece);
}

/* Puts a text into the piece that is being filled, or into a new one when that is full. */
static ald_status_t gather_text(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    column_t *column = &writer->columns[dataset];
    const size_t bytes = strlen(text) + 1, room = bytes > TEXT_PIECE ? bytes : TEXT_PIECE;
    if (column->buffered == ALD_SINK_TEXTS ||
        (column->piece != NULL && column->piece->bytes + bytes > column->piece->capacity))
        ALD_TRY(texts_flush(writer, dataset));
    if (column->piece == NULL)
        column->piece = ald_sink_piece(writer->sink, room);
    ALD_CHECK_MEMORY(column->piece, room);
    memcpy(column->piece->data + column->piece->bytes, text, bytes);
    column->piece->bytes += bytes;
    column->buffered += 1;
done:
    return status;
}

/* Appends one text. Bytes that aren't UTF-8 become U+FFFD, since every reader expects UTF-8. */
static ald_status_t text_append(ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *clean = ald_json_new_text(text, strlen(text));
    ALD_CHECK_MEMORY(clean, strlen(text));
    ALD_TRY(gather_text(writer, dataset, ald_json_text(clean, NULL)));
done:
    ald_json_free(clean);
    return status;
}

static ald_status_t check_header(const char *path, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool hidden = ald_encoding_is_hidden(header->encoding);
    const bool topk = ald_encoding_has_k(header->encoding);
    ALD_CHECK(
        header->vocab_size > 0 && (!hidden || header->hidden_size > 0) &&
            (ald_encoding_in(header->encoding, ALD_MAY_BE_CERTIFIED) || !header->certified) &&
            (ald_encoding_in(header->encoding, ALD_MAY_BE_FULL16) || !header->full16) &&
            (topk ? header->top_k > 0 && header->top_k <= header->vocab_size : header->top_k == 0),
        ALD_STATUS_INTERNAL, "%s: a shard header with V %lld, H %lld, K %lld", path,
        (long long)header->vocab_size, (long long)header->hidden_size, (long long)header->top_k);
done:
    return status;
}

static ald_status_t writer_start(ald_shard_writer_t *writer, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t zero = 0;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        writer->plans[i] = ald_column_plan(&ald_shard_datasets[i], header);
    ALD_TRY(ald_sink_open(writer->path, writer->temporary, header, writer->plans, &writer->sink));
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_START, &zero, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_RESPONSE_START, &zero, 1));
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
    ALD_TRY(check_header(path, header));
    writer->header = *header;
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

/* INPUT unless a reader would bear the values of a column, as the file will have them. */
static ald_status_t check_column(const ald_shard_writer_t *writer, ald_shard_dataset_t dataset,
                                 const void *data, int64_t rows)
{
    enum { SOME = 4096 };
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const int64_t count = rows * writer->plans[dataset].width;
    uint16_t halves[SOME];
    float wide[SOME];
    if (data == NULL || type != ALD_COLUMN_F16_WIDE) {
        status =
            data == NULL ? ALD_STATUS_OK : ald_values_check(writer->path, dataset, 0, data, count);
        goto done;
    }
    for (int64_t i = 0; i < count; i += SOME) { /* what overflows as a half is infinite there */
        const int64_t some = count - i < SOME ? count - i : SOME;
        ald_dtype_row_from_f32((const float *)data + i, some, ALD_DTYPE_F16, halves);
        ald_dtype_row_to_f32(ALD_DTYPE_F16, halves, some, wide);
        ALD_TRY(ald_values_check(writer->path, dataset, i, wide, some));
    }
done:
    return status;
}

/* INPUT unless the models gave numbers for every position: no shard is published otherwise. */
static ald_status_t check_values(const ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < ALD_DATASET_COUNT && status == ALD_STATUS_OK; ++i)
        if (writer->plans[i].used && ald_shard_datasets[i].rows == ALD_ROWS_R)
            status =
                check_column(writer, (ald_shard_dataset_t)i,
                             ald_dataset_content(&writer->header, sequence, (ald_shard_dataset_t)i),
                             sequence->response_count);
    if (status == ALD_STATUS_INPUT)
        status = ald_status_prefix(
            status, "sequence %lld: a teacher's numbers overflow, and no shard is written",
            (long long)sequence->id);
    return status;
}

static ald_status_t append_sequence(ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint8_t source = (uint8_t)sequence->source;
    ALD_TRY(column_append(writer, ALD_DATASET_SEQUENCE_ID, &sequence->id, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_SEQUENCE_SOURCE, &source, 1));
    ALD_TRY(text_append(writer, ALD_DATASET_PROMPT, sequence->prompt));
    ALD_TRY(text_append(writer, ALD_DATASET_RESPONSE, sequence->response));
    ALD_TRY(
        column_append(writer, ALD_DATASET_TOKEN_ID, sequence->prompt_ids, sequence->prompt_count));
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_ID, sequence->response_ids,
                          sequence->response_count));
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (writer->plans[i].used && ald_shard_datasets[i].rows == ALD_ROWS_R)
            ALD_TRY(column_append(
                writer, (ald_shard_dataset_t)i,
                ald_dataset_content(&writer->header, sequence, (ald_shard_dataset_t)i),
                sequence->response_count));
    writer->tokens += sequence->prompt_count + sequence->response_count;
    writer->positions += sequence->response_count;
    ALD_TRY(column_append(writer, ALD_DATASET_TOKEN_START, &writer->tokens, 1));
    ALD_TRY(column_append(writer, ALD_DATASET_RESPONSE_START, &writer->positions, 1));
done:
    return status;
}

/* Checks that the sequence has everything that the encoding needs. */
static ald_status_t check_sequence(const ald_shard_writer_t *writer, const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    bool whole = sequence->prompt != NULL && sequence->response != NULL &&
                 sequence->prompt_count >= 0 && sequence->response_count >= 0 &&
                 (sequence->prompt_ids != NULL || sequence->prompt_count == 0);
    for (int i = 0; i < ALD_DATASET_COUNT && sequence->response_count > 0; ++i)
        if (writer->plans[i].used && ald_shard_datasets[i].rows == ALD_ROWS_R &&
            i != ALD_DATASET_LOGPROB_POLICY)
            whole = whole &&
                    ald_dataset_content(&writer->header, sequence, (ald_shard_dataset_t)i) != NULL;
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
    ALD_TRY(check_values(writer, sequence));
    ALD_TRY(append_sequence(writer, sequence));
done:
    writer->spoiled = writer->spoiled || status != ALD_STATUS_OK;
    return status;
}

static void writer_free(ald_shard_writer_t *writer)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        ald_piece_free(writer->columns[i].piece);
    ald_free(writer->path);
    ald_free(writer->temporary);
    ald_free(writer);
}

/* Gives the sink what is gathered, and makes datasets that have no rows. */
static ald_status_t writer_finish(ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(texts_flush(writer, ALD_DATASET_PROMPT));
    ALD_TRY(texts_flush(writer, ALD_DATASET_RESPONSE));
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (writer->plans[i].used && ald_shard_datasets[i].type != ALD_COLUMN_TEXT &&
            (writer->columns[i].buffered > 0 || writer->columns[i].rows == 0))
            ALD_TRY(column_flush(writer, (ald_shard_dataset_t)i));
done:
    return status;
}

ald_status_t ald_shard_writer_commit(ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(!writer->spoiled, ALD_STATUS_INTERNAL, "%s: commit after a failure", writer->path);
    ALD_TRY(writer_finish(writer));
    status = ald_sink_close(writer->sink, true);
    writer->sink = NULL;
    ALD_TRY(status);
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
    char *message =
        ald_strdup(ald_status_message()); /* keeps the message of the failure that led here */
    ald_sink_close(writer->sink, false);
    if (message != NULL)
        ald_status_raise(ALD_STATUS_OK, "%s", message);
    ald_free(message);
    if (writer->temporary != NULL)
        unlink(writer->temporary);
    writer_free(writer);
}
