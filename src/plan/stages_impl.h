/* Private to plan: what the stages of a plan share. */
#ifndef ALD_PLAN_STAGES_IMPL_H
#define ALD_PLAN_STAGES_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/plan/memory.h"
#include "ald/plan/stages.h"
#include "ald/shard/format.h"

int ald_plan_ranks(const ald_plan_t *plan);
bool ald_plan_on_policy(const ald_config_t *config);

/* The sequences that are scored of the rows of data.train. */
typedef struct {
    const ald_plan_rows_t *rows;
    ald_responses_t responses;
    int64_t per_row, count;
    double response; /* mean tokens */
} ald_plan_scored_t;
ald_plan_scored_t ald_plan_scoring(const ald_plan_t *plan);
ald_item_t ald_plan_scored(const void *scored, int64_t i); /* an ald_plan_item_fn */

/* The header of shards as far as their size depends on it; *text is freed by ald_free. */
ald_status_t ald_plan_header(const ald_plan_t *plan, ald_shard_header_t *out, char **text);
void ald_plan_fill_scoring(const ald_plan_t *plan, const ald_shard_header_t *header,
                           ald_scoring_plan_t *out);

/* A process that holds so much before the work that is planned. */
void ald_plan_begin(const ald_plan_t *plan, const char *stage, double held, ald_memory_plan_t *out);
void ald_plan_add_role(ald_promise_t *promise, const char *name, int ranks,
                       const ald_memory_plan_t *memory);
ald_training_plan_t ald_plan_training(const ald_plan_t *plan, const ald_plan_model_t *model,
                                      int64_t count);
ald_step_work_t ald_plan_step(const ald_training_plan_t *training, bool pairs, bool lessons);
/* Promises steps of so many micro-batches and seconds each. */
void ald_plan_promise_steps(const ald_plan_t *plan, const ald_rates_t *rates,
                            const ald_training_plan_t *training, double micros, double step,
                            ald_promise_t *promise);

ald_status_t ald_plan_promise_distill(ald_plan_t *plan, const ald_rates_t *rates);
void ald_plan_promise_eval(ald_plan_t *plan, const ald_rates_t *rates);

#endif
