/* The file of a shard while it is written, by a thread that makes all calls of HDF5: the scorer
 * waits only when the disk is the limit. Private to src/shard. */
#ifndef ALD_SHARD_SINK_IMPL_H
#define ALD_SHARD_SINK_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "shard/format_impl.h"

enum {
    ALD_SINK_QUEUE = 16 << 20,  /* bytes that may wait for the disk: 16 of the largest chunks */
    ALD_SINK_LIBRARY = 8 << 20, /* what HDF5 itself may hold: its metadata, texts, a chunk */
    ALD_SINK_TEXTS = 128,       /* texts of a chunk, and of a piece at most: 2 KiB of heap ids */
};

/* A chunk, or some texts. */
typedef struct ald_piece ald_piece_t;
struct ald_piece {
    ald_piece_t *next;
    ald_shard_dataset_t dataset;
    int64_t row, column, rows; /* where it begins; 0 rows only make the dataset */
    size_t bytes, capacity;    /* to be stored, and allocated; both without the checksum */
    uint8_t *data;             /* elements as in the file, or texts, each with its NUL */
};

typedef struct ald_sink ald_sink_t;

/* Makes the file `temporary`, which messages call `path`, with the header's attributes. The header
 * is read before the return, the plans are copied. */
ald_status_t ald_sink_open(const char *path, const char *temporary,
                           const ald_shard_header_t *header,
                           const ald_column_plan_t plans[ALD_DATASET_COUNT], ald_sink_t **out);
/* Makes a piece with room for `bytes` and a checksum; NULL without memory. */
ald_piece_t *ald_sink_piece(ald_sink_t *sink, size_t bytes);
void ald_piece_free(ald_piece_t *piece); /* takes NULL */
/* Takes the piece over, also after a failure; pieces are stored in the order of the calls. Waits
 * while ALD_SINK_QUEUE is full. Returns what failed since the last call. */
ald_status_t ald_sink_put(ald_sink_t *sink, ald_piece_t *piece);
/* Waits until all pieces are stored, closes the file and frees the sink; with `keep` false the
 * pieces that wait are dropped. Fails if anything has failed. Takes NULL. */
ald_status_t ald_sink_close(ald_sink_t *sink, bool keep);

#endif
