/* Tokens as a shard has them: what it holds of each for any encoding, and of the teacher what the
 * encoding says. A column that would need a model stays out. */
#include "ald/tokens/scored.h"

#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "ald/num/ops.h"
#include "ald/shard/format.h"
#include "ald/teacher/sampled.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/rows.h"
#include "ald/tokens/table.h"

typedef struct {
    const ald_shard_header_t *header;
    const ald_teacher_t *teacher;
    const ald_scored_t *sequence;
    const ald_contrasted_t *contrast; /* of the shard */
    ald_tokens_t *tokens;
    ald_token_list_t *list;
} scored_t;

static ald_status_t put_column(const scored_t *s, ald_column_t column, const float *values)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_tokens_column(s->tokens, s->list, column));
    for (int64_t t = 0; t < s->list->count; ++t)
        s->list->value[column][t] = (double)values[t];
done:
    return status;
}

static bool any_sampled(const ald_scored_t *sequence)
{
    bool any = false;
    for (int64_t t = 0; t < sequence->response_count && sequence->logprob_policy != NULL; ++t)
        any = any || isfinite(sequence->logprob_policy[t]);
    return any;
}

static ald_status_t put_full(const scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = s->header->vocab_size;
    float *teacher = NULL;
    ALD_TRY(ald_token_rows_room(s->tokens, s->list, false));
    teacher = ald_alloc(sizeof *teacher * (size_t)V);
    ALD_CHECK_MEMORY(teacher, sizeof *teacher * (size_t)V);
    for (int64_t t = 0; t < s->list->count; ++t) {
        const ald_token_rows_t rows = {.V = V,
                                       .dpo = s->sequence->full_logprob_dpo + t * V,
                                       .ratio = s->contrast->full_log_ratio + t * V,
                                       .teacher = teacher};
        ald_token_rows_measure(s->teacher, &rows, s->list, t);
    }
done:
    ald_free(teacher);
    return status;
}

/* Position t of `topk`: K tokens and one outcome for all others, as training takes them. dpo, ratio
 * and q are [K + 1]. */
static void measure_support(const scored_t *s, int64_t t, float *dpo, float *ratio, float *q)
{
    const int64_t K = s->header->top_k;
    const int32_t *id = s->sequence->topk_id + t * K;
    const float tail = s->sequence->tail_dpo[t], tail_contrast = s->contrast->tail[t];
    const bool rest = isfinite(tail) && isfinite(tail_contrast);
    const double alpha = s->list->value[ALD_COLUMN_ALPHA][t];
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->sequence->topk_logprob + t * K, K, dpo);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->contrast->topk_log_ratio + t * K, K, ratio);
    ald_alternatives_pick(K, id, dpo, s->list->alternative[ALD_VOICE_DPO] + t * ALD_ALTERNATIVES);
    const float cutoff = ald_teacher_cutoff(s->teacher, K, dpo);
    dpo[K] = rest ? tail : 0.0f;
    ratio[K] = rest ? tail - tail_contrast : 0.0f;
    ald_teacher_extrapolate_row(K + rest, (float)ald_teacher_factor(s->teacher, alpha), cutoff,
                                (float)(1.0 / s->teacher->temperature), dpo, ratio, q);
    const float lse = ald_logsumexp(K + rest, q);
    for (int64_t k = 0; k < K; ++k) {
        q[k] -= lse;
        if (id[k] == s->list->ids[t])
            s->list->value[ALD_COLUMN_TEACHER][t] = (double)q[k];
    }
    ald_alternatives_pick(K, id, q, s->list->alternative[ALD_VOICE_TEACHER] + t * ALD_ALTERNATIVES);
}

static ald_status_t put_topk(const scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t K = (size_t)s->header->top_k;
    float *work = ald_alloc(sizeof *work * 3 * (K + 1));
    ALD_CHECK_MEMORY(work, sizeof *work * 3 * (K + 1));
    ALD_TRY(ald_tokens_column(s->tokens, s->list, ALD_COLUMN_TEACHER));
    ALD_TRY(ald_tokens_voice(s->tokens, s->list, ALD_VOICE_DPO));
    ALD_TRY(ald_tokens_voice(s->tokens, s->list, ALD_VOICE_TEACHER));
    for (int64_t t = 0; t < s->list->count; ++t)
        measure_support(s, t, work, work + K + 1, work + 2 * (K + 1));
done:
    ald_free(work);
    return status;
}

/* Position t of `sampled`: the draws' shares as training takes them. Each draw was made at its
 * token's own distance, so that they weigh the same unless alpha is of the whole response. They are
 * in the order of their ids. rows is [3, K], id and share are [K], for the work. */
static void measure_draws(const scored_t *s, int64_t t, float *rows, int32_t *id, double *share)
{
    const int64_t K = s->header->top_k;
    float *dpo = rows, *ratio = rows + K, *logprob = rows + 2 * K;
    const double alpha = s->list->value[ALD_COLUMN_ALPHA][t];
    const ald_draws_t draws = {K,
                               s->sequence->topk_id + t * K,
                               dpo,
                               ratio,
                               (double)s->sequence->proposal_factor[t],
                               (double)s->sequence->proposal_temperature[t],
                               (double)s->sequence->proposal_logz[t]};
    int64_t some = 0;
    double sum = 0.0;
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->sequence->topk_logprob + t * K, K, dpo);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->contrast->topk_log_ratio + t * K, K, ratio);
    ald_draws_shares(&draws, (double)(float)ald_teacher_factor(s->teacher, alpha),
                     s->teacher->temperature, s->header->vocab_size, share);
    for (int64_t k = 0; k < K; ++k) {
        sum += share[k];
        if (k + 1 < K && draws.id[k + 1] == draws.id[k])
            continue;
        id[some] = draws.id[k];
        logprob[some++] = (float)log(sum);
        sum = 0.0;
    }
    ald_alternatives_pick(some, id, logprob,
                          s->list->alternative[ALD_VOICE_TEACHER] + t * ALD_ALTERNATIVES);
}

static ald_status_t put_draws(const scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t K = (size_t)s->header->top_k;
    float *rows = ald_alloc(sizeof *rows * 3 * K);
    int32_t *id = ald_alloc(sizeof *id * K);
    double *share = ald_alloc(sizeof *share * K);
    ALD_CHECK(rows != NULL && id != NULL && share != NULL, ALD_STATUS_RESOURCE,
              "out of memory: %zu draws", K);
    ALD_TRY(ald_tokens_voice(s->tokens, s->list, ALD_VOICE_TEACHER));
    for (int64_t t = 0; t < s->list->count; ++t)
        measure_draws(s, t, rows, id, share);
done:
    ald_free(rows);
    ald_free(id);
    ald_free(share);
    return status;
}

/* By what is there: rows over the vocabulary, K tokens with a tail, draws, or none of these. */
static ald_status_t put_teacher(const scored_t *s)
{
    if (s->sequence->full_logprob_dpo != NULL)
        return put_full(s);
    if (s->sequence->topk_id != NULL)
        return s->sequence->tail_dpo != NULL ? put_topk(s) : put_draws(s);
    return ALD_STATUS_OK;
}

ald_status_t ald_tokens_scored(const ald_shard_header_t *header, const ald_teacher_t *teacher,
                               const ald_scored_t *sequence, int64_t row, ald_tokens_t *tokens)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrasted_t *contrast = &sequence->contrast[header->contrast],
                           *beside = &sequence->contrast[ALD_CONTRAST_REFERENCE];
    scored_t s = {header, teacher, sequence, contrast, tokens, NULL};
    ald_token_row_t *new;
    ALD_TRY(ald_tokens_add(tokens, row, sequence->prompt, &new));
    new->dataset_row = sequence->id;
    ALD_TRY(ald_tokens_respond(tokens, new, ald_source_name(sequence->source),
                               sequence->response_ids, sequence->response_count, &s.list));
    if (any_sampled(sequence))
        ALD_TRY(put_column(&s, ALD_COLUMN_POLICY, sequence->logprob_policy));
    ALD_TRY(put_column(&s, ALD_COLUMN_DPO, sequence->logprob_dpo));
    ALD_TRY(put_column(&s, ALD_COLUMN_CONTRAST, contrast->logprob));
    if (beside != contrast && beside->logprob != NULL)
        ALD_TRY(put_column(&s, ALD_COLUMN_REFERENCE, beside->logprob));
    ALD_TRY(ald_token_rows_compose(teacher, contrast->tvd, tokens, s.list));
    ALD_TRY(put_teacher(&s));
    ALD_TRY(ald_tokens_column(tokens, s.list, ALD_COLUMN_REWARD));
    ald_token_rows_reward(teacher, s.list);
done:
    return status;
}
