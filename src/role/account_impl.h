/* The account of an on-policy run: what each role has worked, who held up the others, and which
 * split of the ranks would have done better. */
#ifndef ROLE_ACCOUNT_IMPL_H
#define ROLE_ACCOUNT_IMPL_H

#include "ald/config/choices.h"
#include "ald/record/metrics.h"
#include "ald/role/placement.h"
#include "role/work_impl.h"

#define ALD_ROLE_COUNT 3 /* of ald_role_t, those that say something */

typedef struct {
    double work[ALD_ROLE_COUNT]; /* seconds of the busiest rank, summed over the steps */
} ald_account_t;

/* Adds a step's shifts and sets their metrics: wait/ROLE, work/ROLE, throughput/ROLE (tokens a
 * second). */
void ald_account_add(ald_account_t *account, const ald_shift_t shifts[ALD_ROLE_COUNT],
                     ald_metrics_t *metrics);
/* One line: the bottleneck of a run of so many seconds, and the better split. Nothing where a rank
 * has several roles or no step was taken. */
void ald_account_say(const ald_account_t *account, const ald_placement_t *place, int64_t staleness,
                     double seconds);

#endif
