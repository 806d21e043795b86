/* Several distillations over one set of shards. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_SWEEP_H
#define ALD_PIPELINE_STAGE_SWEEP_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/sweep.h"
#include "ald/par/comm.h"

/* Trains every run of the sweep off-policy on the shards of `config`, which it never makes, into
 * distill.output/NAME; reads them once for all runs that draw alike. Writes sweep.json and sweep.md
 * into distill.output and prints the table. Runs that an earlier call finished with the same
 * settings on the same content are kept. */
ald_status_t ald_stage_sweep(const ald_config_t *config, const ald_sweep_t *sweep,
                             const ald_comm_t *world);

#endif
