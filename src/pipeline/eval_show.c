/* Rows of data.eval, token by token: what models, teacher and student make of both responses. One
 * rank measures them, as few rows are looked at. */
#include <string.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/role/measure.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/models.h"
#include "ald/tokens/table.h"
#include "ald/tokens/write.h"
#include "pipeline/eval_impl.h"

/* The row with that number in the file, which may have been left out. */
static ald_status_t find_row(const ald_eval_t *e, int64_t number, const ald_pair_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_pairs_t *pairs = &e->data.pairs;
    const int64_t last = pairs->rows[pairs->count - 1].line - 1;
    int64_t i = 0;
    ALD_CHECK(number <= last, ALD_STATUS_USAGE, "--show %lld: %s has rows 0 to %lld",
              (long long)number, e->config->data.eval, (long long)last);
    while (pairs->rows[i].line - 1 < number)
        ++i;
    *out = &pairs->rows[i];
    ALD_CHECK((*out)->line - 1 == number, ALD_STATUS_USAGE,
              "--show %lld: that row of %s is empty or was left out", (long long)number,
              e->config->data.eval);
    ALD_CHECK(ald_eval_has_pair(*out), ALD_STATUS_INPUT,
              "%s:%lld: expected \"chosen\" and \"rejected\"", e->config->data.eval,
              (long long)(*out)->line);
done:
    return status;
}

static ald_status_t add_row(const ald_tokens_models_t *models, const ald_pair_t *row,
                            ald_tokens_t *tokens)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_item_t item = ald_item_of(row, &row->chosen, &row->rejected);
    const ald_text_t *responses[] = {&row->chosen, &row->rejected};
    static const char *const names[] = {"chosen", "rejected"};
    ald_token_row_t *new;
    ald_token_list_t *list;
    ALD_TRY(ald_tokens_add(tokens, row->line - 1, row->prompt.text, &new));
    for (int k = 0; k < 2; ++k)
        ALD_TRY(ald_tokens_respond(tokens, new, names[k], responses[k]->ids, responses[k]->count,
                                   &list));
    ALD_TRY(ald_tokens_measure(models, &item, tokens, new));
done:
    return status;
}

ald_status_t ald_eval_show(const ald_eval_t *e, const ald_eval_show_t *show)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_t *const *views = e->measure.models;
    ald_teacher_t teacher;
    ald_teacher_rule_t rule;
    const ald_pair_t *row = NULL;
    ald_tokens_t tokens;
    ald_teacher_init(e->config, &teacher);
    ald_teacher_describe(&teacher, &rule);
    const ald_tokens_models_t models = {.policy =
                                            e->config->eval.teacher ? NULL : views[ALD_VIEW_POLICY],
                                        .dpo = views[ALD_VIEW_DPO],
                                        .contrast = views[ALD_VIEW_CONTRAST],
                                        .reference = views[ALD_VIEW_REFERENCE],
                                        .teacher = &teacher};
    ald_tokens_init(e->data.tokenizer, e->config->data.eval, rule.text, &tokens);
    for (int64_t i = 0; i < show->count; ++i)
        for (int64_t r = show->rows[i].first; r <= show->rows[i].last; ++r) {
            ALD_TRY(find_row(e, r, &row));
            ALD_TRY(add_row(&models, row, &tokens));
        }
    ALD_TRY(ald_tokens_write(&tokens, show->format, show->path));
done:
    ald_tokens_reset(&tokens);
    return status;
}
