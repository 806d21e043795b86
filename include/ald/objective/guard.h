/* The guard against over-optimisation, distill.guard: moving averages of a run's response length
 * and of its KL to pi_dpo, and what is done when one is above its limit. Layer: objective.
 *
 * An average is m <- 0.9 m + 0.1 x from the first step's value on. The length counts over the first
 * step's, the KL in nats per token. The averages are among the numbers that checkpoints keep
 * (ald_engine_t.kept), and metrics are the same on all trainers: a run that was stopped, or that
 * has other ranks, does the same at the same steps. */
#ifndef ALD_OBJECTIVE_GUARD_H
#define ALD_OBJECTIVE_GUARD_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"

/* USAGE for limits that a run of this configuration can't have. Local. */
ald_status_t ald_guard_check(const ald_config_t *config);
/* r of the step at hand: teacher.strength, as far as the guard has reduced it. */
double ald_guard_strength(const ald_engine_t *engine);
/* Takes the step's response_length and kl/dpo from the metrics, sets guard/length_ratio, guard/kl
 * and guard/strength, and acts: warns once as long as an average stays above its limit; multiplies
 * r by 0.8, at most once in ten steps; or makes this step the last one. Local, the same on all
 * trainers. */
void ald_guard_step(ald_engine_t *engine, ald_metrics_t *metrics);

#endif
