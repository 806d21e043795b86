/* The columns of a position from rows over the vocabulary. The sums are in double: a page shows
 * differences of nearly equal models, and speed is the forwards'. */
#include "ald/tokens/rows.h"

#include <math.h>

#include "ald/base/status.h"
#include "ald/num/ops.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/table.h"

ald_status_t ald_token_rows_room(ald_tokens_t *tokens, ald_token_list_t *list, bool policy)
{
    static const ald_column_t always[] = {ALD_COLUMN_REWARD, ALD_COLUMN_TEACHER,
                                          ALD_COLUMN_ENTROPY_TEACHER, ALD_COLUMN_ENTROPY_DPO};
    static const ald_column_t students[] = {ALD_COLUMN_POLICY, ALD_COLUMN_EXPECTED,
                                            ALD_COLUMN_KL_TEACHER, ALD_COLUMN_KL_DPO,
                                            ALD_COLUMN_ENTROPY};
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < sizeof always / sizeof *always; ++i)
        ALD_TRY(ald_tokens_column(tokens, list, always[i]));
    for (size_t i = 0; policy && i < sizeof students / sizeof *students; ++i)
        ALD_TRY(ald_tokens_column(tokens, list, students[i]));
    for (int v = 0; v < ALD_VOICES; ++v)
        if (v != ALD_VOICE_POLICY || policy)
            ALD_TRY(ald_tokens_voice(tokens, list, (ald_voice_t)v));
done:
    return status;
}

ald_status_t ald_token_rows_compose(const ald_teacher_t *teacher, const float *tvd,
                                    ald_tokens_t *tokens, ald_token_list_t *list)
{
    static const ald_column_t filled[] = {ALD_COLUMN_TVD, ALD_COLUMN_ALPHA, ALD_COLUMN_WEIGHT};
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < sizeof filled / sizeof *filled; ++i)
        ALD_TRY(ald_tokens_column(tokens, list, filled[i]));
    double *alpha = list->value[ALD_COLUMN_ALPHA];
    ald_teacher_alphas(teacher, list->count, tvd, alpha);
    for (int64_t t = 0; t < list->count; ++t) {
        list->value[ALD_COLUMN_TVD][t] = (double)tvd[t];
        list->value[ALD_COLUMN_WEIGHT][t] = ald_teacher_weight(teacher, alpha[t]);
    }
done:
    return status;
}

static void normalise(int64_t V, float *row)
{
    const float lse = ald_logsumexp(V, row);
    for (int64_t v = 0; v < V; ++v)
        row[v] -= lse;
}

/* sum_v p(v) value; a token without mass adds nothing, whatever its logarithm is. */
#define EXPECTED(V, logprob, value)                                                                \
    ({                                                                                             \
        double sum_ = 0.0;                                                                         \
        for (int64_t v = 0; v < (V); ++v) {                                                        \
            const double p_ = exp((double)(logprob)[v]);                                           \
            sum_ += p_ > 0.0 ? p_ * (double)(value) : 0.0;                                         \
        }                                                                                          \
        sum_;                                                                                      \
    })

static void measure_student(const ald_teacher_t *teacher, const ald_token_rows_t *rows,
                            ald_token_list_t *list, int64_t t)
{
    const float *p = rows->policy, *dpo = rows->dpo, *ratio = rows->ratio, *q = rows->teacher;
    normalise(rows->V, rows->policy);
    list->value[ALD_COLUMN_POLICY][t] = p[list->ids[t]];
    list->value[ALD_COLUMN_ENTROPY][t] = -EXPECTED(rows->V, p, p[v]);
    list->value[ALD_COLUMN_EXPECTED][t] = teacher->beta * EXPECTED(rows->V, p, ratio[v]);
    list->value[ALD_COLUMN_KL_DPO][t] = EXPECTED(rows->V, p, p[v] - dpo[v]);
    list->value[ALD_COLUMN_KL_TEACHER][t] = EXPECTED(rows->V, p, p[v] - q[v]);
    ald_alternatives_pick(rows->V, NULL, p,
                          list->alternative[ALD_VOICE_POLICY] + t * ALD_ALTERNATIVES);
}

void ald_token_rows_measure(const ald_teacher_t *teacher, const ald_token_rows_t *rows,
                            ald_token_list_t *list, int64_t t)
{
    const int64_t V = rows->V;
    const float *dpo = rows->dpo, *q = rows->teacher;
    const double alpha = list->value[ALD_COLUMN_ALPHA][t];
    ald_teacher_extrapolate_row(
        V, (float)ald_teacher_factor(teacher, alpha), ald_teacher_cutoff(teacher, V, dpo),
        (float)(1.0 / teacher->temperature), dpo, rows->ratio, rows->teacher);
    normalise(V, rows->teacher);
    list->value[ALD_COLUMN_TEACHER][t] = q[list->ids[t]];
    list->value[ALD_COLUMN_ENTROPY_TEACHER][t] = -EXPECTED(V, q, q[v]);
    list->value[ALD_COLUMN_ENTROPY_DPO][t] = -EXPECTED(V, dpo, dpo[v]);
    ald_alternatives_pick(V, NULL, q, list->alternative[ALD_VOICE_TEACHER] + t * ALD_ALTERNATIVES);
    ald_alternatives_pick(V, NULL, dpo, list->alternative[ALD_VOICE_DPO] + t * ALD_ALTERNATIVES);
    if (rows->policy != NULL)
        measure_student(teacher, rows, list, t);
}

void ald_token_rows_reward(const ald_teacher_t *teacher, ald_token_list_t *list)
{
    for (int64_t t = 0; t < list->count; ++t)
        list->value[ALD_COLUMN_REWARD][t] =
            teacher->beta * (list->value[ALD_COLUMN_DPO][t] - list->value[ALD_COLUMN_CONTRAST][t]);
}
