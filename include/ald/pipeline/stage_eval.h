/* The stage `eval`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_EVAL_H
#define ALD_PIPELINE_STAGE_EVAL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* `show`: the row whose per-token reward is printed, -1 for none. */
ald_status_t ald_stage_eval(const ald_config_t *config, const ald_comm_t *world, int64_t show);

#endif
