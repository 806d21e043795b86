/* The stage `score`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_SCORE_H
#define ALD_PIPELINE_STAGE_SCORE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* `part` of `parts` (a Slurm array's task): this run makes the shards k with k mod parts = part. */
ald_status_t ald_stage_score(const ald_config_t *config, const ald_comm_t *world, int64_t part,
                             int64_t parts);

#endif
