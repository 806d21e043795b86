/* The stage `distill`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_DISTILL_H
#define ALD_PIPELINE_STAGE_DISTILL_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

ald_status_t ald_stage_distill(const ald_config_t *config, const ald_comm_t *world);

#endif
