/* A distillation's roles, and what this rank holds for those that it has. Layer: role. */
#ifndef ALD_ROLE_ROLES_H
#define ALD_ROLE_ROLES_H

#include <stdbool.h>

#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/model/params.h"
#include "ald/objective/distill.h"
#include "ald/par/comm.h"
#include "ald/role/placement.h"
#include "ald/role/scorer.h"
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
    float *policy;                  /* of generators that don't train, a copy of the policy */
    ald_params_t policy_params;
} ald_roles_t;

#endif
