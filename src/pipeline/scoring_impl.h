/* Private to pipeline: scoring a data file into shards, for `score` and for `distill`. */
#ifndef ALD_PIPELINE_SCORING_IMPL_H
#define ALD_PIPELINE_SCORING_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/par/comm.h"
#include "ald/plan/memory.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"

/* Lists the sequences of a data file in their order: by row, chosen before rejected. `*out` is
 * freed by ald_free; *per_row becomes the number that a row gives. */
ald_status_t ald_scoring_list(const ald_config_t *config, const ald_dataset_t *data,
                              ald_scored_t **out, int64_t *count, int64_t *per_row);

/* Makes the shards of the file that are missing or damaged: shard k belongs to part k mod parts,
 * and within the part to a rank in turn. The set of shards depends on data and settings only. INPUT
 * for a shard that other models or settings made. Collective over `comm`. */
ald_status_t ald_scoring_run(ald_scorer_t *scorer, const ald_comm_t *comm,
                             const ald_dataset_t *data, int64_t part, int64_t parts);

/* What this scorer takes, of which micro-batches and positions are still to be filled in. */
ald_scoring_plan_t ald_scoring_plan(const ald_scorer_t *scorer);

#endif
