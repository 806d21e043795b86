/* Losses of preference pairs, a table by dpo.loss. Layer: objective. */
#ifndef ALD_OBJECTIVE_PREFERENCE_H
#define ALD_OBJECTIVE_PREFERENCE_H

#include "ald/config/choices.h"

typedef struct {
    ald_preference_loss_t loss;
    double beta, smoothing;
} ald_preference_t;

/* Summed log-probabilities of a pair's responses, the preferred one first, under the policy and
 * under the reference. */
typedef struct {
    double chosen, rejected, reference_chosen, reference_rejected;
} ald_pair_sums_t;

/* The loss of one pair; *slope becomes dloss/d(chosen), which is -dloss/d(rejected).
 * sigmoid: DPO (Rafailov et al. 2023, eq. 7) with label smoothing s,
 *   x = beta ((chosen - reference_chosen) - (rejected - reference_rejected))
 *   loss = -(1 - s) log sigmoid(x) - s log sigmoid(-x) */
double ald_preference_loss(const ald_preference_t *settings, const ald_pair_sums_t *sums,
                           double *slope);

#endif
