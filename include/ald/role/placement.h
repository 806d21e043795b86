/* Which rank plays which role. Layer: role. */
#ifndef ALD_ROLE_PLACEMENT_H
#define ALD_ROLE_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"

/* A run of ranks [first, first + count). */
typedef struct {
    int first, count;
} ald_ranks_t;

typedef struct {
    ald_ranks_t trainers, scorers, generators; /* trainers begin with rank 0 */
} ald_placement_t;

/* roles.* over `size` ranks. Numbers that are set get ranks of their own: trainers from the first
 * rank on, generators at the end, scorers before them. A role left at 0 (automatic) shares the
 * ranks that nobody claimed, or all ranks when none is left. So on one rank, or with nothing set,
 * every rank takes every role in turn, which keeps all of them busy when max_staleness is 0. USAGE
 * when more ranks are asked for than there are. Local, the same on every rank. */
ald_status_t ald_placement_make(const ald_config_t *config, int size, ald_placement_t *out);
/* The items of a step are scored in blocks of so many, by whole blocks to a scorer: small enough
 * that scoring begins while others are still sampled, large enough that products have rows to work
 * on, and the same on any number of ranks. Local. */
int64_t ald_placement_block(const ald_config_t *config);
/* How many scorers have a block of a step of so many items: each of them writes a shard of the
 * step, the others nothing. Local. */
int64_t ald_placement_shards(const ald_config_t *config, const ald_placement_t *place,
                             int64_t items);
bool ald_ranks_have(const ald_ranks_t *ranks, int rank);

#endif
