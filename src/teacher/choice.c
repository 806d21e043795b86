/* The K tokens of a position while they are chosen and stored. Encodings with K tokens share the
 * scratch memory of the choice and the columns that the tokens are stored in. */
#include "ald/teacher/choice.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "ald/shard/format.h"
#include "ald/teacher/encoding.h"
#include "teacher/encoding_impl.h"

ald_status_t ald_choice_init(int64_t V, int64_t K, ald_choice_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t bytes = sizeof(double) * (size_t)K + sizeof(float) * 2 * (size_t)(V + K);
    *out = (ald_choice_t){.uniforms = ald_alloc(bytes)};
    ALD_CHECK_MEMORY(out->uniforms, bytes);
    out->logprob = (float *)(out->uniforms + K);
    out->ratio = out->logprob + K;
    out->key = out->ratio + K;
    out->id = (int32_t *)(out->key + V);
done:
    return status;
}

void ald_choice_reset(ald_choice_t *choice)
{
    ald_free(choice->uniforms);
    *choice = (ald_choice_t){0};
}

void ald_choice_store(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                      const ald_choice_t *choice)
{
    const int64_t K = scoring->header->top_k;
    uint16_t *logprob = (uint16_t *)scoring->all.topk_logprob + r * K;
    uint16_t *ratio = (uint16_t *)scoring->all.contrast[contrast].topk_log_ratio + r * K;
    if (contrast == scoring->header->contrast)
        ald_dtype_row_from_f32(choice->logprob, K, ALD_DTYPE_F16, logprob);
    ald_dtype_row_from_f32(choice->ratio, K, ALD_DTYPE_F16, ratio);
}

void ald_choice_widen(const ald_lesson_t *lesson, const ald_scored_t *sequence, int64_t at,
                      float *logprob, float *ratio)
{
    const int64_t K = lesson->header->top_k;
    const ald_contrasted_t *contrast = ald_lesson_contrast(lesson, sequence);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, sequence->topk_logprob + at * K, K, logprob);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, contrast->topk_log_ratio + at * K, K, ratio);
}
