/* Rows of one dataset of a shard that may be hostile, chunk by chunk: HDF5 only hands out the
 * stored bytes; checksum, inflating and unshuffling are our own, so that neither costs more memory
 * than a chunk. Private to src/shard. */
#ifndef ALD_SHARD_CHUNK_IMPL_H
#define ALD_SHARD_CHUNK_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "shard/format_impl.h"

enum {
    ALD_CHUNK_MOST = 16 << 20, /* bytes of a chunk; ours have 1 MiB at most */
    ALD_CHUNK_KEPT = 3 << 19,  /* a chunk up to here, ours and half as much again, stays in memory
                                  for the next read */
    ALD_CHUNK_FILTERS = 3,     /* deflate, shuffle and Fletcher-32, each once */
    ALD_DEFLATE_GAIN_MOST = 1100, /* deflate can't shrink data further: its limit is 1032 */
};

typedef struct {
    const char *file, *name; /* for messages; borrowed */
    hid_t dataset, type;     /* -1: not open */
    int64_t rows, width;     /* of the dataset; width in elements */
    size_t size;             /* of an element */
    int64_t chunk_rows, chunk_width;
    H5Z_filter_t filters[ALD_CHUNK_FILTERS]; /* as in writing */
    int filter_count;
    uint8_t *chunk; /* the chunk read last, decoded; NULL: none */
    int64_t chunk_at[2];
} ald_chunked_t;

/* Checks layout and filters of the open dataset, whose rows and width are set: chunks of a sane
 * size in this file, enough of them stored, no filters but ours, a checksum unless it is of texts.
 */
ald_status_t ald_chunked_check(ald_chunked_t *column, const ald_dataset_info_t *info,
                               int64_t file_size);
/* Reads the rows [first, first + rows), which must exist, in the file's form, or with `widen`
 * halves as float32. INPUT naming file and dataset for a damaged chunk. */
ald_status_t ald_chunked_read(ald_chunked_t *column, int64_t first, int64_t rows, bool widen,
                              void *out);
/* Closes the dataset and forgets its chunk. */
void ald_chunked_close(ald_chunked_t *column);

#endif
