/* Encoding `topk`: the K likeliest tokens, and one outcome for all others. The trainer reports
 * for each position how far that can be from the teacher over the whole vocabulary. */
#include "ald/teacher/topk.h"

#include <math.h>

#include "ald/config/choices.h"
#include "ald/num/ops.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "teacher/encoding_impl.h"

/* Replaces z by exp(lp) of every token. Returns the mass outside the support, summed there, since
 * 1 - the mass inside would lose its digits. */
static double support_split(int64_t V, int64_t K, const int32_t *id, float lse, float *z,
                            float *inside)
{
    ald_exp_shifted(V, z, lse, z);
    for (int64_t k = 0; k < K; ++k) {
        inside[k] = z[id[k]];
        z[id[k]] = 0.0f;
    }
    double outside = 0.0;
    for (int64_t v = 0; v < V; ++v)
        outside += z[v];
    for (int64_t k = 0; k < K; ++k)
        z[id[k]] = inside[k];
    return outside;
}

/* z* of an outcome. The bucket is taken for one token, so it is implausible only if all of its
 * tokens are. */
static double extrapolated(double logprob, double ratio, double a, float cutoff)
{
    return logprob < (double)cutoff && a * ratio > 0.0 ? logprob : logprob + a * ratio;
}

ald_position_t ald_distill_topk_row(const ald_teacher_t *teacher, double factor, double scale,
                                    int64_t V, const ald_support_t *support, float *z)
{
    const ald_divergence_row_t *row = ald_divergence_row(teacher->divergence);
    const int64_t K = support->count;
    const int32_t *id = support->id;
    const float *logprob_dpo = support->logprob_dpo, *log_ratio = support->log_ratio;
    const double tail_dpo = support->tail_dpo, tail_contrast = support->tail_contrast;
    float inside[K + 1];
    double lq[K + 1], lse = ald_logsumexp(V, z), top = -INFINITY, total = 0.0;
    double outside = support_split(V, K, id, (float)lse, z, inside);
    bool tail = isfinite(tail_dpo) && isfinite(tail_contrast) && K < V;
    double tail_ratio = tail ? tail_dpo - tail_contrast : 0.0;
    double tail_lp = outside > 1e-30 ? log(outside) : log(1e-30);
    ald_position_t out = {0};
    const float cutoff = K > 0 ? ald_teacher_cutoff(teacher, K, logprob_dpo) : -INFINITY;
    for (int64_t k = 0; k < K; ++k)
        lq[k] = extrapolated(logprob_dpo[k], log_ratio[k], factor, cutoff) / teacher->temperature;
    lq[K] = tail ? extrapolated(tail_dpo, tail_ratio, factor, cutoff) / teacher->temperature
                 : -INFINITY;
    for (int64_t k = 0; k <= K; ++k)
        top = lq[k] > top ? lq[k] : top;
    for (int64_t k = 0; k <= K; ++k)
        total += exp(lq[k] - top);
    ald_sums_t s = {0};
    for (int64_t k = 0; k <= K; ++k)
        lq[k] -= top + log(total);
    for (int64_t k = 0; k < K; ++k) {
        double lp = inside[k] > 1e-30f ? log(inside[k]) : log(1e-30);
        ald_sums_add(&s, lp, lq[k]);
        out.reward += teacher->beta * inside[k] * log_ratio[k];
        out.kl_dpo += inside[k] * (lp - logprob_dpo[k]);
    }
    if (tail) {
        ald_sums_add(&s, tail_lp, lq[K]);
        out.reward += teacher->beta * outside * tail_ratio;
        out.kl_dpo += outside * (tail_lp - tail_dpo);
    }
    double slope = tail ? row->slope(&s, tail_lp, lq[K]) : 0.0;
    for (int64_t v = 0; v < V; ++v)
        z[v] *= (float)(scale * slope);
    for (int64_t k = 0; k < K; ++k) {
        double lp = inside[k] > 1e-30f ? log(inside[k]) : log(1e-30);
        z[id[k]] = (float)(scale * inside[k] * row->slope(&s, lp, lq[k]));
    }
    out.divergence = row->value(&s);
    out.kl_teacher = s.reverse;
    return out;
}

void ald_support_restrict(int64_t V, ald_support_t *support, int32_t *id, float *kept)
{
    const int64_t K = support->count;
    float *logprob = kept, *ratio = kept + K;
    double mass_dpo = exp(support->tail_dpo), mass_contrast = exp(support->tail_contrast);
    int64_t count = 0;
    for (int64_t k = 0; k < K; ++k) {
        if (support->id[k] >= V)
            continue;
        id[count] = support->id[k];
        logprob[count] = support->logprob_dpo[k];
        ratio[count++] = support->log_ratio[k];
        mass_dpo += exp(support->logprob_dpo[k]);
        mass_contrast += exp(support->logprob_dpo[k] - support->log_ratio[k]);
    }
    for (int64_t k = 0; k < count; ++k) {
        logprob[k] -= (float)log(mass_dpo);
        ratio[k] -= (float)(log(mass_dpo) - log(mass_contrast));
    }
    *support = (ald_support_t){.count = count,
                               .id = id,
                               .logprob_dpo = logprob,
                               .log_ratio = ratio,
                               .tail_dpo = support->tail_dpo - log(mass_dpo),
                               .tail_contrast = support->tail_contrast - log(mass_contrast)};
}

/* --- the encoding ----------------------------------------------------------------------------- */

/* The places in the columns for what position r has of the tail. */
static ald_tail_rows_t tail_rows(const ald_contrasted_t *c, int64_t r)
{
    return (ald_tail_rows_t){.tail_contrast = (float *)c->tail + r,
                             .alpha_max = (float *)c->alpha_max + r,
                             .mass = (float *)c->tail_mass + r * ALD_KNOTS,
                             .least = (float *)c->tail_least + r * ALD_KNOTS,
                             .ratio_least = (float *)c->tail_ratio_min + r,
                             .ratio_most = (float *)c->tail_ratio_max + r};
}

/* For the contrast of the shard the tokens are chosen; for another one the same tokens are taken.
 */
static void fill(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                 const float *logprob, const float *ratio, ald_choice_t *choice)
{
    const int64_t V = scoring->header->vocab_size, K = scoring->header->top_k;
    const ald_contrasted_t *c = &scoring->all.contrast[contrast];
    const ald_tail_rows_t tail = tail_rows(c, r);
    int32_t *id = (int32_t *)scoring->all.topk_id + r * K;
    if (contrast == scoring->header->contrast) {
        const ald_support_rows_t rows = {id, choice->logprob, choice->ratio,
                                         (float *)scoring->all.tail_dpo + r, tail};
        ald_support_make(&scoring->teacher, c->tvd[r], V, K, logprob, ratio, choice->key,
                         choice->id, &rows);
    } else {
        for (int64_t k = 0; k < K; ++k)
            choice->ratio[k] = ratio[id[k]];
        ald_support_describe(&scoring->teacher, c->tvd[r], V, K, id, logprob, ratio, choice->key,
                             &tail);
    }
    ald_choice_store(scoring, contrast, r, choice);
}

/* Bounds the error of a position; to be called before the loss overwrites the logits. */
static void bound_error(const ald_lesson_t *lesson, int64_t r, const ald_support_t *support,
                        float *z)
{
    int64_t at;
    const ald_scored_t *s = ald_lesson_sequence(lesson, r, &at);
    const ald_contrasted_t *c = ald_lesson_contrast(lesson, s);
    const ald_tail_t tail = {(double)c->alpha_max[at], c->tail_mass + at * ALD_KNOTS,
                             c->tail_least + at * ALD_KNOTS, (double)c->tail_ratio_min[at],
                             (double)c->tail_ratio_max[at]};
    lesson->error[r] = ald_support_error(lesson->teacher, lesson->factor[r], lesson->vocabulary,
                                         lesson->header->vocab_size, support, &tail, z);
}

static ald_position_t learn(const ald_lesson_t *lesson, int64_t r, float *unused, float *unused2,
                            float *z)
{
    int64_t at;
    const ald_scored_t *s = ald_lesson_sequence(lesson, r, &at);
    const int64_t V = lesson->vocabulary, K = lesson->header->top_k;
    float logprob[K], ratio[K], kept[2 * K];
    int32_t id[K];
    (void)unused, (void)unused2;
    ald_choice_widen(lesson, s, at, logprob, ratio);
    ald_support_t support = {.count = K,
                             .id = s->topk_id + at * K,
                             .logprob_dpo = logprob,
                             .log_ratio = ratio,
                             .tail_dpo = (double)s->tail_dpo[at],
                             .tail_contrast = (double)ald_lesson_contrast(lesson, s)->tail[at]};
    if (lesson->error != NULL)
        bound_error(lesson, r, &support, z);
    if (V < lesson->header->vocab_size)
        ald_support_restrict(V, &support, id, kept);
    return ald_distill_topk_row(lesson->teacher, lesson->factor[r], lesson->scale[r], V, &support,
                                z);
}

const ald_encoding_row_t ald_row_topk = {.bench = true, .fill = fill, .learn = learn};
