/* What a step of an on-policy run is made of: its rows, which of them are sampled and which have
 * the data's responses, and who works on them. All of it follows from configuration and step alone,
 * so that every rank knows it without a message. */
#ifndef ROLE_DRAW_IMPL_H
#define ROLE_DRAW_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/data/pairs.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"

/* Items [0, count) are rows of the data. They are scored in blocks of `size`, which are the same on
 * any number of ranks: what is computed together is in one block. */
typedef struct {
    const ald_roles_t *roles;
    int64_t step, *items, count; /* -1 before the first; owned */
    int64_t size, blocks;
    int64_t steps;  /* of the run, for a share that changes over it */
    int64_t *order; /* [rows] scratch, borrowed */
} ald_draw_t;

/* `order` [rows] is scratch memory, which several may share. RESOURCE without memory. */
ald_status_t ald_draw_init(const ald_roles_t *roles, int64_t *order, ald_draw_t *out);
void ald_draw_reset(ald_draw_t *draw); /* takes a zeroed one */
void ald_draw_step(ald_draw_t *draw, int64_t step);
const ald_pair_t *ald_draw_pair(const ald_draw_t *draw, int64_t item);
bool ald_draw_is_sampled(const ald_draw_t *draw, int64_t item);
/* The sequence of an item: with the data's response, or without one if it is sampled. The texts are
 * the data's. */
ald_scored_t ald_draw_sequence(const ald_draw_t *draw, int64_t item);
/* Scorer s has blocks [first(s), first(s + 1)); block b items [begin(b), begin(b + 1)). */
int64_t ald_draw_first_block(const ald_draw_t *draw, int64_t scorer);
int64_t ald_draw_begin(const ald_draw_t *draw, int64_t block);
int64_t ald_draw_scorer(const ald_draw_t *draw, int64_t item);

#endif
