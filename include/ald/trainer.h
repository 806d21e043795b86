/* The trainer: optimizer steps from shards, and from nothing else. Layer: role. */
#ifndef ALD_TRAINER_H
#define ALD_TRAINER_H

#include "ald/engine.h"
#include "ald/loss.h"
#include "ald/mapped.h"
#include "ald/shardset.h"
#include "ald/vec.h"

typedef struct {
    const ald_config_t *config;
    ald_teacher_t teacher;
    ald_engine_t engine;
    struct {
        ald_params_t params;
        ald_mapped_t *mapped;
        ald_model_t model;
    } heads[2]; /* both teachers, for their output matrices; for `hidden` only */
    int64_t teacher_hidden;
    /* the step at hand */
    ald_shardset_t *set;
    const int64_t *entries; /* of the step, into the set */
    int64_t step_count, policy_step;
    ald_vec_t alphas; /* floats, of this rank's positions */
} ald_trainer_t;

/* Loads the policy. Collective over the trainers, as are all below. */
ald_status_t ald_trainer_init(const ald_config_t *config, const ald_comm_t *trainers,
                              ald_trainer_t *out);
void ald_trainer_reset(ald_trainer_t *trainer);
/* Maps the teachers, whose output matrices `hidden` shards need. */
ald_status_t ald_trainer_heads(ald_trainer_t *trainer);
/* One step on `count` sequences of a set. The metrics lack only what the caller knows (waits). */
ald_status_t ald_trainer_step(ald_trainer_t *trainer, ald_shardset_t *set, const int64_t *entries,
                              int64_t count, double epoch, ald_metrics_t *metrics);

#endif
