/* Encoding `full`: the rows of both models over the whole vocabulary, and the exact loss. It
 * needs most memory, and is what the tests hold every other encoding to. */
#include "ald/teacher/full.h"

#include <string.h>

#include "ald/config/choices.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "teacher/encoding_impl.h"

/* Replaces z by the student's log-probabilities, and log pi_dpo by the teacher's logits (log pi_dpo
 * + a ratio) / tau. Sums reward and KL to pi_dpo in the same pass. */
ALD_KERNEL(void, compose,
           (int64_t V, float lse, float a, float cutoff, float inverse_tau, float *z,
            float *logprob_dpo, const float *log_ratio, double *reward, double *kl_dpo),
           (V, lse, a, cutoff, inverse_tau, z, logprob_dpo, log_ratio, reward, kl_dpo))
{
    double r = 0.0, k = 0.0;
    for (int64_t start = 0; start < V; start += 4096) {
        int64_t end = start + 4096 < V ? start + 4096 : V;
        float rs = 0.0f, ks = 0.0f;
#pragma omp simd reduction(+ : rs, ks)
        for (int64_t v = start; v < end; ++v) {
            float lp = z[v] - lse, p = ald_expf(lp), ld = logprob_dpo[v], ratio = log_ratio[v];
            rs += p * ratio;
            ks += p * (lp - ld);
            z[v] = lp;
            logprob_dpo[v] =
                (ld + ald_plausible_factor(ld, ratio, a, cutoff) * ratio) * inverse_tau;
        }
        r += rs;
        k += ks;
    }
    *reward = r;
    *kl_dpo = k;
}

ald_position_t ald_distill_row(const ald_teacher_t *teacher, double factor, double scale, int64_t V,
                               float *logprob_dpo, float *log_ratio, float *z)
{
    const ald_divergence_row_t *row = ald_divergence_row(teacher->divergence);
    ald_position_t out = {0};
    ald_sums_t sums = {0};
    compose(V, ald_logsumexp(V, z), (float)factor, ald_teacher_cutoff(teacher, V, logprob_dpo),
            (float)(1.0 / teacher->temperature), z, logprob_dpo, log_ratio, &out.reward,
            &out.kl_dpo);
    const float lse_t = ald_logsumexp(V, logprob_dpo);
    row->sum(V, z, logprob_dpo, lse_t, &sums);
    row->gradient(V, (float)scale, &sums, lse_t, logprob_dpo, z);
    out.divergence = row->value(&sums);
    out.kl_teacher = sums.reverse;
    out.reward *= teacher->beta;
    return out;
}

static void fill(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                 const float *logprob, const float *ratio, ald_choice_t *choice)
{
    const int64_t V = scoring->header->vocab_size;
    float *kept = (float *)scoring->all.full_logprob_dpo + r * V;
    float *kept_ratio = (float *)scoring->all.contrast[contrast].full_log_ratio + r * V;
    (void)choice;
    if (contrast == scoring->header->contrast)
        memcpy(kept, logprob, sizeof *kept * (size_t)V);
    memcpy(kept_ratio, ratio, sizeof *kept_ratio * (size_t)V);
}

static ald_position_t learn(const ald_lesson_t *lesson, int64_t r, float *logprob, float *ratio,
                            float *z)
{
    int64_t at;
    const ald_scored_t *s = ald_lesson_sequence(lesson, r, &at);
    const int64_t V = lesson->vocabulary, width = lesson->header->vocab_size;
    const float *kept_ratio = ald_lesson_contrast(lesson, s)->full_log_ratio;
    memcpy(logprob, s->full_logprob_dpo + at * width, sizeof *logprob * (size_t)V);
    memcpy(ratio, kept_ratio + at * width, sizeof *ratio * (size_t)V);
    if (V < width)
        ald_teacher_restrict_row(V, logprob, ratio);
    return ald_distill_row(lesson->teacher, lesson->factor[r], lesson->scale[r], V, logprob, ratio,
                           z);
}

const ald_encoding_row_t ald_row_full = {.exact = true, .wide = 2, .fill = fill, .learn = learn};
