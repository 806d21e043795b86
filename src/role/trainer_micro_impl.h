/* What a trainer's micro-batch does, between the code of the loss and that of a step. Private to
 * src/role. */
#ifndef ALD_ROLE_TRAINER_MICRO_IMPL_H
#define ALD_ROLE_TRAINER_MICRO_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/train/engine.h"

/* Sums of a step over its sequences or positions. */
enum {
    COLUMN_LOSS,
    COLUMN_SEQUENCES,
    COLUMN_POSITIONS,
    COLUMN_KL_TEACHER,
    COLUMN_KL_DPO,
    COLUMN_ALPHA,
    COLUMN_TVD,
    COLUMN_WEIGHT,
    COLUMN_REWARD,
    COLUMN_ON_POLICY,
    COLUMN_WAIT,
    COLUMN_CERTIFIED,
    COLUMN_ERROR,
    COLUMN_ERROR_KL,
};

/* An ald_micro_fn of the engine, with the trainer as context: loss, gradients and sums of the
 * micro-batch in trainer->reading, whose items are [first, first + count) of the step. */
ald_status_t ald_trainer_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
                               double *columns);

#endif
