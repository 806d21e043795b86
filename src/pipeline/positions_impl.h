/* Private to pipeline: sequences against the positions that models have learnt. */
#ifndef ALD_PIPELINE_POSITIONS_IMPL_H
#define ALD_PIPELINE_POSITIONS_IMPL_H

#include <stdint.h>

#include "ald/data/dataset.h"
#include "ald/shard/set.h"

/* Tokens of the longest of the first `rows` rows: its prompt with its longest response, or with
 * `sampled` new ones. */
int64_t ald_longest_row(const ald_dataset_t *data, int64_t rows, int64_t sampled);
/* Tokens of a set's longest sequence. */
int64_t ald_longest_entry(const ald_shardset_t *set);
/* Warns of each of `count` model directories ("": none) whose max_position_embeddings are fewer
 * than `longest`, naming both; of a directory once. Local; the rank that logs says it. */
void ald_positions_warn(const char *const *directories, int64_t count, int64_t longest);

#endif
