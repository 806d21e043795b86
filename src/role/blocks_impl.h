/* The scorers' part of an on-policy run: a block of a step's items is scored when its samples are
 * there; a scorer's blocks of a step are one shard, whose name goes to every trainer. */
#ifndef ROLE_BLOCKS_IMPL_H
#define ROLE_BLOCKS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/role/generator.h"
#include "ald/shard/write.h"
#include "role/draw_impl.h"
#include "role/work_impl.h"

/* What a message of a shard holds; its path, NUL-terminated, follows: "" where the scorer had no
 * block. */
typedef struct {
    int64_t step;
    ald_shift_t generators, scorer; /* of generators the longest, with all their tokens */
} ald_scored_step_t;

/* A response that was sampled; the arrays lie in a message. */
typedef struct {
    const int32_t *ids; /* NULL: not yet */
    const float *logprobs;
    int64_t count;
} ald_response_t;

/* A step whose samples come. */
typedef struct {
    ald_draw_t draw;
    ald_vec_t messages;        /* ald_vec_t of bytes, each owned */
    ald_response_t *responses; /* [batch_size] owned */
    int64_t *kept;             /* [batch_size] the entry of roles->kept that an item is, where it
                                  isn't sampled and there are kept ones; owned */
    int64_t closed;            /* generators that have sampled all they have to */
    ald_shift_t generators, scorer;
    int64_t next, end;          /* the block that is scored next, the end of this scorer's */
    char *path;                 /* of its shard; owned */
    ald_shard_writer_t *writer; /* open from its first block on */
} ald_step_blocks_t;

typedef struct {
    ald_work_t *work;
    ald_step_blocks_t *steps; /* [max_staleness + 1] owned, a ring */
    int64_t next;             /* the step that is scored next, or at this time */
    ald_vec_t inbox;
    ald_arena_t arena;
} ald_blocks_t;

/* RESOURCE without memory. `next` is still to be set. Local; reset it also then. */
ald_status_t ald_blocks_init(ald_work_t *work, ald_blocks_t *out);
void ald_blocks_reset(ald_blocks_t *blocks); /* takes a zeroed one */
/* Takes the samples that have come. Local. */
ald_status_t ald_blocks_look(ald_blocks_t *blocks);
/* Whether there is something to score, or a shard to finish. Local. */
bool ald_blocks_ready(const ald_blocks_t *blocks);
/* Scores the next block, or finishes the shard of a step and tells the trainers. Local. */
ald_status_t ald_blocks_step(ald_blocks_t *blocks);

#endif
