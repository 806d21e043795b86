/* Private to teacher: the rows of the table of encodings, and what encodings with K tokens share.
 */
#ifndef ALD_TEACHER_ENCODING_IMPL_H
#define ALD_TEACHER_ENCODING_IMPL_H

#include <stdint.h>

#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/encoding.h"

extern const ald_encoding_row_t ald_row_full, ald_row_hidden, ald_row_hidden32, ald_row_topk,
    ald_row_sampled;

/* Stores K chosen tokens at position r, in the columns that `topk` and `sampled` share. */
void ald_choice_store(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                      const ald_choice_t *choice);
/* Reads those columns at a position of a sequence as floats, [K] each. */
void ald_choice_widen(const ald_lesson_t *lesson, const ald_scored_t *sequence, int64_t at,
                      float *logprob, float *ratio);

#endif
