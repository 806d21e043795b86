/* Writes chunks into the file on a thread, with a checksum of our own: HDF5's filter costs half
 * of the speed. The dataset still declares Fletcher-32, and any reader verifies it. */
#include "shard/sink_impl.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "ald/shard/fletcher.h"
#include "shard/format_impl.h"

enum {
    FLUSH = 32 << 20,  /* bytes after which the disk is told to begin: few are left at the end */
    CONVERSION = 4096, /* bytes; by default HDF5 clears 2 MiB for each text */
    MESSAGE = 1024,    /* as long as a status message can be */
};

typedef struct {
    hid_t dataset, type; /* -1: not yet made */
    int64_t rows;        /* in the file */
} stored_t;

struct ald_sink {
    const char *path, *temporary; /* borrowed */
    ald_shard_header_t header;    /* `config` is borrowed, until the file is made */
    ald_column_plan_t plans[ALD_DATASET_COUNT];
    pthread_t thread;
    pthread_mutex_t lock; /* of the members up to `closing` */
    pthread_cond_t more, room, made;
    ald_piece_t *first, *last, *spare;
    size_t held; /* bytes of the pieces in both lists */
    ald_status_t status;
    char message[MESSAGE];
    bool ready, closing;
    hid_t file, transfer; /* from here on, used by the thread alone */
    int descriptor;       /* of the file */
    size_t unflushed;
    stored_t stored[ALD_DATASET_COUNT];
};

/* --- HDF5, on the thread ---------------------------------------------------------------------- */

static const char *name_of(ald_shard_dataset_t dataset)
{
    return ald_shard_datasets[dataset].path;
}

static int rank_of(ald_shard_dataset_t dataset)
{
    return ald_shard_datasets[dataset].width == ALD_WIDTH_1 ? 1 : 2;
}

/* Makes the creation properties: chunks, for /teacher shuffle and gzip on request, then the
 * checksum.
 */
static ald_status_t make_properties(const ald_sink_t *sink, ald_shard_dataset_t dataset,
                                    const hsize_t *chunk, hid_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = sink->path, *name = name_of(dataset);
    ALD_H5(*out = ald_h5_dataset_properties(), path, name);
    ALD_H5(H5Pset_chunk(*out, rank_of(dataset), chunk), path, name);
    ALD_H5(H5Pset_fill_time(*out, H5D_FILL_TIME_ALLOC), path, name);
    if (sink->plans[dataset].filtered) {
        ALD_H5(H5Pset_shuffle(*out), path, name);
        ALD_H5(H5Pset_deflate(*out, 1), path, name);
    }
    if (ald_shard_datasets[dataset].type != ALD_COLUMN_TEXT)
        ALD_H5(H5Pset_fletcher32(*out), path, name);
done:
    return status;
}

/* Writes the attributes that say which matrix makes logits of hidden states. */
static ald_status_t put_head(const ald_sink_t *sink, ald_shard_dataset_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_head_digest_t *head = ald_dataset_head(&ald_shard_datasets[dataset], &sink->header);
    const hid_t object = sink->stored[dataset].dataset;
    if (head->sha256[0] == '\0')
        return status;
    ALD_TRY(ald_h5_put_text(object, sink->path, "final_norm", "applied"));
    ALD_TRY(ald_h5_put_text(object, sink->path, "output_matrix_sha256", head->sha256));
    ALD_TRY(ald_h5_put_text(object, sink->path, "output_matrix_dtype", head->dtype));
done:
    return status;
}

/* Makes the dataset, without rows yet. */
static ald_status_t make_dataset(ald_sink_t *sink, ald_shard_dataset_t dataset, int64_t chunk_rows)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = sink->path, *name = name_of(dataset);
    const ald_column_plan_t *plan = &sink->plans[dataset];
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const hsize_t size[2] = {0, (hsize_t)plan->width};
    const hsize_t most[2] = {H5S_UNLIMITED, (hsize_t)plan->width};
    const hsize_t chunk[2] = {(hsize_t)chunk_rows, (hsize_t)plan->chunk_width};
    stored_t *stored = &sink->stored[dataset];
    hid_t space = -1, list = -1;
    ALD_H5(stored->type = ald_column_h5_type(type), path, name);
    ALD_H5(space = H5Screate_simple(rank_of(dataset), size, most), path, name);
    ALD_TRY(make_properties(sink, dataset, chunk, &list));
    ALD_H5(stored->dataset =
               H5Dcreate2(sink->file, name, stored->type, space, H5P_DEFAULT, list, H5P_DEFAULT),
           path, name);
    if (type == ALD_COLUMN_BF16)
        ALD_TRY(ald_h5_put_text(stored->dataset, path, "dtype", "bfloat16"));
    if (ald_shard_datasets[dataset].width == ALD_WIDTH_H)
        ALD_TRY(put_head(sink, dataset));
done:
    H5Pclose(list);
    H5Sclose(space);
    return status;
}

static ald_status_t extend(ald_sink_t *sink, ald_shard_dataset_t dataset, int64_t rows)
{
    ald_status_t status = ALD_STATUS_OK;
    stored_t *stored = &sink->stored[dataset];
    const hsize_t size[2] = {(hsize_t)rows, (hsize_t)sink->plans[dataset].width};
    if (rows > stored->rows) /* a row may come in several pieces */
        ALD_H5(H5Dset_extent(stored->dataset, size), sink->path, name_of(dataset));
    stored->rows = rows;
done:
    return status;
}

/* Writes rows through HDF5's filters and conversions. */
static ald_status_t write_rows(ald_sink_t *sink, const ald_piece_t *piece, const void *data)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = sink->path, *name = name_of(piece->dataset);
    const stored_t *stored = &sink->stored[piece->dataset];
    const ald_column_plan_t *plan = &sink->plans[piece->dataset];
    const int64_t left = plan->width - piece->column;
    const hsize_t start[2] = {(hsize_t)piece->row, (hsize_t)piece->column};
    const hsize_t count[2] = {(hsize_t)piece->rows,
                              (hsize_t)(left < plan->chunk_width ? left : plan->chunk_width)};
    hid_t space = -1, memory = -1;
    ALD_H5(space = H5Dget_space(stored->dataset), path, name);
    ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), path, name);
    ALD_H5(memory = H5Screate_simple(rank_of(piece->dataset), count, NULL), path, name);
    ALD_H5(H5Dwrite(stored->dataset, stored->type, memory, space, sink->transfer, data), path,
           name);
done:
    H5Sclose(memory);
    H5Sclose(space);
    return status;
}

/* Lets the disk begin with what is written so far, so that the commit waits for little. Errors show
 * at the commit. */
static void begin_flush(ald_sink_t *sink, size_t bytes)
{
    sink->unflushed += bytes;
    if (sink->unflushed < FLUSH)
        return;
    sync_file_range(sink->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
    sink->unflushed = 0;
}

/* Writes texts, for which HDF5 wants an array of pointers. */
static ald_status_t write_texts(ald_sink_t *sink, const ald_piece_t *piece)
{
    const char *rows[ALD_SINK_TEXTS], *at = (const char *)piece->data;
    for (int64_t i = 0; i < piece->rows; ++i) {
        rows[i] = at;
        at += strlen(at) + 1;
    }
    return write_rows(sink, piece, rows);
}

static ald_status_t write_chunk(ald_sink_t *sink, const ald_piece_t *piece)
{
    ald_status_t status = ALD_STATUS_OK;
    const hsize_t offset[2] = {(hsize_t)piece->row, (hsize_t)piece->column};
    ALD_H5(H5Dwrite_chunk(sink->stored[piece->dataset].dataset, H5P_DEFAULT, 0, offset,
                          piece->bytes + ALD_FLETCHER_BYTES, piece->data),
           sink->path, name_of(piece->dataset));
    begin_flush(sink, piece->bytes);
done:
    return status;
}

/* Stores a piece. A first piece that is smaller than a chunk is also the last one; the chunks of
 * its dataset are then of its size, so that small shards stay small. */
static ald_status_t store(ald_sink_t *sink, const ald_piece_t *piece)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_plan_t *plan = &sink->plans[piece->dataset];
    const bool text = ald_shard_datasets[piece->dataset].type == ALD_COLUMN_TEXT;
    if (sink->stored[piece->dataset].dataset < 0)
        ALD_TRY(make_dataset(sink, piece->dataset, piece->rows > 0 ? piece->rows : 1));
    if (piece->rows == 0)
        return status;
    ALD_TRY(extend(sink, piece->dataset, piece->row + piece->rows));
    if (text)
        ALD_TRY(write_texts(sink, piece));
    else if (plan->filtered)
        ALD_TRY(write_rows(sink, piece, piece->data));
    else
        ALD_TRY(write_chunk(sink, piece));
done:
    return status;
}

static ald_status_t make_file(ald_sink_t *sink)
{
    ald_status_t status = ALD_STATUS_OK;
    void *handle = NULL;
    ald_h5_begin();
    ALD_TRY(ald_h5_create(sink->temporary, ald_shard_alignment(&sink->header), &sink->file));
    ALD_H5(H5Fget_vfd_handle(sink->file, H5P_DEFAULT, &handle), sink->path, "create");
    sink->descriptor = *(const int *)handle;
    ALD_H5(sink->transfer = H5Pcreate(H5P_DATASET_XFER), sink->path, "create");
    ALD_H5(H5Pset_buffer(sink->transfer, CONVERSION, NULL, NULL), sink->path, "create");
    ALD_TRY(ald_shard_put_root(sink->file, sink->path, ALD_SHARD_FORMAT_NAME, &sink->header));
    ALD_TRY(make_dataset(sink, ALD_DATASET_PROMPT, ALD_SINK_TEXTS));
    ALD_TRY(make_dataset(sink, ALD_DATASET_RESPONSE, ALD_SINK_TEXTS));
done:
    return status;
}

/* Closes everything that is open, each id once also after a failure; the first failure is kept. */
static ald_status_t close_file(ald_sink_t *sink, ald_status_t status)
{
    if (status == ALD_STATUS_OK && H5Fflush(sink->file, H5F_SCOPE_GLOBAL) < 0)
        status = ald_h5_raise(sink->path, "cannot write");
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        stored_t *stored = &sink->stored[i];
        if (stored->dataset >= 0 && H5Dclose(stored->dataset) < 0 && status == ALD_STATUS_OK)
            status = ald_h5_raise(sink->path, name_of((ald_shard_dataset_t)i));
        if (stored->type >= 0)
            H5Tclose(stored->type);
    }
    H5Pclose(sink->transfer);
    if (sink->file >= 0 && H5Fclose(sink->file) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(sink->path, "cannot write");
    return status;
}

/* --- the queue -------------------------------------------------------------------------------- */

/* Under the lock: keeps the first failure, with this thread's message. */
static void record(ald_sink_t *sink, ald_status_t status)
{
    if (status == ALD_STATUS_OK || sink->status != ALD_STATUS_OK)
        return;
    sink->status = status;
    snprintf(sink->message, sizeof sink->message, "%s", ald_status_message());
}

/* Under the lock: the next piece; NULL when none will come. */
static ald_piece_t *take(ald_sink_t *sink)
{
    while (sink->first == NULL && !sink->closing)
        pthread_cond_wait(&sink->more, &sink->lock);
    ald_piece_t *piece = sink->first;
    if (piece != NULL)
        sink->first = piece->next;
    return piece;
}

static void *sink_thread(void *context)
{
    ald_sink_t *sink = context;
    ald_status_t status = make_file(sink);
    pthread_mutex_lock(&sink->lock);
    record(sink, status);
    sink->ready = true;
    pthread_cond_signal(&sink->made);
    for (ald_piece_t *piece; (piece = take(sink)) != NULL;) {
        const bool works = sink->status == ALD_STATUS_OK;
        pthread_mutex_unlock(&sink->lock);
        status = works ? store(sink, piece) : ALD_STATUS_OK;
        pthread_mutex_lock(&sink->lock);
        record(sink, status);
        piece->next = sink->spare;
        sink->spare = piece;
        pthread_cond_signal(&sink->room);
    }
    record(sink, close_file(sink, sink->status));
    pthread_mutex_unlock(&sink->lock);
    return NULL;
}

static void free_list(ald_piece_t *piece)
{
    while (piece != NULL) {
        ald_piece_t *next = piece->next;
        ald_piece_free(piece);
        piece = next;
    }
}

static void sink_free(ald_sink_t *sink)
{
    free_list(sink->first);
    free_list(sink->spare);
    pthread_cond_destroy(&sink->more);
    pthread_cond_destroy(&sink->room);
    pthread_cond_destroy(&sink->made);
    pthread_mutex_destroy(&sink->lock);
    ald_free(sink);
}

/* Starts the thread with all signals blocked: they go to the threads that were there before. */
static ald_status_t start_thread(ald_sink_t *sink)
{
    ald_status_t status = ALD_STATUS_OK;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&sink->thread, NULL, sink_thread, sink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ALD_CHECK(error == 0, ALD_STATUS_RESOURCE, "%s: no thread to write it: %s", sink->path,
              strerror(error));
done:
    return status;
}

ald_status_t ald_sink_open(const char *path, const char *temporary,
                           const ald_shard_header_t *header,
                           const ald_column_plan_t plans[ALD_DATASET_COUNT], ald_sink_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sink_t *sink = ald_calloc(1, sizeof *sink);
    *out = NULL;
    ALD_CHECK_MEMORY(sink, sizeof *sink);
    sink->path = path;
    sink->temporary = temporary;
    sink->header = *header;
    sink->file = sink->transfer = -1;
    memcpy(sink->plans, plans, sizeof sink->plans);
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        sink->stored[i].dataset = sink->stored[i].type = -1;
    pthread_mutex_init(&sink->lock, NULL);
    pthread_cond_init(&sink->more, NULL);
    pthread_cond_init(&sink->room, NULL);
    pthread_cond_init(&sink->made, NULL);
    status = start_thread(sink);
    if (status != ALD_STATUS_OK) {
        sink_free(sink);
        return status;
    }
    pthread_mutex_lock(&sink->lock);
    while (!sink->ready)
        pthread_cond_wait(&sink->made, &sink->lock);
    pthread_mutex_unlock(&sink->lock);
    if (sink->status != ALD_STATUS_OK)
        return ald_sink_close(sink, false);
    *out = sink;
done:
    return status;
}

void ald_piece_free(ald_piece_t *piece)
{
    if (piece != NULL)
        ald_free(piece->data);
    ald_free(piece);
}

static ald_piece_t *piece_new(size_t bytes)
{
    ald_piece_t *piece = ald_calloc(1, sizeof *piece);
    if (piece == NULL)
        return NULL;
    piece->capacity = bytes;
    piece->data = ald_alloc(bytes + ALD_FLETCHER_BYTES);
    if (piece->data != NULL)
        return piece;
    ald_free(piece);
    return NULL;
}

ald_piece_t *ald_sink_piece(ald_sink_t *sink, size_t bytes)
{
    ald_piece_t *found = NULL;
    pthread_mutex_lock(&sink->lock);
    for (ald_piece_t **at = &sink->spare; *at != NULL && found == NULL;) {
        if ((*at)->capacity == bytes) {
            found = *at;
            *at = found->next;
            sink->held -= bytes;
        } else {
            at = &(*at)->next;
        }
    }
    pthread_mutex_unlock(&sink->lock);
    if (found == NULL)
        return piece_new(bytes);
    *found = (ald_piece_t){.capacity = bytes, .data = found->data};
    return found;
}

/* Under the lock: waits until `bytes` more may be held, or until nothing is held. */
static void make_room(ald_sink_t *sink, size_t bytes)
{
    while (sink->held > 0 && sink->held + bytes > ALD_SINK_QUEUE) {
        ald_piece_t *spare = sink->spare;
        if (spare == NULL) {
            pthread_cond_wait(&sink->room, &sink->lock);
            continue;
        }
        sink->spare = spare->next;
        sink->held -= spare->capacity;
        ald_piece_free(spare);
    }
}

ald_status_t ald_sink_put(ald_sink_t *sink, ald_piece_t *piece)
{
    if (ald_shard_datasets[piece->dataset].type != ALD_COLUMN_TEXT &&
        !sink->plans[piece->dataset].filtered)
        ald_fletcher32_put(piece->data + piece->bytes, ald_fletcher32(piece->data, piece->bytes));
    pthread_mutex_lock(&sink->lock);
    make_room(sink, piece->capacity);
    sink->held += piece->capacity;
    piece->next = NULL;
    if (sink->first == NULL)
        sink->first = piece;
    else
        sink->last->next = piece;
    sink->last = piece;
    const ald_status_t status = sink->status;
    pthread_cond_signal(&sink->more);
    pthread_mutex_unlock(&sink->lock);
    return status == ALD_STATUS_OK ? status : ald_status_raise(status, "%s", sink->message);
}

ald_status_t ald_sink_close(ald_sink_t *sink, bool keep)
{
    if (sink == NULL)
        return ALD_STATUS_OK;
    pthread_mutex_lock(&sink->lock);
    if (!keep && sink->status == ALD_STATUS_OK) { /* the thread drops the pieces that wait */
        sink->status = ALD_STATUS_INTERNAL;
        snprintf(sink->message, sizeof sink->message, "%s: given up", sink->path);
    }
    sink->closing = true;
    pthread_cond_signal(&sink->more);
    pthread_mutex_unlock(&sink->lock);
    pthread_join(sink->thread, NULL);
    ald_status_t status = sink->status;
    if (status != ALD_STATUS_OK)
        ald_status_raise(status, "%s", sink->message);
    sink_free(sink);
    return status;
}
