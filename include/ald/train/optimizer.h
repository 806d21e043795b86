/* Gradients summed over trainers and AdamW with its state spread over them. Layer: train.
 *
 * A micro-batch's gradient is added into 64-bit fixed point (unit 2^-40), whose sums don't depend
 * on order: any number of trainers and any split of the micro-batches gives the same bits. The flat
 * buffer is cut into blocks of 65,536 floats; a trainer owns a run of whole blocks, holds their two
 * moments, and updates their parameters. */
#ifndef ALD_TRAIN_OPTIMIZER_H
#define ALD_TRAIN_OPTIMIZER_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

typedef struct {
    const ald_comm_t *comm; /* the trainers */
    int64_t total;          /* floats in the flat buffer */
    int64_t first, count;   /* this rank's share */
    float *gradient;        /* [total] of the micro-batch at hand */
    int64_t *sum;           /* [total] fixed point */
    float *m, *v;           /* [count] moments */
    int64_t steps;          /* updates done */
    double beta1, beta2, epsilon, weight_decay, max_grad_norm;
} ald_optimizer_t;

/* The first float of the share of trainer `rank` of `size`: whole blocks, the last one's end at
 * `total`. For rank = size it is `total`. Local. */
int64_t ald_optimizer_share(int64_t total, int size, int rank);

/* RESOURCE without memory. Local, but all trainers must agree on the status after. */
ald_status_t ald_optimizer_init(const ald_config_t *config, const ald_comm_t *trainers,
                                int64_t total, ald_optimizer_t *out);
void ald_optimizer_reset(ald_optimizer_t *optimizer); /* takes a zeroed one */

/* Adds `gradient` into the sums and zeroes it. INTERNAL naming the number when one isn't finite or
 * too large for the unit (2^20), or a sum is (2^22 over the number of trainers): the training has
 * diverged. Local. */
ald_status_t ald_optimizer_add(ald_optimizer_t *optimizer);
/* Sums over trainers, clips by the global norm, takes one AdamW step (Loshchilov and Hutter 2019;
 * decoupled decay, bias-corrected) at rate `lr` on this rank's share, gathers `values` [total] on
 * every trainer. Gives the norm before clipping. Collective over the trainers. */
ald_status_t ald_optimizer_step(ald_optimizer_t *optimizer, double lr, float *values,
                                double *grad_norm);
/* The whole moments [total] on root (else untouched), and back from root. Collective. */
void ald_optimizer_gather(const ald_optimizer_t *optimizer, float *m, float *v);
void ald_optimizer_scatter(ald_optimizer_t *optimizer, const float *m, const float *v,
                           int64_t steps);

/* The learning rate of step `step` (0-based) of `steps`: a linear rise over the first
 * ceil(warmup_ratio steps) steps, then "cosine", "linear" or "constant" to min_lr_ratio lr. */
double ald_schedule(const ald_config_t *config, int64_t step, int64_t steps);

#endif
