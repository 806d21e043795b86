/* Sequences of shards for a trainer's micro-batches, read ahead of their use. Local. Layer: role.
 */
#ifndef ALD_ROLE_READER_H
#define ALD_ROLE_READER_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/train/loop.h"

typedef struct {
    const ald_comm_t *trainers;
    const ald_shardset_t *set;
    ald_readahead_t *ahead;
    int64_t sequences_read;
} ald_reader_t;

/* Starts reading from the set, which nobody else reads until the close. */
ald_status_t ald_reader_open(const ald_comm_t *trainers, ald_shardset_t *set, ald_reader_t *out);
void ald_reader_close(ald_reader_t *reader); /* takes a zeroed one */
/* Puts those of a step's `count` entries that this rank reads into mine[count], in their order, and
 * their number into *mine_count. */
ald_status_t ald_reader_share(const ald_comm_t *trainers, const ald_config_t *config,
                              const ald_shardset_t *set, const int64_t *entries, int64_t count,
                              int64_t *mine, int64_t *mine_count);
/* Has this rank's share of a step read ahead, behind what was planned before. */
ald_status_t ald_reader_plan(ald_reader_t *reader, const ald_config_t *config,
                             const int64_t *entries, int64_t count);
/* Reads and packs items [first, first + count) of a step into the arena: nothing here depends on a
 * run's settings. */
ald_status_t ald_reader_read(ald_reader_t *reader, const ald_items_t *items, int64_t first,
                             int64_t count, ald_arena_t *arena, const void **out);

#endif
