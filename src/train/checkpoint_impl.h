/* What writing and reading checkpoints share. Layer: train. */
#ifndef ALD_TRAIN_CHECKPOINT_IMPL_H
#define ALD_TRAIN_CHECKPOINT_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/train/engine.h"

/* The path of OUTPUT/checkpoints (step 0), or of a step's folder in it with `suffix` appended;
 * freed by ald_free, NULL without memory. */
char *ald_checkpoint_path(const ald_engine_t *engine, int64_t step, const char *suffix);
/* The steps of the finished checkpoints, in the order of the names; freed by ald_free. */
int64_t *ald_checkpoint_steps(const ald_engine_t *engine, size_t *count);
/* `code`, naming the file, unless this trainer's moments can be gone on with: finite, and no square
 * below 0. */
ald_status_t ald_checkpoint_check_moments(const ald_optimizer_t *optimizer, const float *m,
                                          const float *v, const char *path, ald_status_t code);

#endif
