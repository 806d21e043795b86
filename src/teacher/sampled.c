/* Encoding `sampled`: K draws from the teacher, and the forward divergence that they estimate
 * without bias. Its error is chance alone and averages out over positions and steps. */
#include "ald/teacher/sampled.h"

#include <math.h>
#include <stdlib.h>

#include "ald/base/rng.h"
#include "ald/config/choices.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "teacher/encoding_impl.h"

/* --- drawing ---------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Finds the tokens at which the cumulated probabilities pass the rising numbers u [K], each
 * below 1. */
static void invert(int64_t V, int64_t K, const float *probability, const double *u, int32_t *id)
{
    double total = 0.0, passed = 0.0;
    int64_t v = 0, last = 0;
    for (int64_t i = 0; i < V; ++i) {
        total += (double)probability[i];
        last = probability[i] > 0.0f ? i : last;
    }
    for (int64_t k = 0; k < K; ++k) {
        while (v < last && passed + (double)probability[v] <= u[k] * total)
            passed += (double)probability[v++];
        id[k] = (int32_t)v;
    }
}

void ald_draws_make(const ald_teacher_t *teacher, double tvd, uint64_t seed, uint64_t stream,
                    int64_t V, int64_t K, const float *logprob, const float *ratio, float *key,
                    double *uniforms, const ald_draw_rows_t *out)
{
    const double a = ald_teacher_factor(teacher, ald_teacher_alpha(teacher, tvd));
    for (int64_t k = 0; k < K; ++k)
        uniforms[k] = ald_rng_uniform(seed, stream, (uint64_t)k);
    qsort(uniforms, (size_t)K, sizeof *uniforms, compare_doubles);
    ald_teacher_extrapolate_row(V, (float)a, -INFINITY, (float)(1.0 / teacher->temperature),
                                logprob, ratio, key);
    *out->logz = ald_logsumexp(V, key);
    *out->factor = (float)a;
    *out->temperature = (float)teacher->temperature;
    ald_exp_shifted(V, key, *out->logz, key);
    invert(V, K, key, uniforms, out->id);
    for (int64_t k = 0; k < K; ++k) {
        out->logprob[k] = logprob[out->id[k]];
        out->ratio[k] = ratio[out->id[k]];
    }
}

/* --- learning --------------------------------------------------------------------------------- */

static double logit_of(const ald_draws_t *draws, int64_t k, double a, double tau)
{
    return ((double)draws->logprob_dpo[k] + a * (double)draws->log_ratio[k]) / tau;
}

/* log w of a draw. It is 0 at the settings of the proposal, whose `factor` was stored as float32.
 */
static double weight_of(const ald_draws_t *draws, int64_t k, double a, double tau)
{
    return logit_of(draws, k, a, tau) - logit_of(draws, k, draws->factor, draws->temperature);
}

/* The largest log w and the sum of w / that over the draws of tokens below V, whose number is
 * returned. */
static int64_t weigh(const ald_draws_t *draws, double a, double tau, int64_t V, double *top,
                     double *total)
{
    int64_t used = 0;
    *top = -INFINITY;
    *total = 0.0;
    for (int64_t k = 0; k < draws->count; ++k) {
        if (draws->id[k] >= V)
            continue;
        *top = fmax(*top, weight_of(draws, k, a, tau));
        ++used;
    }
    for (int64_t k = 0; k < draws->count; ++k)
        if (draws->id[k] < V)
            *total += exp(weight_of(draws, k, a, tau) - *top);
    return used;
}

void ald_draws_shares(const ald_draws_t *draws, double factor, double tau, int64_t V, double *share)
{
    double top, total;
    weigh(draws, factor, tau, V, &top, &total);
    for (int64_t k = 0; k < draws->count; ++k)
        share[k] = draws->id[k] < V ? exp(weight_of(draws, k, factor, tau) - top) / total : 0.0;
}

ald_position_t ald_distill_sampled_row(const ald_teacher_t *teacher, double factor, double scale,
                                       int64_t V, const ald_draws_t *draws, float *z)
{
    const double tau = teacher->temperature, lse = (double)ald_logsumexp(V, z);
    double top, total;
    ald_position_t out = {0};
    const int64_t used = weigh(draws, factor, tau, V, &top, &total);
    const double logz = draws->logz + top + (used > 0 ? log(total / (double)draws->count) : 0.0);
    for (int64_t k = 0; k < draws->count; ++k) {
        if (draws->id[k] >= V)
            continue;
        double share = exp(weight_of(draws, k, factor, tau) - top) / total;
        double lp = (double)z[draws->id[k]] - lse, lq = logit_of(draws, k, factor, tau) - logz;
        double p_mass = share * exp(fmin(lp - lq, 50.0)); /* E p_mass f = sum_v p_v f_v */
        out.divergence += share * (lq - lp);
        out.kl_teacher += p_mass * (lp - lq);
        out.kl_dpo += p_mass * (lp - (double)draws->logprob_dpo[k]);
        out.reward += p_mass * teacher->beta * (double)draws->log_ratio[k];
    }
    ald_exp_shifted(V, z, (float)lse, z);
    for (int64_t v = 0; v < V; ++v)
        z[v] *= used > 0 ? (float)scale : 0.0f;
    for (int64_t k = 0; k < draws->count; ++k) {
        if (draws->id[k] >= V)
            continue;
        double share = exp(weight_of(draws, k, factor, tau) - top) / total;
        z[draws->id[k]] -= (float)(scale * share);
    }
    return out;
}

/* --- the encoding ----------------------------------------------------------------------------- */

static void fill(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                 const float *logprob, const float *ratio, ald_choice_t *choice)
{
    const int64_t V = scoring->header->vocab_size, K = scoring->header->top_k;
    const ald_scored_t *all = &scoring->all;
    const ald_draw_rows_t rows = {(int32_t *)all->topk_id + r * K,
                                  choice->logprob,
                                  choice->ratio,
                                  (float *)all->proposal_factor + r,
                                  (float *)all->proposal_temperature + r,
                                  (float *)all->proposal_logz + r};
    ald_draws_make(&scoring->teacher, all->contrast[contrast].tvd[r], scoring->seed[r],
                   scoring->stream[r], V, K, logprob, ratio, choice->key, choice->uniforms, &rows);
    ald_choice_store(scoring, contrast, r, choice);
}

static ald_position_t learn(const ald_lesson_t *lesson, int64_t r, float *unused, float *unused2,
                            float *z)
{
    int64_t at;
    const ald_scored_t *s = ald_lesson_sequence(lesson, r, &at);
    const int64_t K = lesson->header->top_k;
    float logprob[K], ratio[K];
    (void)unused, (void)unused2;
    ald_choice_widen(lesson, s, at, logprob, ratio);
    const ald_draws_t draws = {K,
                               s->topk_id + at * K,
                               logprob,
                               ratio,
                               (double)s->proposal_factor[at],
                               (double)s->proposal_temperature[at],
                               (double)s->proposal_logz[at]};
    return ald_distill_sampled_row(lesson->teacher, lesson->factor[r], lesson->scale[r],
                                   lesson->vocabulary, &draws, z);
}

const ald_encoding_row_t ald_row_sampled = {.draws = true, .fill = fill, .learn = learn};
