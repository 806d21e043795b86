/* Losses of preference pairs. Layer: objective. */
#ifndef ALD_OBJECTIVE_PREFERENCE_H
#define ALD_OBJECTIVE_PREFERENCE_H

/* DPO (Rafailov et al. 2023, eq. 7) with label smoothing, on summed response log-probabilities:
 *   x = beta ((chosen - ref_chosen) - (rejected - ref_rejected))
 *   loss = -(1 - s) log sigmoid(x) - s log sigmoid(-x)
 * d_margin = dloss/d(chosen) = -dloss/d(rejected). */
double ald_dpo_loss(double beta, double smoothing, double chosen, double rejected,
                    double ref_chosen, double ref_rejected, double *d_margin);

#endif
