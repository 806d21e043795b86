/* Reads rows of one dataset chunk by chunk. HDF5 only hands out the stored bytes: they are
 * verified, inflated and unshuffled here, as its filters believe the sizes that a file claims. */
#include "shard/chunk_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/gzip.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"
#include "ald/record/h5.h"
#include "ald/shard/fletcher.h"
#include "shard/format_impl.h"

#define RAISE(...) ald_status_raise(ALD_STATUS_INPUT, __VA_ARGS__)

static size_t chunk_bytes(const ald_chunked_t *column)
{
    return (size_t)(column->chunk_rows * column->chunk_width) * column->size;
}

static bool has_filter(const ald_chunked_t *column, H5Z_filter_t filter)
{
    for (int i = 0; i < column->filter_count; ++i)
        if (column->filters[i] == filter)
            return true;
    return false;
}

/* Takes the filters of the dataset: only those that we write, each once at most. A plugin would be
 * foreign code. */
static ald_status_t take_filters(ald_chunked_t *column, const ald_dataset_info_t *info, hid_t list)
{
    ald_status_t status = ALD_STATUS_OK;
    const int count = H5Pget_nfilters(list);
    ALD_H5(count, column->file, column->name);
    column->filter_count = 0;
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
                  column->file, column->name, (int)filter);
        ALD_CHECK(!has_filter(column, filter), ALD_STATUS_INPUT,
                  "%s: %s: expected filter %d once, found it again", column->file, column->name,
                  (int)filter);
        column->filters[column->filter_count++] = filter;
    }
    if (info->type == ALD_COLUMN_TEXT)
        ALD_CHECK(column->filter_count == 0, ALD_STATUS_INPUT, "%s: %s: expected no filters",
                  column->file, column->name);
    else
        ALD_CHECK(has_filter(column, H5Z_FILTER_FLETCHER32), ALD_STATUS_INPUT,
                  "%s: %s: expected a Fletcher-32 checksum", column->file, column->name);
done:
    return status;
}

static ald_status_t take_layout(ald_chunked_t *column, hid_t list)
{
    ald_status_t status = ALD_STATUS_OK;
    hsize_t chunk[2] = {1, 1};
    ALD_CHECK(H5Pget_layout(list) == H5D_CHUNKED, ALD_STATUS_INPUT,
              "%s: %s: expected chunks in this file", column->file, column->name);
    ALD_H5(H5Pget_chunk(list, 2, chunk), column->file, column->name);
    ALD_CHECK(chunk[0] > 0 && chunk[1] > 0 && chunk[0] <= ALD_CHUNK_MOST &&
                  chunk[1] <= ALD_CHUNK_MOST &&
                  chunk[0] * chunk[1] <= ALD_CHUNK_MOST / column->size,
              ALD_STATUS_INPUT, "%s: %s: expected chunks of at most %d bytes", column->file,
              column->name, ALD_CHUNK_MOST);
    column->chunk_rows = (int64_t)chunk[0];
    column->chunk_width = (int64_t)chunk[1];
done:
    return status;
}

/* Checks that the bytes of all rows are in the file, before anything is allocated by the number of
 * rows. Only /teacher may be compressed, so datasets that are read as a whole can't be larger than
 * the file. */
static ald_status_t check_stored(const ald_chunked_t *column, int64_t file_size)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool deflated = has_filter(column, H5Z_FILTER_DEFLATE);
    const hsize_t stored = H5Dget_storage_size(column->dataset);
    const double needed = (double)column->rows * (double)column->width * (double)column->size;
    ALD_CHECK(!deflated || strncmp(column->name, "/teacher/", 9) == 0, ALD_STATUS_INPUT,
              "%s: %s: expected compression in /teacher alone", column->file, column->name);
    ALD_CHECK(stored <= (hsize_t)file_size &&
                  (double)stored * (deflated ? ALD_DEFLATE_GAIN_MOST : 1) >= needed,
              ALD_STATUS_INPUT, "%s: %s: %lld rows need %.0f bytes, but %llu are stored",
              column->file, column->name, (long long)column->rows, needed,
              (unsigned long long)stored);
done:
    return status;
}

ald_status_t ald_chunked_check(ald_chunked_t *column, const ald_dataset_info_t *info,
                               int64_t file_size)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1;
    ALD_H5(list = H5Dget_create_plist(column->dataset), column->file, column->name);
    ALD_TRY(take_layout(column, list));
    ALD_TRY(take_filters(column, info, list));
    ALD_TRY(check_stored(column, file_size));
done:
    H5Pclose(list);
    return status;
}

void ald_chunked_close(ald_chunked_t *column)
{
    if (column->dataset >= 0)
        H5Dclose(column->dataset);
    if (column->type >= 0)
        H5Tclose(column->type);
    column->dataset = column->type = -1;
    ald_free(column->chunk);
    column->chunk = NULL;
}

/* --- decoding --------------------------------------------------------------------------------- */

static ald_status_t verify(const ald_chunked_t *column, const uint8_t *data, size_t *bytes)
{
    if (*bytes < ALD_FLETCHER_BYTES)
        return RAISE("%s: %s: a chunk of %zu bytes", column->file, column->name, *bytes);
    *bytes -= ALD_FLETCHER_BYTES;
    if (ald_fletcher32(data, *bytes) != ald_fletcher32_get(data + *bytes))
        return RAISE("%s: %s: the data is damaged (its Fletcher-32 checksum doesn't match)",
                     column->file, column->name);
    return ALD_STATUS_OK;
}

/* Inflates a chunk into at most `room` bytes. */
static ald_status_t inflate_into(const ald_chunked_t *column, const uint8_t *from, size_t bytes,
                                 uint8_t *to, size_t room, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_status_t got = ald_zlib_expand(from, bytes, to, room, out);
    ALD_CHECK(got != ALD_STATUS_RESOURCE, ALD_STATUS_RESOURCE, "out of memory: inflating %s",
              column->file);
    ALD_CHECK(got == ALD_STATUS_OK, ALD_STATUS_INPUT,
              "%s: %s: a compressed chunk is damaged or larger than %zu bytes", column->file,
              column->name, room);
done:
    return status;
}

/* Undoes HDF5's shuffle: byte b of element i lies at b * elements + i, and the bytes that make no
 * whole element stay as they are. */
static void unshuffle(const uint8_t *from, size_t bytes, size_t size, uint8_t *to)
{
    const size_t elements = bytes / size;
    for (size_t b = 0; b < size; ++b)
        for (size_t i = 0; i < elements; ++i)
            to[i * size + b] = from[b * elements + i];
    memcpy(to + elements * size, from + elements * size, bytes - elements * size);
}

/* Undoes the filters from the last to the first, between two buffers of `room` bytes. *data becomes
 * the one with the result. */
static ald_status_t decode(const ald_chunked_t *column, uint8_t *buffers[2], size_t room,
                           size_t bytes, uint8_t **data)
{
    ald_status_t status = ALD_STATUS_OK;
    int at = 0;
    for (int i = column->filter_count - 1; i >= 0; --i) {
        if (column->filters[i] == H5Z_FILTER_FLETCHER32) {
            ALD_TRY(verify(column, buffers[at], &bytes));
            continue;
        }
        if (column->filters[i] == H5Z_FILTER_DEFLATE)
            ALD_TRY(inflate_into(column, buffers[at], bytes, buffers[1 - at], room, &bytes));
        else
            unshuffle(buffers[at], bytes, column->size, buffers[1 - at]);
        at = 1 - at;
    }
    ALD_CHECK(bytes == chunk_bytes(column), ALD_STATUS_INPUT,
              "%s: %s: expected chunks of %zu bytes, found one of %zu", column->file, column->name,
              chunk_bytes(column), bytes);
    *data = buffers[at];
done:
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_plain(const ald_chunked_t *column)
{
    return !has_filter(column, H5Z_FILTER_DEFLATE) && !has_filter(column, H5Z_FILTER_SHUFFLE);
}

/* The bytes that the chunk at `at` takes in the file; incompressible data grows a little when
 * deflated. */
static ald_status_t stored_bytes(const ald_chunked_t *column, const hsize_t *at, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t plain = chunk_bytes(column);
    const size_t sum = has_filter(column, H5Z_FILTER_FLETCHER32) ? ALD_FLETCHER_BYTES : 0;
    const bool deflated = has_filter(column, H5Z_FILTER_DEFLATE);
    hsize_t stored = 0;
    haddr_t address;
    unsigned mask;
    if (column->filter_count > 0)
        ALD_H5(H5Dget_chunk_storage_size(column->dataset, at, &stored), column->file, column->name);
    else /* the call above gives the size that it should have; H5Dread_chunk reads what is there */
        ALD_H5(H5Dget_chunk_info_by_coord(column->dataset, at, &mask, &address, &stored),
               column->file, column->name);
    ALD_CHECK(deflated ? stored > 0 && stored <= plain + plain / 256 + 64 : stored == plain + sum,
              ALD_STATUS_INPUT, "%s: %s: chunk at row %llu: expected %zu bytes, found %llu",
              column->file, column->name, (unsigned long long)at[0], plain + sum,
              (unsigned long long)stored);
    *out = stored;
done:
    return status;
}

static ald_status_t fetch(const ald_chunked_t *column, const hsize_t *at, uint8_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint32_t mask = 0;
    ALD_H5(H5Dread_chunk(column->dataset, H5P_DEFAULT, at, &mask, out), column->file, column->name);
    ALD_CHECK(mask == 0, ALD_STATUS_INPUT, "%s: %s: a chunk without its filters", column->file,
              column->name);
done:
    return status;
}

static void forget_chunk(ald_chunked_t *column)
{
    ald_free(column->chunk);
    column->chunk = NULL;
}

/* Reads a chunk that isn't compressed into `out`, checksum included. */
static ald_status_t fetch_plain(const ald_chunked_t *column, const hsize_t *at, uint8_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t stored = 0;
    uint8_t *buffers[2] = {out, NULL}, *data;
    ALD_TRY(stored_bytes(column, at, &stored));
    ALD_TRY(fetch(column, at, out));
    ALD_TRY(decode(column, buffers, 0, stored, &data));
done:
    return status;
}

static ald_status_t load_plain(ald_chunked_t *column, const hsize_t *at)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t room = chunk_bytes(column) + ALD_FLETCHER_BYTES;
    if (column->chunk == NULL)
        column->chunk = ald_alloc(room);
    ALD_CHECK_MEMORY(column->chunk, room);
    ALD_TRY(fetch_plain(column, at, column->chunk));
done:
    if (status != ALD_STATUS_OK)
        forget_chunk(column);
    return status;
}

static ald_status_t load_compressed(ald_chunked_t *column, const hsize_t *at)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t stored = 0, room = chunk_bytes(column) + ALD_FLETCHER_BYTES;
    uint8_t *buffers[2] = {NULL, NULL}, *data = NULL;
    forget_chunk(column);
    ALD_TRY(stored_bytes(column, at, &stored));
    room = stored > room ? stored : room;
    buffers[0] = ald_alloc(room);
    buffers[1] = ald_alloc(room);
    ALD_CHECK(buffers[0] != NULL && buffers[1] != NULL, ALD_STATUS_RESOURCE,
              "out of memory: a chunk of %s", column->file);
    ALD_TRY(fetch(column, at, buffers[0]));
    ALD_TRY(decode(column, buffers, room, stored, &data));
    column->chunk = data;
done:
    for (int i = 0; i < 2; ++i)
        if (buffers[i] != column->chunk)
            ald_free(buffers[i]);
    return status;
}

static bool is_loaded(const ald_chunked_t *column, int64_t row, int64_t left)
{
    return column->chunk != NULL && column->chunk_at[0] == row && column->chunk_at[1] == left;
}

/* Loads the chunk that begins at this row and column. */
static ald_status_t load_chunk(ald_chunked_t *column, int64_t row, int64_t left)
{
    const hsize_t at[2] = {(hsize_t)row, (hsize_t)left};
    if (is_loaded(column, row, left))
        return ALD_STATUS_OK;
    ald_status_t status = is_plain(column) ? load_plain(column, at) : load_compressed(column, at);
    column->chunk_at[0] = row;
    column->chunk_at[1] = left;
    return status;
}

static void copy(const ald_chunked_t *column, const uint8_t *from, int64_t elements, bool widen,
                 uint8_t *to)
{
    if (widen)
        ald_dtype_row_to_f32(ALD_DTYPE_F16, from, elements, (float *)to);
    else
        memcpy(to, from, (size_t)elements * column->size);
}

/* From the chunk in memory, rows [first, end) of those wanted from `from` on, into place. */
static void copy_rows(const ald_chunked_t *column, int64_t first, int64_t end, int64_t from,
                      bool widen, uint8_t *out)
{
    const size_t size = widen ? sizeof(float) : column->size;
    const int64_t left = column->chunk_at[1], most = column->width - left;
    const int64_t width = most < column->chunk_width ? most : column->chunk_width;
    const uint8_t *chunk =
        column->chunk +
        (size_t)((first - column->chunk_at[0]) * column->chunk_width) * column->size;
    uint8_t *to = out + (size_t)((first - from) * column->width + left) * size;
    if (width == column->width && width == column->chunk_width) {
        copy(column, chunk, (end - first) * width, widen, to);
        return;
    }
    for (int64_t row = first; row < end; ++row) {
        copy(column, chunk, width, widen, to);
        to += (size_t)column->width * size;
        chunk += (size_t)column->chunk_width * column->size;
    }
}

/* Whether all of the chunk at `row` is wanted in the file's form, and isn't in memory yet. */
static bool is_whole(const ald_chunked_t *column, int64_t row, int64_t first, int64_t end)
{
    return is_plain(column) && column->width == column->chunk_width && row >= first &&
           row + column->chunk_rows <= end && !is_loaded(column, row, 0);
}

ald_status_t ald_chunked_read(ald_chunked_t *column, int64_t first, int64_t rows, bool widen,
                              void *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t end = first + rows;
    for (int64_t row = first - first % column->chunk_rows; row < end; row += column->chunk_rows) {
        const int64_t low = row > first ? row : first;
        const int64_t high = row + column->chunk_rows < end ? row + column->chunk_rows : end;
        if (!widen &&
            is_whole(column, row, first, end)) { /* the next rows overwrite its checksum */
            const hsize_t at[2] = {(hsize_t)row, 0};
            uint8_t *to = (uint8_t *)out + (size_t)((row - first) * column->width) * column->size;
            ALD_TRY(fetch_plain(column, at, to));
            continue;
        }
        for (int64_t left = 0; left < column->width; left += column->chunk_width) {
            ALD_TRY(load_chunk(column, row, left));
            copy_rows(column, low, high, first, widen, out);
        }
    }
    if (chunk_bytes(column) > ALD_CHUNK_KEPT)
        forget_chunk(column);
done:
    return status;
}
