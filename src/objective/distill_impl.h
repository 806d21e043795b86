/* Private to objective: the sums of a step of distillation, and what its signals have in the table
 * of distill.c. */
#ifndef ALD_OBJECTIVE_DISTILL_IMPL_H
#define ALD_OBJECTIVE_DISTILL_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/objective/distill.h"
#include "ald/record/metrics.h"
#include "ald/shard/format.h"
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
    ALD_SUM_ADVANTAGE,
    ALD_SUM_SQUARE, /* of advantages */
    ALD_SUM_BY_TOKEN,
};

/* The method: `micro` and `metrics` of "distribution". */
ald_status_t ald_distill_micro(void *state, const ald_micro_t *micro);
ald_status_t ald_distill_metrics(void *state, const ald_items_t *items, const double *columns,
                                 ald_metrics_t *metrics);
/* Policy gradients: `look`, `ready` (collective), `micro` and `metrics` of "token" and "sequence".
 */
ald_status_t ald_policy_gradient_look(ald_distiller_t *distiller);
ald_status_t ald_policy_gradient_ready(ald_distiller_t *distiller);
ald_status_t ald_policy_gradient_micro(void *state, const ald_micro_t *micro);
ald_status_t ald_policy_gradient_metrics(void *state, const ald_items_t *items,
                                         const double *columns, ald_metrics_t *metrics);
/* INPUT for a token of the sequence that the policy lacks, since shards may know more tokens. */
ald_status_t ald_distill_check_ids(const ald_distiller_t *distiller, int64_t entry,
                                   const ald_scored_t *sequence);

#endif
