/* The stage `generate`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_GENERATE_H
#define ALD_PIPELINE_STAGE_GENERATE_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

ald_status_t ald_stage_generate(const ald_config_t *config, const ald_comm_t *world);

#endif
