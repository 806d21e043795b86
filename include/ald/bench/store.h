/* Speed of the store: shards beside plain files of the same bytes. Layer: bench. */
#ifndef ALD_BENCH_STORE_H
#define ALD_BENCH_STORE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"

typedef struct {
    ald_encoding_t encoding;
    int64_t bytes, sequences, positions; /* of the shard */
    int64_t tokens;                      /* a sequence's response positions */
    /* medians, in seconds */
    double write, plain_write; /* until the file, and its name, is on the disk */
    double read, plain_read;   /* from the page cache: every sequence in order; 1 MiB pieces of the
                                  same file */
} ald_bench_store_t;

/* Writes shards of about `megabytes` in `folder`, of random numbers in the sizes of a model with
 * H 896 and V 151,936 at K 64, and reads them; writes plain files of the same bytes and reads
 * the shard's plainly in turn with them, `repeat` times; removes all. Local. */
ald_status_t ald_bench_store(const char *folder, ald_encoding_t encoding, int64_t megabytes,
                             int64_t repeat, ald_bench_store_t *out);

#endif
