/* Private to teacher: the rows of the table of encodings, one a file. */
#ifndef ALD_TEACHER_ENCODING_IMPL_H
#define ALD_TEACHER_ENCODING_IMPL_H

#include <stdint.h>

#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/encoding.h"

extern const ald_encoding_row_t ald_row_full, ald_row_hidden, ald_row_hidden32, ald_row_topk,
    ald_row_sampled;

/* K chosen tokens into the columns that topk and draws share, at position r. */
void ald_choice_store(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                      const ald_choice_t *choice);
/* Those columns of a sequence's position as floats, [K] each. */
void ald_choice_widen(const ald_lesson_t *lesson, const ald_scored_t *sequence, int64_t at,
                      float *logprob, float *ratio);

#endif
