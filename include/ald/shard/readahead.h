/* Sequences of a set read ahead of their use, by a thread. Local. Layer: shard. */
#ifndef ALD_SHARD_READAHEAD_H
#define ALD_SHARD_READAHEAD_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "ald/shard/set.h"

enum {
    ALD_READAHEAD_BYTES = 128 << 20, /* of ready sequences: one of `full` can have as many */
    ALD_READAHEAD_COUNT = 64,        /* ready sequences, however small they are */
};

typedef struct ald_readahead ald_readahead_t;

/* Starts the thread, which alone reads from the set until the close. */
ald_status_t ald_readahead_open(ald_shardset_t *set, ald_readahead_t **out);
void ald_readahead_close(ald_readahead_t *ahead); /* takes NULL */
/* Appends entries to the order in which they will be asked for. */
ald_status_t ald_readahead_plan(ald_readahead_t *ahead, const int64_t *entries, int64_t count);
/* The sequence of an entry, which waits until it's read. Its memory stays until the next release.
 * An entry that isn't the next one of the plan ends the plan. Fails as ald_shard_read does. */
ald_status_t ald_readahead_take(ald_readahead_t *ahead, int64_t entry, ald_scored_t *out);
void ald_readahead_release(ald_readahead_t *ahead);
/* Seconds spent waiting in take since the open. */
double ald_readahead_waited(const ald_readahead_t *ahead);
/* The most memory in bytes that is ready or being read while the plan holds no others than these
 * entries, in this order, not yet taken; `kept` is what earlier ones left for their use
 * (ald_readahead_kept; 0: none were). What was taken and not yet released comes on top. */
int64_t ald_readahead_bytes(const ald_shardset_t *set, const int64_t *entries, int64_t count,
                            int64_t kept);
/* Bytes that the memory of a sequence may have had before it is used again, once these entries have
 * been taken and `kept` was the most before them. */
int64_t ald_readahead_kept(const ald_shardset_t *set, const int64_t *entries, int64_t count,
                           int64_t kept);

#endif
