/* The batch of an on-policy step: rows are drawn, generators sample, scorers write shards, trainers
 * learn their names. What is scored together is cut by content (ald_micro_split over the step's
 * items, whoever sampled or scores them), so that the shards' numbers are the same on any number of
 * ranks. Layer: role. */
#ifndef ALD_ROLE_BATCH_H
#define ALD_ROLE_BATCH_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/message.h"
#include "ald/role/generator.h"
#include "ald/role/roles.h"

enum { ALD_ROLE_PATH = 4096 }; /* bytes of a shard's path: Linux takes no longer ones */

/* Seconds that a rank has waited since the metrics of the step before. */
typedef struct {
    double generate; /* as a generator, for the trainers' step and its weights */
    double score;    /* as a scorer, for samples */
    double train;    /* as a trainer, for shards */
} ald_waits_t;

typedef struct {
    ald_roles_t *roles;
    ald_generator_t generator; /* generators */
    ald_arena_t arena;
    int64_t begin;                 /* the step that this run goes on from */
    int64_t *order, *items, count; /* rows of the batch at hand */
    int64_t *tokens;               /* [count] tokens of each item, once all are sampled */
    int64_t *start, groups;        /* group m is scored together: items [start[m], start[m + 1]) */
    ald_vec_t samples;             /* a generator's records */
    ald_vec_t *outbox, *inbox;     /* one per scorer; one per generator */
    ald_sending_t *sending;
    int sends;
    char path[ALD_ROLE_PATH]; /* of this scorer's shard */
    ald_waits_t waits;
} ald_batch_maker_t;

/* RESOURCE without memory. Local; reset it also after a failure. */
ald_status_t ald_batch_maker_init(ald_roles_t *roles, ald_batch_maker_t *out);
void ald_batch_maker_reset(ald_batch_maker_t *maker);
/* Makes the batch of `step`. On trainers the names of its shards are in `paths` afterwards, each
 * freed by ald_free: at most batch_size. What fails here is this rank's failure or what a role that
 * it waits for told it. Every rank of the world; ald_batch_sent must follow. */
ald_status_t ald_batch_make(ald_batch_maker_t *maker, int64_t step, char **paths, int64_t *shards);
/* Waits until what was sent is on its way. Local. */
void ald_batch_sent(ald_batch_maker_t *maker);

#endif
