/* The memory of each stage, from numbers alone. A stage says it before its loop begins, and
 * `aligndistil plan` before there is a model or a row of data: both by these functions, so that
 * what is promised can't drift from what is said. Bytes. All local. Layer: plan. */
#ifndef ALD_PLAN_STAGE_MEMORY_H
#define ALD_PLAN_STAGE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/config.h"
#include "ald/model/model_config.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/role/placement.h"

/* sft, and dpo with `beside` for a reference that its loss runs, else NULL. */
void ald_memory_rows(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                     const ald_beside_plan_t *beside);

/* score: one shard after the other. */
void ald_memory_score(ald_memory_plan_t *plan, const ald_scoring_plan_t *scoring);

/* On-policy and mixed distillation. `training`, `lessons` (but for what is read ahead and open) and
 * `scoring` (but for its micro-batches) are of this run; no prompt is longer than `prompt`, no
 * sample than `sampled`, no response, sampled or of the data, than `longest`. */
typedef struct {
    const ald_placement_t *place;
    const ald_training_plan_t *training;
    ald_lessons_plan_t lessons;
    ald_scoring_plan_t scoring;
    int64_t rows, prompt, sampled, longest;
    bool trains, scores, generates; /* the roles of the rank */
} ald_on_policy_plan_t;
void ald_memory_on_policy(ald_memory_plan_t *plan, const ald_on_policy_plan_t *run);

/* eval: `models` are different ones, mapped from files of so many bytes. */
enum { ALD_EVALUATED_MODELS = 8 };
typedef struct {
    const ald_config_t *config;
    const ald_model_config_t *shape;
    int models;
    int64_t mapped[ALD_EVALUATED_MODELS];
    const char *key[ALD_EVALUATED_MODELS];
    int64_t samples, prompt; /* answers, behind prompts of so many tokens at most */
    ald_micro_most_t most;   /* of pairs and answers */
} ald_evaluation_plan_t;
void ald_memory_eval(ald_memory_plan_t *plan, const ald_evaluation_plan_t *evaluation);

#endif
