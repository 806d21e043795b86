/* The generators' part of an on-policy run: batch after batch, as soon as the policy's version for
 * it is there. Scorers get each response when it has ended. */
#ifndef ROLE_GENERATING_IMPL_H
#define ROLE_GENERATING_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "role/draw_impl.h"
#include "role/weights_impl.h"
#include "role/work_impl.h"

/* What a message of samples begins with; records of ald/role/generator.h follow, with the step's
 * items as their requests. */
typedef struct {
    int64_t step, last; /* last: this generator's samples of the step end here; the shift is set */
    ald_shift_t shift;
} ald_samples_t;

typedef struct {
    ald_work_t *work;
    ald_weights_t *weights;
    ald_draw_t draw;
    int64_t next;      /* the batch to be sampled */
    int64_t *item;     /* [batch_size] of each request; owned */
    ald_vec_t *outbox; /* [scorers] a message in the making each; owned */
    ald_shift_t shift; /* of the batch at hand */
    ald_arena_t arena;
} ald_generating_t;

/* RESOURCE without memory. Local; reset it also then. */
ald_status_t ald_generating_init(ald_work_t *work, ald_weights_t *weights, ald_generating_t *out);
void ald_generating_reset(ald_generating_t *generating); /* takes a zeroed one */
/* Whether the next batch can be sampled. Local. */
bool ald_generating_ready(ald_generating_t *generating);
/* Samples this rank's items of the next batch. Local. */
ald_status_t ald_generating_step(ald_generating_t *generating);

#endif
