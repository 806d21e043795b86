/* The stage `dpo`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_DPO_H
#define ALD_PIPELINE_STAGE_DPO_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

ald_status_t ald_stage_dpo(const ald_config_t *config, const ald_comm_t *world);

#endif
