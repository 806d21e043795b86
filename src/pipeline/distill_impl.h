/* Private to pipeline: what the two ways to distil share. */
#ifndef ALD_PIPELINE_DISTILL_IMPL_H
#define ALD_PIPELINE_DISTILL_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/pipeline/placement.h"
#include "ald/role/scorer.h"
#include "ald/role/trainer.h"
#include "ald/shard/format.h"
#include "pipeline/corpus_impl.h"

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

/* What the shards must say, as far as the configuration tells: a teacher that isn't set may be any.
 * Local. */
ald_status_t ald_distill_expected(const ald_config_t *config, ald_shard_header_t *out);

/* What a run was made from, for its done.json. */
ald_json_t *ald_distill_inputs(const ald_config_t *config);

/* shards.directory in an on-policy run; all local. Makes the folder and removes an earlier run's
 * shards numbered `first` or above, which must not stand beside this run's. USAGE when it holds a
 * data file's shards, which must not be written over, INPUT for another program's. */
ald_status_t ald_folder_clear(const ald_config_t *config, int64_t first);
/* The shards of a step: at most batch_size paths, each freed by ald_free. */
ald_status_t ald_folder_find(const ald_config_t *config, int64_t step, char **paths,
                             int64_t *count);
/* Whether they are whole, fit, and hold `count` sequences together. */
ald_status_t ald_folder_has(const ald_config_t *config, int64_t step, int64_t count,
                            const ald_shard_header_t *expected, bool *out);

/* Says with --verbose what training on the corpus, from the engine's step on, will take. Local. */
ald_status_t ald_distill_memory(const ald_distill_t *distill, const ald_corpus_t *corpus);
/* The same for all of a rank's roles in an on-policy run, each of whose samples may become as long
 * as the configuration allows. Collective over the world. */
ald_status_t ald_distill_memory_on_policy(const ald_distill_t *distill);
/* Trains on the shards of the folder. Collective over the world. */
ald_status_t ald_distill_off_policy(ald_distill_t *distill);
/* Generates, scores and trains step by step. Collective over the world. */
ald_status_t ald_distill_on_policy(ald_distill_t *distill);

#endif
