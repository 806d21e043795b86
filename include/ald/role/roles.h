/* A distillation's roles, and what this rank holds for those that it has. Layer: role. */
#ifndef ALD_ROLE_ROLES_H
#define ALD_ROLE_ROLES_H

#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/objective/distill.h"
#include "ald/par/comm.h"
#include "ald/role/placement.h"
#include "ald/role/scorer.h"
#include "ald/shard/mix.h"
#include "ald/shard/set.h"
#include "ald/train/engine.h"

typedef struct {
    const ald_config_t *config;
    const ald_comm_t *world;
    ald_placement_t place;
    bool trains, scores, generates; /* this rank's roles */
    ald_comm_t trainers, scorers;   /* size 0 where this rank isn't in them */
    ald_dataset_t data;             /* on-policy and mixed: every rank; off-policy: scorers */
    ald_scorer_t scorer;            /* scorers */
    ald_engine_t engine;            /* trainers */
    ald_distiller_t distiller;      /* trainers */
    ald_shardset_t *kept; /* mode mixed: sequences that it trains on as they are, in place of the
                             data's responses; NULL: those are scored. Borrowed, as is mix */
    ald_mix_t *mix;       /* which of them a step takes */
    bool finished;        /* there is nothing to do: an equal run is finished */
} ald_roles_t;

/* Without any role yet. Local. */
void ald_roles_init(const ald_config_t *config, const ald_comm_t *world, ald_roles_t *out);
/* Gives this rank its roles, of those that the run has: trainers always, scorers and generators if
 * it scores and generates. USAGE as ald_placement_make. Collective over the world. */
ald_status_t ald_roles_split(bool scoring, bool generating, ald_roles_t *roles);
/* Frees what this rank holds for its roles. Collective over the world. */
void ald_roles_reset(ald_roles_t *roles);

#endif
