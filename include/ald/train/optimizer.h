/* Gradients summed over trainers and AdamW with its state spread over them. Layer: train.
 *
 * A micro-batch's gradient is added into 64-bit fixed point, whose sums don't depend on order: any
 * number of trainers and any split of the micro-batches gives the same bits. The unit is 2^-40
 * while that suits the gradients; where the largest element of a step's gradients is so small that
 * it has no more than 26 bits, or so large that the sums may overflow, the unit becomes one in
 * which it has 40, and the step is computed again. That element is the same for any split, so the
 * unit is. The flat buffer is cut into blocks of 65,536 floats; a trainer owns a run of whole
 * blocks, holds their two moments, and updates their parameters. */
#ifndef ALD_TRAIN_OPTIMIZER_H
#define ALD_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"

/* Floats [begin, end) of the flat buffer. */
typedef struct {
    int64_t begin, end;
} ald_span_t;

typedef struct {
    const ald_comm_t *comm; /* the trainers */
    int64_t total;          /* floats in the flat buffer */
    int64_t first, count;   /* this rank's share */
    int64_t *sum;           /* [total] of gradients, in units of 2^unit */
    int unit;
    int64_t addends; /* micro-batches of the step, on all trainers together */
    float largest;   /* magnitude of an element of the gradients that this rank has added */
    float *m, *v;    /* [count] moments */
    int64_t steps;   /* updates done */
    double beta1, beta2, epsilon, weight_decay, max_grad_norm;
    ald_span_t *spared; /* [spans] without weight decay, in order; owned */
    int64_t spans;
} ald_optimizer_t;

/* The first float of the share of trainer `rank` of `size`: whole blocks, the last one's end at
 * `total`. For rank = size it is `total`. Local. */
int64_t ald_optimizer_share(int64_t total, int size, int rank);

/* RESOURCE without memory. Local, but all trainers must agree on the status after. */
ald_status_t ald_optimizer_init(const ald_config_t *config, const ald_comm_t *trainers,
                                int64_t total, ald_optimizer_t *out);
void ald_optimizer_reset(ald_optimizer_t *optimizer); /* takes a zeroed one */

/* Spares norms and biases, the tensors of one dimension, the weight decay, as transformers' Trainer
 * does. RESOURCE without memory. Local. */
ald_status_t ald_optimizer_spare(const ald_params_t *params, ald_optimizer_t *optimizer);

/* Begins the sums of a step of `addends` micro-batches on all trainers together. Local. */
void ald_optimizer_begin(ald_optimizer_t *optimizer, int64_t addends);
/* Adds the gradient of the floats [offset, offset + count) into their sums and zeroes it. A
 * micro-batch's gradient may come in any pieces, but each float in one. INTERNAL when an element
 * isn't finite. Local. */
ald_status_t ald_optimizer_add(ald_optimizer_t *optimizer, int64_t offset, int64_t count,
                               float *gradient);
/* Once all are added: whether the unit suits them. If not, it is changed and the sums are zero
 * again, for the same gradients to be added once more. Collective over the trainers; the same
 * answer on all of them. */
bool ald_optimizer_fits(ald_optimizer_t *optimizer);
/* Sums over trainers, clips by the global norm, takes one AdamW step (Loshchilov and Hutter 2019;
 * decoupled decay, bias-corrected) at rate `lr` on this rank's share, gathers `values` [total] on
 * every trainer. Gives the norm before clipping. INTERNAL where the clipped norm's square overflows
 * the moments. Collective over the trainers. */
ald_status_t ald_optimizer_step(ald_optimizer_t *optimizer, double lr, float *values,
                                double *grad_norm);

/* The learning rate of step `step` (0-based) of `steps`: a linear rise over the first
 * ceil(warmup_ratio steps) steps, then "cosine", "linear" or "constant" to min_lr_ratio lr. */
double ald_schedule(const ald_config_t *config, int64_t step, int64_t steps);

#endif
