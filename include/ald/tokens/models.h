/* Tokens as models see them: every column and all alternatives, over the whole vocabulary. Layer:
 * tokens. */
#ifndef ALD_TOKENS_MODELS_H
#define ALD_TOKENS_MODELS_H

#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/table.h"

/* All of one ald_model_vocabulary; policy and reference may be NULL. */
typedef struct {
    const ald_model_t *policy, *dpo, *contrast, *reference;
    const ald_teacher_t *teacher; /* the settings that the teacher is composed by */
} ald_tokens_models_t;

/* Fills in the columns of the row's responses, which are those of the item in their order. alpha is
 * what training takes: of a token's own distance, or of the response's mean. Local. */
ald_status_t ald_tokens_measure(const ald_tokens_models_t *models, const ald_item_t *item,
                                ald_tokens_t *tokens, ald_token_row_t *row);

#endif
