/* The largest micro-batches that a job will make, which is what its memory follows. All local.
 * Layer: plan. */
#ifndef ALD_PLAN_MICRO_H
#define ALD_PLAN_MICRO_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"

/* T: tokens of the micro-batch that has the most; R: response positions of that which has the most
 * of those. */
typedef struct {
    int64_t T, R;
    int64_t limit, tokens, positions; /* of the micro-batch at hand */
    int64_t micros;                   /* that there were */
    double all_tokens, all_positions; /* of them all */
} ald_micro_most_t;

/* Zeroes; `limit`: optimizer.micro_batch_tokens. */
void ald_micro_most_init(int64_t limit, ald_micro_most_t *out);
/* The next item of a step, cut as ald_micro_split does. */
void ald_micro_most_add(ald_micro_most_t *most, int64_t tokens, int64_t positions);
/* The step, or shard, is over: what comes next begins a micro-batch. */
void ald_micro_most_end(ald_micro_most_t *most);

/* What a row of a stage's data is in a batch, or may become at most; its ids aren't looked at. */
typedef ald_item_t (*ald_plan_item_fn)(const void *context, int64_t row);
/* The largest of `steps` steps over rows [0, count), drawn as in training. RESOURCE without memory.
 */
ald_status_t ald_micro_most_rows(const ald_config_t *config, int64_t steps, int64_t count,
                                 ald_plan_item_fn item, const void *context, ald_micro_most_t *out);
/* The largest of scored shards of `per_shard` sequences, in which the `per_row` sequences of a row
 * share their prompt; *positions becomes those of the largest shard. `item` has one response. */
void ald_micro_most_shards(ald_plan_item_fn item, const void *context, int64_t count,
                           int64_t per_shard, int64_t per_row, ald_micro_most_t *most,
                           int64_t *positions);
/* Sequences of a shard: whole rows, as shards.sequences_per_shard allows. */
int64_t ald_plan_per_shard(const ald_config_t *config, int64_t per_row);

#endif
