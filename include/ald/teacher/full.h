/* The exact loss of a position against a teacher over the whole vocabulary. Layer: teacher. */
#ifndef ALD_TEACHER_FULL_H
#define ALD_TEACHER_FULL_H

#include <stdint.h>

#include "ald/teacher/divergence.h"
#include "ald/teacher/teacher.h"

/* logprob_dpo and log_ratio are [V] and are overwritten; z [V], the student's logits, becomes
 * scale * d(divergence)/dz. `factor` is a of the teacher. Local. */
ald_position_t ald_distill_row(const ald_teacher_t *teacher, double factor, double scale, int64_t V,
                               float *logprob_dpo, float *log_ratio, float *z);

#endif
