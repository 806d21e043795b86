/* Private to objective: the sums of a step of distillation, and two functions of its row in the
 * table of objectives. */
#ifndef ALD_OBJECTIVE_DISTILL_IMPL_H
#define ALD_OBJECTIVE_DISTILL_IMPL_H

#include "ald/base/status.h"
#include "ald/record/metrics.h"
#include "ald/train/loop.h"

/* Sums of a step over its sequences or positions. */
enum {
    ALD_SUM_LOSS,
    ALD_SUM_SEQUENCES,
    ALD_SUM_POSITIONS,
    ALD_SUM_KL_TEACHER,
    ALD_SUM_KL_DPO,
    ALD_SUM_ALPHA,
    ALD_SUM_TVD,
    ALD_SUM_WEIGHT,
    ALD_SUM_REWARD,
    ALD_SUM_ON_POLICY,
    ALD_SUM_WAIT,
    ALD_SUM_CERTIFIED,
    ALD_SUM_ERROR,
    ALD_SUM_ERROR_KL,
    ALD_SUM_BY_TOKEN,
};

/* The row's `micro` and `metrics`. */
ald_status_t ald_distill_micro(void *state, const ald_micro_t *micro);
ald_status_t ald_distill_metrics(void *state, const ald_items_t *items, const double *columns,
                                 ald_metrics_t *metrics);

#endif
