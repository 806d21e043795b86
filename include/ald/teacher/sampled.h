/* A teacher estimated by K tokens drawn from it, after the random sampling of arXiv 2503.16870.
 * Layer: teacher.
 *
 * The draws are independent and with replacement, from the proposal
 *   g_v = exp(x_v) / Z,   x_v = (l_v + a rho_v) / tau
 * with l_v = log pi_dpo(v), rho_v = l_v - log pi_contrast(v), and a, tau of the settings at
 * scoring. At settings a', tau' a draw has the weight w_k = exp(x'_k - x_k), and the teacher's
 * estimate is q^ = sum_k w_k onehot(id_k) / sum_k w_k At the settings of the scoring all weights
 * are 1 (whatever the stored l and rho were rounded to), E q^ = q, and so the gradient of KL(q ||
 * p) at the student's logits, p - q^, is unbiased, with E |q^ - q|^2 = (1 - sum_v q_v^2) / K. At
 * others it is the self-normalised importance estimate: consistent, with a bias of order 1 / K, and
 * useful while 1 / sum_k (w_k / sum w)^2 stays large.
 */
#ifndef ALD_TEACHER_SAMPLED_H
#define ALD_TEACHER_SAMPLED_H

#include <stdint.h>

#include "ald/teacher/divergence.h"
#include "ald/teacher/teacher.h"

/* The places for the draws of one position. */
typedef struct {
    int32_t *id;                        /* [K], rising; a token as often as it was drawn */
    float *logprob, *ratio;             /* [K] l and rho of each */
    float *factor, *temperature, *logz; /* a, tau, log Z of the proposal */
} ald_draw_rows_t;

/* Draws from the teacher at the strength that the settings give to `tvd`. logprob and ratio are
 * [V]; key [V] and uniforms [K] are scratch memory. The draws are those of the counters
 * (stream, 0 .. K - 1) under `seed`. Local, one thread. */
void ald_draws_make(const ald_teacher_t *teacher, double tvd, uint64_t seed, uint64_t stream,
                    int64_t V, int64_t K, const float *logprob, const float *ratio, float *key,
                    double *uniforms, const ald_draw_rows_t *out);

/* The draws of a position as they are stored. */
typedef struct {
    int64_t count;
    const int32_t *id;
    const float *logprob_dpo, *log_ratio;
    double factor, temperature, logz;
} ald_draws_t;

/* The share [K] that each draw has of the teacher's estimate at a factor and a temperature, which
 * is what the divergence below takes; 0 of tokens from V on. Local. */
void ald_draws_shares(const ald_draws_t *draws, double factor, double tau, int64_t V,
                      double *share);

/* One position of the forward divergence; draws of tokens from V on are left out (a teacher
 * restricted to V tokens), and no draw at all gives no gradient. z becomes scale * (p - q^). All
 * that is returned is an estimate too: the divergence is that at the draws, the others are means of
 * p / q times their terms, which vary much where student and teacher are far apart. */
ald_position_t ald_distill_sampled_row(const ald_teacher_t *teacher, double factor, double scale,
                                       int64_t V, const ald_draws_t *draws, float *z);

#endif
