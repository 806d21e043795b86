/* The loss of a position against K tokens of its teacher and one outcome for all others. Layer:
 * teacher. */
#ifndef ALD_TEACHER_TOPK_H
#define ALD_TEACHER_TOPK_H

#include <stdint.h>

#include "ald/teacher/divergence.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"

/* The same as ald_distill_row (ald/teacher/full.h), against a support. Local. */
ald_position_t ald_distill_topk_row(const ald_teacher_t *teacher, double factor, double scale,
                                    int64_t V, const ald_support_t *support, float *z);
/* Restricts a support to the first V tokens and normalises it again. Its tokens are then in `id`
 * [count] and `kept` [2 count]; tokens from V on that were in the tail can't be told, and stay in
 * it. Local. */
void ald_support_restrict(int64_t V, ald_support_t *support, int32_t *id, float *kept);

#endif
