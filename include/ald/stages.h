/* The stages: what a command does with a checked configuration. Each is collective over the world
 * and returns the same status on every rank. Layer: pipeline. */
#ifndef ALD_STAGES_H
#define ALD_STAGES_H

#include "ald/comm.h"
#include "ald/config.h"
#include "ald/status.h"
#include "ald/sweep.h"

ald_status_t ald_stage_sft(const ald_config_t *config, const ald_comm_t *world);
ald_status_t ald_stage_dpo(const ald_config_t *config, const ald_comm_t *world);
/* `part` of `parts` (a Slurm array's task): this run makes the shards k with k mod parts = part. */
ald_status_t ald_stage_score(const ald_config_t *config, const ald_comm_t *world, int64_t part,
                             int64_t parts);
ald_status_t ald_stage_generate(const ald_config_t *config, const ald_comm_t *world);
ald_status_t ald_stage_distill(const ald_config_t *config, const ald_comm_t *world);
/* Trains every run of the sweep off-policy on the shards of `config`, which it never makes, into
 * distill.output/NAME; reads them once for all runs that draw alike. Writes sweep.json and sweep.md
 * into distill.output and prints the table. Runs that an earlier call finished with the same
 * settings on the same content are kept. */
ald_status_t ald_stage_sweep(const ald_config_t *config, const ald_sweep_t *sweep,
                             const ald_comm_t *world);
/* `show`: the row whose per-token reward is printed, -1 for none. */
ald_status_t ald_stage_eval(const ald_config_t *config, const ald_comm_t *world, int64_t show);

#endif
