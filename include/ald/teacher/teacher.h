/* The composed teacher: its settings, and rows of it over V tokens. All local. Layer: teacher.
 *
 * The teacher of a position is softmax(z* / tau), z* = log pi_dpo + a (log pi_dpo - log
 * pi_contrast), with pi_contrast the contrast, the model that pi_dpo is extrapolated from.
 *
 * With a plausibility lambda > 0, tokens of which pi_dpo(v) < lambda max pi_dpo are implausible:
 * the extrapolation may lower them and never raise them, z* = log pi_dpo + min(0, a (..)). That is
 * the constraint of contrastive decoding (Li et al., arXiv 2210.15097, eq. 3), as alignment-aware
 * decoding has it with a DPO model (arXiv 2509.26169), and finite, as a reverse KL needs. */
#ifndef ALD_TEACHER_TEACHER_H
#define ALD_TEACHER_TEACHER_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

/* The settings (AlignDistil, arXiv 2503.02832, equations 11 to 17). */
typedef struct {
    ald_contrast_t contrast;
    ald_extrapolation_t extrapolation; /* none: the teacher is pi_dpo, and alpha counts as 1 */
    ald_token_weight_t token_weight;
    ald_granularity_t granularity; /* response: alpha from the response's mean TVD */
    bool length_normalize;
    double strength, epsilon, beta, temperature, plausibility;
    ald_divergence_t divergence;
} ald_teacher_t;
void ald_teacher_init(const ald_config_t *config, ald_teacher_t *out);
/* How alpha, reward and weight are made, in words. */
typedef struct {
    char text[160];
} ald_teacher_rule_t;
void ald_teacher_describe(const ald_teacher_t *teacher, ald_teacher_rule_t *out);
/* USAGE where the settings give a constant alpha that no token weight can be divided by. Local. */
ald_status_t ald_teacher_check(const ald_config_t *config);
/* The same for sampling from the teacher. USAGE unless alpha is of each token, since the distances
 * of a response are known when it is. */
ald_status_t ald_teacher_init_sampled(const ald_config_t *config, ald_teacher_t *out);
/* alpha (eq. 16) of a distance between 0 and 1. */
double ald_teacher_alpha(const ald_teacher_t *teacher, double tvd);
/* (sum tvd)^2 / (count sum tvd^2), the share of a response's positions that its distances are
 * spread over: 1 when all are alike, 1 / count when one has all (Kish's effective size over the
 * size). 1 of distances that are all 0. */
double ald_teacher_spread(int64_t count, const float *tvd);
/* Below it the distances count as concentrated in few positions. */
#define ALD_SPREAD_LIMIT 0.5
/* Whether each position of the response has an alpha of its own: with granularity "token", and with
 * "auto" where the distances are concentrated. */
bool ald_teacher_by_token(const ald_teacher_t *teacher, int64_t count, const float *tvd);
/* alpha [count] of a response's positions: each from its own distance, or all from the mean of the
 * distances. */
void ald_teacher_alphas(const ald_teacher_t *teacher, int64_t count, const float *tvd,
                        double *alpha);
/* The factor a in z* = log pi_dpo + a (log pi_dpo - log pi_contrast): alpha, or alpha - 1 against a
 * reference, where z* = z_ref + alpha (z_dpo - z_ref). */
double ald_teacher_factor(const ald_teacher_t *teacher, double alpha);
/* beta_t = beta0 / alpha_t, or 1 (eq. 17). */
double ald_teacher_weight(const ald_teacher_t *teacher, double alpha);

/* log lambda + max log pi_dpo: tokens below it are implausible. -infinity without a plausibility.
 */
float ald_teacher_cutoff(const ald_teacher_t *teacher, int64_t V, const float *logprob_dpo);
/* The factor that a token has in place of a: 0 where the extrapolation would raise an implausible
 * one. Written so that loops over it vectorise. */
static inline float ald_plausible_factor(float logprob, float ratio, float a, float cutoff)
{
    return logprob < cutoff && a * ratio > 0.0f ? 0.0f : a;
}
/* out[v] = z*(v) inverse_tau, for the `cutoff` that ald_teacher_cutoff gives (-infinity: all tokens
 * are plausible). `out` may be one of the others. */
void ald_teacher_extrapolate_row(int64_t V, float a, float cutoff, float inverse_tau,
                                 const float *logprob_dpo, const float *log_ratio, float *out);

/* The model directory of a contrast, and the key that names it. */
const char *ald_contrast_directory(const ald_config_t *config, ald_contrast_t contrast);
const char *ald_contrast_key(ald_contrast_t contrast);

/* Restricts both models to their first V tokens, of which the values are given, and normalises them
 * again. */
void ald_teacher_restrict_row(int64_t V, float *logprob_dpo, float *log_ratio);
/* Logits of both teachers to log pi_dpo (in place of z_dpo) and log pi_dpo - log pi_contrast (in
 * place of z_contrast), as the shards hold them. */
void ald_teacher_logits_row(int64_t V, float *z_dpo, float *z_contrast);
/* Logits of both models to those of the teacher, z* / tau by this position's own distance (in place
 * of z_dpo); z_contrast is overwritten. */
void ald_teacher_compose_row(const ald_teacher_t *teacher, int64_t V, float *z_dpo,
                             float *z_contrast);
/* 1/2 sum_v |pi_dpo(v) - pi_contrast(v)| from what ald_teacher_logits_row leaves. */
float ald_tvd_row(int64_t V, const float *logprob_dpo, const float *log_ratio);

#endif
