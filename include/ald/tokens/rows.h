/* The columns of a position that follow from rows over the vocabulary, wherever these come from.
 * V vocabulary. Local. Layer: tokens. */
#ifndef ALD_TOKENS_ROWS_H
#define ALD_TOKENS_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/table.h"

/* [V] each. */
typedef struct {
    int64_t V;
    const float *dpo, *ratio; /* log pi_dpo, log pi_dpo - log pi_contrast */
    float *policy;            /* the student's logits; become log-probabilities. NULL: no student */
    float *teacher;           /* scratch memory; becomes log-probabilities */
} ald_token_rows_t;

/* Room for the columns and the alternatives that `measure` below fills. */
ald_status_t ald_token_rows_room(ald_tokens_t *tokens, ald_token_list_t *list, bool policy);
/* Columns of the distances tvd [R]: these, alpha as training takes it, and the weight. */
ald_status_t ald_token_rows_compose(const ald_teacher_t *teacher, const float *tvd,
                                    ald_tokens_t *tokens, ald_token_list_t *list);
/* Position t, whose alpha is there. */
void ald_token_rows_measure(const ald_teacher_t *teacher, const ald_token_rows_t *rows,
                            ald_token_list_t *list, int64_t t);
/* The column of rewards, which has room, from those of the DPO model and the contrast. */
void ald_token_rows_reward(const ald_teacher_t *teacher, ald_token_list_t *list);

#endif
