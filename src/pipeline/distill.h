/* Private to pipeline: what the two ways to distil share. */
#ifndef ALD_PIPELINE_DISTILL_H
#define ALD_PIPELINE_DISTILL_H

#include "ald/dataset.h"
#include "ald/generator.h"
#include "ald/placement.h"
#include "ald/scorer.h"
#include "ald/trainer.h"

typedef struct {
    const ald_config_t *config;
    const ald_comm_t *world;
    ald_placement_t place;
    bool trains, scores, generates; /* this rank's roles */
    ald_comm_t trainers, scorers;   /* size 0 where this rank isn't in them */
    ald_dataset_t data;             /* on-policy and mixed: every rank; off-policy: scorers */
    ald_scorer_t scorer;            /* scorers */
    ald_trainer_t trainer;          /* trainers */
    float *policy;                  /* a generator's copy; trainers sample from their own */
    ald_params_t policy_params;
} ald_distill_t;

/* Trains on the shards of the folder. Collective over the world. */
ald_status_t ald_distill_off_policy(ald_distill_t *distill);
/* Generates, scores and trains step by step. Collective over the world. */
ald_status_t ald_distill_on_policy(ald_distill_t *distill);

#endif
