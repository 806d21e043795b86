/* distill.signal "token" and "sequence": policy gradients with the token rewards of distillation as
 * scalars, on-policy, to compare the distribution's loss with. Layer: objective.
 *
 * Of a response y that the policy pi has sampled, of R positions, with the contrast's pi_c:
 *
 *   reward      r_t = beta0 (log pi_dpo(y_t) - log pi_c(y_t))
 *   with KL     rho_t = r_t - w_t (log pi(y_t) - log pi_dpo(y_t)), pi as it was when it sampled
 *               w_t = beta0                    distill.penalty = "beta0"
 *               w_t = beta0 / alpha_t (eq. 17) "beta"
 *   return      G_t = sum_{s >= t} rho_s       "token": the return to go
 *               G_t = sum_s rho_s              "sequence": one scalar at the end, for all positions
 *   baseline    b = the mean over the step's other responses of their mean of G_t; 0 for one alone
 *   loss        -sum_t (G_t - b) log pi(y_t), over R with distill.length_normalize
 *
 * and the step's loss is the mean over its responses.
 *
 * This is REINFORCE (Williams 1992) with a baseline that leaves the response out (Kool et al. 2019;
 * "RLOO" in Ahmadian et al., arXiv 2402.14740): independent of the response, it leaves the gradient
 * unbiased, which the mean over all responses does not. It needs no state, and it is a sum over the
 * step's responses in their order, the same on any number of ranks.
 *
 * It leads to pi_dpo(y) (pi_dpo(y) / pi_c(y))^alpha over whole responses, up to a constant, with
 * alpha = 1 for "beta0" and, where it is constant, the configuration's for "beta". The composed
 * teacher against the reverse is this product normalised token by token.
 *
 * A response is used for one step, so there is no importance ratio: pi is the sampler with
 * distill.max_staleness = 0, and otherwise the gradient is that of a policy some steps old. */
#ifndef ALD_OBJECTIVE_POLICY_GRADIENT_H
#define ALD_OBJECTIVE_POLICY_GRADIENT_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/shard/format.h"
#include "ald/teacher/teacher.h"

/* USAGE naming the key for a setting that isn't on-policy, that samples from another distribution
 * than the policy's, or that the signal isn't a function of; anything is right for "distribution".
 * Local. */
ald_status_t ald_policy_gradient_check(const ald_config_t *config);
/* G_t of a response, into out [R]. Local. */
void ald_policy_gradient_returns(const ald_config_t *config, const ald_teacher_t *teacher,
                                 const ald_scored_t *response, double *out);
/* b for a response whose mean of G_t is `own`; `sum` is that of all `count` responses. */
double ald_policy_gradient_baseline(double sum, double own, int64_t count);

#endif
