/* Divergences of student and teacher: a table by distill.divergence. lp and lq are
 * log-probabilities of the student and of the teacher, V vocabulary; KLs in nats. Local. Layer:
 * teacher. */
#ifndef ALD_TEACHER_DIVERGENCE_H
#define ALD_TEACHER_DIVERGENCE_H

#include <stdint.h>

#include "ald/config/choices.h"

/* The numbers of a position besides its gradient. */
typedef struct {
    double divergence; /* the chosen one, unweighted */
    double kl_teacher; /* KL(student || teacher) */
    double kl_dpo;     /* KL(student || pi_dpo) */
    double reward;     /* beta0 sum_v student(v) (log pi_dpo(v) - log pi_contrast(v)) */
} ald_position_t;

/* Sums over outcomes; m is the mean of both distributions. */
typedef struct {
    double reverse;      /* sum p (lp - lq) */
    double forward;      /* sum q (lq - lp) */
    double to_mixture;   /* sum p (lp - lm) */
    double from_teacher; /* sum q (lq - lm) */
} ald_sums_t;

typedef struct {
    /* Adds `reverse`, and the sums that the divergence needs, over all tokens. The teacher's
     * log-probabilities are t - lse_t. Blocks are summed in float, the blocks in double. */
    void (*sum)(int64_t V, const float *lp, const float *t, float lse_t, ald_sums_t *sums);
    double (*value)(const ald_sums_t *sums);
    /* lp becomes scale * d(divergence)/dz. */
    void (*gradient)(int64_t V, float scale, const ald_sums_t *sums, float lse_t, const float *t,
                     float *lp);
    /* The factor of a token's p in its gradient, for an outcome of one or of many tokens. */
    double (*slope)(const ald_sums_t *sums, double lp, double lq);
} ald_divergence_row_t;

const ald_divergence_row_t *ald_divergence_row(ald_divergence_t divergence);
/* Adds one outcome to all sums. */
void ald_sums_add(ald_sums_t *sums, double lp, double lq);

#endif
