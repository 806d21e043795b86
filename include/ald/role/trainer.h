/* The trainer: optimizer steps from shards, and from nothing else. Layer: role. */
#ifndef ALD_ROLE_TRAINER_H
#define ALD_ROLE_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/shard/format.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"

/* A micro-batch as it was read, in an arena. */
typedef struct {
    const ald_scored_t *sequence;
    ald_packed_t packed;
    double waited; /* seconds */
} ald_reading_t;

typedef struct {
    const ald_config_t *config;
    ald_teacher_t teacher;
    ald_engine_t engine;
    struct {
        ald_params_t params;
        ald_mapped_t *mapped;
        ald_model_t model;
        ald_head_digest_t digest; /* root only */
    } heads[2]; /* both teachers, for their output matrices; for hidden and hidden32 only */
    int64_t
        vocabulary; /* tokens that the losses are over: those of policy and shards; 0: not yet */
    /* the step at hand */
    ald_shardset_t *set;
    const int64_t *entries; /* of the step, into the set */
    int64_t step_count, policy_step;
    ald_readahead_t *ahead; /* NULL: none is open */
    ald_vec_t alphas;       /* floats, of this rank's positions */
    double worst;           /* the largest bound on a teacher's error among them */
    bool warned;
    ald_reading_t reading;  /* of the micro-batch at hand */
    ald_arena_t shared;     /* holds it, in the first of the trainers that use it */
    int64_t sequences_read; /* by this rank, as that first one */
} ald_trainer_t;

/* Whether a run of this configuration can learn from shards of the set's encoding: USAGE naming the
 * setting that it can't have; a step says so too. Local. */
ald_status_t ald_trainer_fits(const ald_config_t *config, const ald_shardset_t *set);
/* Loads the policy. Collective over the trainers, as are all below. */
ald_status_t ald_trainer_init(const ald_config_t *config, const ald_comm_t *trainers,
                              ald_trainer_t *out);
void ald_trainer_reset(ald_trainer_t *trainer);
/* Maps the teachers, whose output matrices `hidden` and `hidden32` shards need; INPUT when they
 * aren't those of the set's shards. */
ald_status_t ald_trainer_heads(ald_trainer_t *trainer, const ald_shardset_t *set);
/* Sets `vocabulary` for the shards of a set (ald/model/vocabulary.h) unless it has been; a step
 * does so too. A shard's teacher with more rows than the policy is restricted to the policy's and
 * normalised again, its alpha still that of the shard's tvd. INPUT when policy and shards differ in
 * tokens that the tokenizer has. Local. */
ald_status_t ald_trainer_vocabulary(ald_trainer_t *trainer, const ald_shardset_t *set);
/* Reads ahead from now on, over several steps on one set: begin before the first, then plan each
 * step before the step in front of it (the first before itself), end after the last. Without a
 * begin a step reads ahead over its own sequences. Local. */
ald_status_t ald_trainer_ahead_begin(ald_trainer_t *trainer, ald_shardset_t *set);
ald_status_t ald_trainer_ahead_plan(ald_trainer_t *trainer, const ald_shardset_t *set,
                                    const int64_t *entries, int64_t count);
void ald_trainer_ahead_end(ald_trainer_t *trainer);
/* Of a step's entries those that this rank reads, in their order: mine[count] gets *mine_count.
 * Local. */
ald_status_t ald_trainer_share(const ald_trainer_t *trainer, const ald_shardset_t *set,
                               const int64_t *entries, int64_t count, int64_t *mine,
                               int64_t *mine_count);

#endif
