/* Distillation of a composed teacher from shards, and from nothing else. Items are entries of a set
 * of shards. Layer: objective. */
#ifndef ALD_OBJECTIVE_DISTILL_H
#define ALD_OBJECTIVE_DISTILL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/shard/format.h"
#include "ald/shard/set.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"

/* A micro-batch as the feed reads it (ald_micro_t.reading), in an arena. */
typedef struct {
    const ald_scored_t *sequence;
    ald_packed_t packed;
    double waited; /* seconds until it was there */
} ald_reading_t;

/* One of both models, for its output matrix; encodings of hidden states only. */
typedef struct {
    ald_params_t params;
    ald_mapped_t *mapped;
    ald_model_t model;        /* points to the two above */
    ald_head_digest_t digest; /* root only */
} ald_teacher_head_t;

/* The state of ALD_OBJECTIVE_DISTILL. */
typedef struct {
    const ald_config_t *config;
    ald_engine_t *engine; /* the run's */
    ald_teacher_t teacher;
    ald_shardset_t *set;         /* the caller's, of which the items are entries */
    int64_t policy_step;         /* of the policy that sampled the responses; -1: not on-policy */
    ald_teacher_head_t heads[2]; /* of pi_dpo and of the contrast */
    int64_t vocabulary; /* tokens that policy and shards share, which the losses are over; 0: not
                           known yet */
    /* What follows is of the step at hand. */
    ald_vec_t alphas;  /* floats, of this rank's positions */
    ald_vec_t tvds;    /* the same of their TVD */
    ald_vec_t choices; /* doubles, of this rank's sequences: row and spread (ald/teacher/teacher.h);
                          with granularity "auto" */
    ald_vec_t returns; /* doubles, of the set's entries: a response's mean return; policy gradients
                          only (ald/objective/policy_gradient.h) */
    double worst;      /* the largest bound on a teacher's error among them */
    bool warned;       /* of the error; one warning a run */
} ald_distiller_t;

/* Settings from the engine's configuration. Local. */
void ald_distiller_init(ald_engine_t *engine, ald_distiller_t *out);
void ald_distiller_reset(ald_distiller_t *distiller); /* takes a zeroed one */
/* Whether a run of this configuration can learn from shards of the set's encoding: USAGE naming the
 * setting that it can't have; a step checks it again. Local. */
ald_status_t ald_distiller_fits(const ald_config_t *config, const ald_shardset_t *set);
/* Looks at all responses of `set` before a step, for what policy gradients need of them at once;
 * nothing with the signal "distribution". INPUT for a response that wasn't sampled. Nothing else
 * may read the set meanwhile. Local: a trainer looks at its share. */
ald_status_t ald_distiller_look(ald_distiller_t *distiller);
/* Sets `vocabulary` for the shards of a set (ald/model/vocabulary.h) unless it has been; a step
 * does so too. Shards of schema 1 are read as they were, with padding rows: a teacher with more
 * rows than the policy is restricted to the policy's and normalised again, its alpha still that of
 * the shard's tvd. INPUT when policy and shards differ in tokens that the tokenizer has. Local. */
ald_status_t ald_distiller_vocabulary(ald_distiller_t *distiller, const ald_shardset_t *set);

#endif
