/* The differences between two sets of shards in content: attributes, sequences, datasets. How the
 * sets are cut into files makes no difference. Layer: shard. */
#ifndef ALD_SHARD_DIFF_H
#define ALD_SHARD_DIFF_H

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/shard/set.h"

/* Sets in `report`: "equal"; "attributes", texts "NAME: A | B" of the first files' headers and of
 * each line of their configurations; "sequences_a", "sequences_b", "only_in_a", "only_in_b" (by row
 * and source); "differing", sequences that are in both and not the same; "datasets", an array of
 * {"dataset", "sequences", "first_row", "largest"} with the largest difference of numbers. INPUT
 * for a damaged shard. Local. */
ald_status_t ald_shard_diff(ald_shardset_t *a, ald_shardset_t *b, ald_json_t *report);

#endif
