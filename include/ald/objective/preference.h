/* Losses of preference pairs, a table by dpo.loss. Layer: objective.
 *
 * A pair's margin h is the score of the preferred response less that of the other. With l the
 * summed log-probability of a response y under the policy pi, l_ref that under the reference,
 * KL the sum over its positions of KL(pi_ref || pi), and sigma the logistic function:
 *
 *            score          loss of the pair
 *   sigmoid  l - l_ref      -(1 - s) log sigma(beta h) - s log sigma(-beta h)
 *   cdpo     the same       the same, s > 0
 *   ipo      the same       (h - 1 / (2 beta))^2
 *   hinge    the same       max(0, 1 - beta h)
 *   simpo    l / |y|        -log sigma(beta h - gamma)
 *   tdpo1    l - l_ref + KL -log sigma(beta h)
 *   tdpo2    with alpha KL  the same; the preferred response's KL has no gradient
 *
 * Sources: DPO, Rafailov et al. 2023, eq. 7 (s = 0); cDPO, Mitchell 2023, "A note on DPO with noisy
 * preferences"; IPO, Azar et al., arXiv 2310.12036, eq. 17 (beta is its tau); RSO's hinge, Liu et
 * al., arXiv 2309.06657; SimPO, Meng et al., arXiv 2405.14734, eq. 6; TDPO, Zeng et al., arXiv
 * 2404.11999, section 4.
 *
 * s is dpo.label_smoothing, gamma dpo.gamma, alpha dpo.tdpo_alpha. In the paper's form of TDPO the
 * margin is u - delta, delta = beta (KL of the other - KL of the preferred one). */
#ifndef ALD_OBJECTIVE_PREFERENCE_H
#define ALD_OBJECTIVE_PREFERENCE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

/* What a loss isn't a function of is 0. */
typedef struct {
    ald_preference_loss_t loss;
    double beta, smoothing, gamma;
    double alpha; /* of both tdpo losses, 1 for the first */
} ald_preference_t;

/* What a loss needs of the reference: nothing, the responses' summed log-probabilities, or its
 * whole distribution at every position. */
typedef enum { ALD_REFERENCE_NONE, ALD_REFERENCE_SUMS, ALD_REFERENCE_ROWS } ald_reference_use_t;

/* A response: sums over its positions, of which there are `length`. */
typedef struct {
    double logprob, reference, kl;
    int64_t length;
} ald_response_t;

/* The loss of a pair. Of two, the preferred response's comes first. */
typedef struct {
    double loss;
    double d_logprob[2], d_kl[2]; /* dloss/dlogprob, dloss/dkl */
    double reward[2];             /* beta times the score, with alpha as 1: what is logged */
} ald_pair_loss_t;

/* The settings of a configuration. USAGE naming the keys for one that the loss isn't a function of
 * and that isn't at its default, and for a value that the loss can't have. Local. */
ald_status_t ald_preference_init(const ald_config_t *config, ald_preference_t *out);
ald_reference_use_t ald_preference_reference(ald_preference_loss_t loss);
/* The loss of `pair`, the preferred response first. */
ald_pair_loss_t ald_preference_loss(const ald_preference_t *settings, const ald_response_t pair[2]);

#endif
