/* The order in which training draws the sequences of one or several sources of shards. Layer:
 * shard.
 *
 * An epoch is as many draws as all sources together have sequences, cut into steps of batch_size
 * (the last one is shorter). A step of `count` items takes item i from the source whose stretch of
 * the weights, laid end to end on [0, 1), holds (i + u) / count, u being the step's random number:
 * each source's share of a step is within one sequence of its weight, and on average exact. A
 * source gives its sequences in a random order, all of them before any a second time. One source
 * alone is drawn as ald_step_items (ald/train/order.h) draws. */
#ifndef ALD_SHARD_MIX_H
#define ALD_SHARD_MIX_H

#include <stdint.h>

#include "ald/base/status.h"

typedef struct {
    int64_t sources, total, batch;
    uint64_t seed;
    int64_t step;         /* the one that is drawn next */
    const int64_t *start; /* [sources + 1] source k: entries [start[k], start[k + 1]); borrowed */
    double *edge;         /* [sources + 1] ends of the stretches; owned, as is what follows */
    int64_t *drawn;       /* [sources] so far */
    int64_t *order;       /* [total] each source's order at hand */
    int64_t *items;       /* [batch] of the step drawn last: entries */
} ald_mix_t;

/* `weights` [sources], above 0; NULL: one source. RESOURCE without memory. Local. */
ald_status_t ald_mix_init(const int64_t *start, const double *weights, int64_t sources,
                          uint64_t seed, int64_t batch, ald_mix_t *out);
void ald_mix_reset(ald_mix_t *mix); /* takes a zeroed one */
int64_t ald_mix_epoch_steps(const ald_mix_t *mix);
/* Draws step `step` into mix->items; returns how many there are. Depends on the arguments of init
 * and on `step` only. Steps in rising order are quick; going back draws all earlier ones anew.
 * Local. */
int64_t ald_mix_draw(ald_mix_t *mix, int64_t step);

#endif
