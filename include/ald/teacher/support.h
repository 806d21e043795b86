/* A support: K tokens of a teacher and one bucket for all others, with bounds on how far that is
 * from the teacher over the whole vocabulary. Layer: teacher.
 *
 * l_v = log pi_dpo(v), rho_v = l_v - log pi_contrast(v), factor a, temperature tau; S the K tokens,
 * T the others. The teacher is q_v = exp((l_v + a rho_v) / tau) / Z. The one made of a support has,
 * from the stored l^ and rho^,
 *   w^_k = exp((l^_k + a rho^_k) / tau)
 *   w^_T = exp((L + a (L - L_contrast)) / tau)
 *   q^ = w^ / Z^
 * with L, L_contrast the logs of both models' mass on T.
 *
 * The distance is bounded for any a by these:
 *   rounding  l and rho are halves: |l - l^| <= 2^-11 |l^| + 2^-25, and so rho, hence
 *             |log w_k - log w^_k| <= d_k = (err(l^_k) + |a| err(rho^_k)) / tau
 *   tail      F(a) = log sum_T exp(l_v + a rho_v) is convex: between the knots 0, A/2, A below its
 *             chords and above the lengthened chords beside them; beyond them its slope lies
 *             between the least and the largest rho of T. At another temperature, by the order of
 *             power means with n = |T|: log sum_T exp((l + a rho) / tau) lies between F / tau and
 *             F / tau + (1 - 1 / tau) log n
 *   least     G(a) = min_T (l_v + a rho_v) is concave: above its chords, beyond them as above
 * With W- <= sum_T exp(..) <= W+ and Z-, Z+ from d and W:
 *   variation  TV(q, q^) <= 1/2 sum_S |q_k - q^_k| + 1/2 (q(T) + q^(T)), however the bucket's mass
 *              is spread over T; each |q_k - q^_k| from the ends of q_k's interval
 *   reverse KL E = KL(p || q) - KL(p || q^), the latter with one outcome for T, p the student, P
 *              its mass on T, H = sum_T p log p:
 *              E <= sum_S p d + log(Z+ / Z^) + H - P log P + P (log w^_T - G / tau)
 *              E >= -sum_S p d + log(Z- / Z^) + P (log w^_T - log W+)   (log-sum inequality)
 * Knots and extremes are float32 sums over float32: each value v of them gets a margin of
 * 2^-22 (128 + |v| + |a| max |rho|), which is above their rounding (terms within 87 of the largest
 * count: 2^-24 times |a rho|, |l + a rho| and the distance to the largest, 2^-22 of exp, 2^-16 of
 * blocks of 256 addends, 2^-24 |v| of the stored number); the student's sums get 2^-11. */
#ifndef ALD_TEACHER_SUPPORT_H
#define ALD_TEACHER_SUPPORT_H

#include <stdint.h>

#include "ald/teacher/teacher.h"

/* Both models on `count` tokens, with all others as one outcome. The tails are the logs of its mass
 * (-infinity: none). */
typedef struct {
    int64_t count;
    const int32_t *id;
    const float *logprob_dpo, *log_ratio;
    double tail_dpo, tail_contrast;
} ald_support_t;

enum { ALD_KNOTS = 3 }; /* at 0, A / 2 and A */

/* The places for what is stored about the tokens outside the support, for one contrast. */
typedef struct {
    float *tail_contrast;            /* L_contrast; -infinity: none */
    float *alpha_max;                /* A */
    float *mass, *least;             /* [ALD_KNOTS] F and G */
    float *ratio_least, *ratio_most; /* of rho on T */
} ald_tail_rows_t;

/* The places for the support of one position. */
typedef struct {
    int32_t *id;            /* [K] */
    float *logprob, *ratio; /* [K] */
    float *tail_dpo;        /* L; -infinity: none */
    ald_tail_rows_t tail;
} ald_support_rows_t;

/* The K <= V tokens of the largest max(log pi_dpo, log pi_contrast, log q), q the teacher at the
 * strength that `tvd` has under the settings, in falling order of that, then of id. A = that
 * strength. logprob and ratio are [V]; key [V] and ids [V] are scratch memory. Local, one thread.
 */
void ald_support_make(const ald_teacher_t *teacher, double tvd, int64_t V, int64_t K,
                      const float *logprob, const float *ratio, float *key, int32_t *ids,
                      const ald_support_rows_t *out);

/* Makes the tail part alone, for another contrast and K tokens that are chosen already. `ratio` is
 * log pi_dpo minus the log-probabilities of that contrast, `tvd` its distance. key [V] is scratch
 * memory. Local. */
void ald_support_describe(const ald_teacher_t *teacher, double tvd, int64_t V, int64_t K,
                          const int32_t *id, const float *logprob, const float *ratio, float *key,
                          const ald_tail_rows_t *out);

/* What ald_support_describe has stored about the tail of one position. */
typedef struct {
    double alpha_max;
    const float *mass, *least; /* [ALD_KNOTS] */
    double ratio_least, ratio_most;
} ald_tail_t;

/* Upper bounds on the TV and the |E| of the comment above. */
typedef struct {
    double variation;  /* 0 to 1 */
    double reverse_kl; /* nats, without the token weight; 1e30 where there is no bound */
} ald_support_error_t;

/* Bounds of a position against the teacher over the first V tokens (V at most the `vocab_size`
 * that it was made over: a restricted teacher). `support` as stored; z [V] is the student's logits,
 * written to on the way and left as it was. */
ald_support_error_t ald_support_error(const ald_teacher_t *teacher, double factor, int64_t V,
                                      int64_t vocab_size, const ald_support_t *support,
                                      const ald_tail_t *tail, float *z);

#endif
