/* Losses and their gradients at the logits, row by row. V vocabulary, R positions. Layer: teacher.
 *
 * Rows of logits come from ald_head's chunks; each function leaves dloss/dlogits in their place. */
#ifndef ALD_TEACHER_LOSS_H
#define ALD_TEACHER_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/choices.h"
#include "ald/config/config.h"

/* The teacher's settings (AlignDistil, arXiv 2503.02832, equations 11 to 17;
 * src/teacher/README.md).
 */
typedef struct {
    bool reference;   /* contrast = "reference" */
    bool none;        /* extrapolation = "none": the teacher is pi_dpo, and alpha counts as 1 */
    bool adaptive;    /* extrapolation = "adaptive" */
    bool weighted;    /* token_weight = "beta" */
    bool by_sequence; /* granularity = "sequence": alpha from the response's mean TVD */
    bool length_normalize;
    double strength, epsilon, beta, temperature;
    ald_divergence_t divergence;
} ald_teacher_t;
void ald_teacher_init(const ald_config_t *config, ald_teacher_t *out);
/* alpha (eq. 16), from a distance between 0 and 1. */
double ald_teacher_alpha(const ald_teacher_t *teacher, double tvd);
/* alpha [count] of a response's positions from their distances: each its own, or with granularity =
 * "sequence" that of their mean. */
void ald_teacher_alphas(const ald_teacher_t *teacher, int64_t count, const float *tvd,
                        double *alpha);
/* The factor a in z* = log pi_dpo + a (log pi_dpo - log pi_c): alpha, or alpha - 1 against a
 * reference, where z* = z_ref + alpha (z_dpo - z_ref). */
double ald_teacher_factor(const ald_teacher_t *teacher, double alpha);
/* beta_t = beta0 / alpha_t, or 1 (eq. 17). */
double ald_teacher_weight(const ald_teacher_t *teacher, double alpha);

/* What a position gives besides its gradient; KLs in nats. */
typedef struct {
    double divergence; /* the chosen one, unweighted */
    double kl_teacher; /* KL(student || teacher) */
    double kl_dpo;     /* KL(student || pi_dpo) */
    double reward;     /* beta0 sum_v student(v) (log pi_dpo(v) - log pi_c(v)) */
} ald_position_t;

/* One position against a teacher over the whole vocabulary. logprob_dpo and log_ratio are [V] and
 * are overwritten; z becomes scale * d(divergence)/dz. */
ald_position_t ald_distill_row(const ald_teacher_t *teacher, double factor, double scale, int64_t V,
                               float *logprob_dpo, float *log_ratio, float *z);
/* Both teachers on `count` tokens, what lies outside being one outcome: the tails are the logs of
 * its mass (-infinity: none). */
typedef struct {
    int64_t count;
    const int32_t *id;
    const float *logprob_dpo, *log_ratio;
    double tail_dpo, tail_reverse;
} ald_support_t;
/* One position against a support. Same meaning. */
ald_position_t ald_distill_topk_row(const ald_teacher_t *teacher, double factor, double scale,
                                    int64_t V, const ald_support_t *support, float *z);
/* Teachers over more tokens than V, restricted to the first V and normalised again: rows of which
 * the first V values are given, and a support, whose tokens are then in `id` [count] and `kept`
 * [2 count] (what the tail held of the others stays in it). */
void ald_teacher_restrict_row(int64_t V, float *logprob_dpo, float *log_ratio);
void ald_support_restrict(int64_t V, ald_support_t *support, int32_t *id, float *kept);
/* Logits of both teachers to log pi_dpo (in place of z_dpo) and log pi_dpo - log pi_c (in place of
 * z_c), as the shards hold them. */
void ald_teacher_logits_row(int64_t V, float *z_dpo, float *z_c);
/* 1/2 sum_v |pi_dpo(v) - pi_c(v)| from what ald_teacher_logits_row leaves. */
float ald_tvd_row(int64_t V, const float *logprob_dpo, const float *log_ratio);

#endif
