/* Steps of one trainer, or of several on the same sequences. Layer: role. */
#ifndef ALD_ROLE_TRAINER_STEP_H
#define ALD_ROLE_TRAINER_STEP_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/record/metrics.h"
#include "ald/role/trainer.h"
#include "ald/shard/set.h"

/* One step on `count` sequences of a set. The metrics lack only what the caller knows (waits). */
ald_status_t ald_trainer_step(ald_trainer_t *trainer, ald_shardset_t *set, const int64_t *entries,
                              int64_t count, double epoch, ald_metrics_t *metrics);
/* The same for several trainers at once, of one communicator, seed, batch_size and
 * micro_batch_tokens: each sequence is read once and used by all, whose results are those of steps
 * taken alone. metrics[n]; their `seconds` are those of the whole step. */
ald_status_t ald_trainer_steps(ald_trainer_t *const *trainers, int64_t n, ald_shardset_t *set,
                               const int64_t *entries, int64_t count, double epoch,
                               ald_metrics_t *metrics);

#endif
