/* The composed teacher: its settings, and rows of it. Everything is in the form of log pi_dpo and
 * the ratio to the contrast, so that alpha multiplies one rounding and not two. */
#include "ald/teacher/teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"

/* Of what the token weight is divided by, as teacher.epsilon's. */
#define STRENGTH_LEAST 1e-9

void ald_teacher_init(const ald_config_t *config, ald_teacher_t *out)
{
    *out = (ald_teacher_t){
        .contrast = config->teacher.contrast,
        .extrapolation = config->teacher.extrapolation,
        .token_weight = config->distill.token_weight,
        .granularity = config->distill.granularity,
        .length_normalize = config->distill.length_normalize,
        .strength = config->teacher.strength,
        .epsilon = config->teacher.epsilon,
        .beta = config->teacher.beta,
        .temperature = config->teacher.temperature,
        .plausibility = config->teacher.plausibility,
        .divergence = config->distill.divergence,
    };
}

void ald_teacher_describe(const ald_teacher_t *teacher, ald_teacher_rule_t *out)
{
    static const char *const by[] = {[ALD_GRANULARITY_TOKEN] = "",
                                     [ALD_GRANULARITY_RESPONSE] = " by the response's mean TVD",
                                     [ALD_GRANULARITY_AUTO] =
                                         " by each TVD or the response's mean"};
    const bool adaptive = teacher->extrapolation == ALD_EXTRAPOLATION_ADAPTIVE;
    snprintf(out->text, sizeof out->text, "%s%s, r %g, epsilon %g, beta %g",
             ald_choice_name(ALD_CHOICES_EXTRAPOLATIONS, teacher->extrapolation),
             adaptive ? by[teacher->granularity] : "", teacher->strength, teacher->epsilon,
             teacher->beta);
}

/* An adaptive alpha is at least teacher.epsilon, which isn't 0. */
ald_status_t ald_teacher_check(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool distribution = config->distill.signal == ALD_SIGNAL_DISTRIBUTION;
    const bool divided = distribution ? config->distill.token_weight == ALD_TOKEN_WEIGHT_BETA
                                      : config->distill.penalty == ALD_PENALTY_BETA;
    ALD_CHECK(!divided || config->teacher.extrapolation != ALD_EXTRAPOLATION_CONSTANT ||
                  config->teacher.strength >= STRENGTH_LEAST,
              ALD_STATUS_USAGE,
              "teacher.strength: %g; teacher.extrapolation = \"constant\" divides the token weight "
              "by it; expected at least %g%s",
              config->teacher.strength, STRENGTH_LEAST,
              distribution ? ", or distill.token_weight = \"uniform\"" : "");
done:
    return status;
}

ald_status_t ald_teacher_init_sampled(const ald_config_t *config, ald_teacher_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_teacher_init(config, out);
    ALD_CHECK(
        out->granularity == ALD_GRANULARITY_TOKEN, ALD_STATUS_USAGE,
        "distill.granularity: \"%s\" needs whole responses; expected \"token\" to sample from "
        "the teacher",
        ald_choice_name(ALD_CHOICES_GRANULARITIES, out->granularity));
done:
    return status;
}

double ald_teacher_alpha(const ald_teacher_t *teacher, double tvd)
{
    switch (teacher->extrapolation) {
    case ALD_EXTRAPOLATION_NONE:
        return 1.0;
    case ALD_EXTRAPOLATION_CONSTANT:
        return teacher->strength;
    default:
        return teacher->strength * tvd + teacher->epsilon;
    }
}

double ald_teacher_spread(int64_t count, const float *tvd)
{
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < count; ++i) {
        sum += (double)tvd[i];
        squares += (double)tvd[i] * (double)tvd[i];
    }
    return squares > 0.0 ? sum * sum / ((double)count * squares) : 1.0;
}

bool ald_teacher_by_token(const ald_teacher_t *teacher, int64_t count, const float *tvd)
{
    return teacher->granularity == ALD_GRANULARITY_TOKEN ||
           (teacher->granularity == ALD_GRANULARITY_AUTO &&
            ald_teacher_spread(count, tvd) < ALD_SPREAD_LIMIT);
}

void ald_teacher_alphas(const ald_teacher_t *teacher, int64_t count, const float *tvd,
                        double *alpha)
{
    const bool own = ald_teacher_by_token(teacher, count, tvd);
    double mean = 0.0;
    for (int64_t i = 0; i < count; ++i)
        mean += tvd[i] / (double)count;
    for (int64_t i = 0; i < count; ++i)
        alpha[i] = ald_teacher_alpha(teacher, own ? tvd[i] : mean);
}

double ald_teacher_factor(const ald_teacher_t *teacher, double alpha)
{
    if (teacher->extrapolation == ALD_EXTRAPOLATION_NONE)
        return 0.0;
    return teacher->contrast == ALD_CONTRAST_REFERENCE ? alpha - 1.0 : alpha;
}

double ald_teacher_weight(const ald_teacher_t *teacher, double alpha)
{
    return teacher->token_weight == ALD_TOKEN_WEIGHT_BETA ? teacher->beta / alpha : 1.0;
}

float ald_teacher_cutoff(const ald_teacher_t *teacher, int64_t V, const float *logprob_dpo)
{
    return teacher->plausibility > 0.0
               ? logprob_dpo[ald_argmax(V, logprob_dpo)] + (float)log(teacher->plausibility)
               : -INFINITY;
}

ALD_KERNEL(void, extrapolate,
           (int64_t V, float a, float cutoff, float inverse_tau, const float *logprob_dpo,
            const float *log_ratio, float *out),
           (V, a, cutoff, inverse_tau, logprob_dpo, log_ratio, out))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float l = logprob_dpo[v], rho = log_ratio[v];
        out[v] = (l + ald_plausible_factor(l, rho, a, cutoff) * rho) * inverse_tau;
    }
}

void ald_teacher_extrapolate_row(int64_t V, float a, float cutoff, float inverse_tau,
                                 const float *logprob_dpo, const float *log_ratio, float *out)
{
    extrapolate(V, a, cutoff, inverse_tau, logprob_dpo, log_ratio, out);
}

const char *ald_contrast_directory(const ald_config_t *config, ald_contrast_t contrast)
{
    return contrast == ALD_CONTRAST_REFERENCE ? config->teacher.reference : config->teacher.reverse;
}

const char *ald_contrast_key(ald_contrast_t contrast)
{
    return contrast == ALD_CONTRAST_REFERENCE ? "teacher.reference" : "teacher.reverse";
}

ALD_KERNEL(void, logits_to_ratio,
           (int64_t V, float lse_dpo, float lse_contrast, float *z_dpo, float *z_contrast),
           (V, lse_dpo, lse_contrast, z_dpo, z_contrast))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float lp = z_dpo[v] - lse_dpo;
        z_contrast[v] = lp - (z_contrast[v] - lse_contrast);
        z_dpo[v] = lp;
    }
}

void ald_teacher_logits_row(int64_t V, float *z_dpo, float *z_contrast)
{
    logits_to_ratio(V, ald_logsumexp(V, z_dpo), ald_logsumexp(V, z_contrast), z_dpo, z_contrast);
}

void ald_teacher_restrict_row(int64_t V, float *logprob_dpo, float *log_ratio)
{
    for (int64_t v = 0; v < V; ++v) /* to log pi_contrast again */
        log_ratio[v] = logprob_dpo[v] - log_ratio[v];
    ald_teacher_logits_row(V, logprob_dpo, log_ratio);
}

ALD_KERNEL(float, tvd_row, (int64_t V, const float *logprob_dpo, const float *log_ratio),
           (V, logprob_dpo, log_ratio))
{
    double total = 0.0;
    for (int64_t start = 0; start < V; start += 4096) {
        int64_t end = start + 4096 < V ? start + 4096 : V;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t v = start; v < end; ++v) {
            float d = ald_expf(logprob_dpo[v]) - ald_expf(logprob_dpo[v] - log_ratio[v]);
            sum += d < 0.0f ? -d : d;
        }
        total += sum;
    }
    return total < 2.0 ? (float)(0.5 * total) : 1.0f;
}

float ald_tvd_row(int64_t V, const float *logprob_dpo, const float *log_ratio)
{
    return tvd_row(V, logprob_dpo, log_ratio);
}

void ald_teacher_compose_row(const ald_teacher_t *teacher, int64_t V, float *z_dpo,
                             float *z_contrast)
{
    ald_teacher_logits_row(V, z_dpo, z_contrast);
    const double alpha = ald_teacher_alpha(teacher, (double)ald_tvd_row(V, z_dpo, z_contrast));
    ald_teacher_extrapolate_row(V, (float)ald_teacher_factor(teacher, alpha),
                                ald_teacher_cutoff(teacher, V, z_dpo),
                                (float)(1.0 / teacher->temperature), z_dpo, z_contrast, z_dpo);
}
