/* The stages of a configuration from numbers alone. What a rank holds when its work begins is added
 * up here; what comes to it is what the stage says itself (ald/plan/stage_memory.h). */
#include "ald/plan/stages.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/gradients.h"
#include "ald/objective/preference.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/role/placement.h"
#include "ald/shard/format.h"
#include "ald/teacher/teacher.h"
#include "ald/train/order.h"
#include "plan/stages_impl.h"

enum { EVAL_ROWS = 1000 }; /* where there is no data.eval */
/* Of the texts of a row, which has two responses, those of a prompt and one of them. */
#define TEXTS_OF_ONE 0.67
/* Bytes that the heap keeps of dpo's pass over its reference, when the steps begin; measured. */
#define REFERENCE_LEAVES 1e7
/* Numbers that a step of each kind of training writes down. */
enum { SFT_METRICS = 15, DPO_METRICS = 21 };

/* --- rows as items ---------------------------------------------------------------------------- */

static ald_item_t item_chosen(const void *rows, int64_t i)
{
    const ald_lengths_t row = ald_plan_row(rows, i);
    return (ald_item_t){.prompt_count = row.prompt,
                        .responses = 1,
                        .response_count = {row.chosen > 0 ? row.chosen : 1, 0}};
}

static ald_item_t item_pair(const void *rows, int64_t i)
{
    const ald_lengths_t row = ald_plan_row(rows, i);
    return (ald_item_t){
        .prompt_count = row.prompt, .responses = 2, .response_count = {row.chosen, row.rejected}};
}

/* The fullest node has as many as it can of the largest ranks; mapped pages once. */
static void fill_node(const ald_plan_t *plan, ald_promise_t *promise)
{
    double own[ALD_PLAN_ROLES], mapped = 0.0;
    int left = plan->site.ranks, there[ALD_PLAN_ROLES];
    for (int r = 0; r < promise->roles; ++r) {
        own[r] = promise->role[r].peak - promise->role[r].mapped;
        there[r] = promise->role[r].ranks;
        mapped = fmax(mapped, promise->role[r].mapped);
    }
    promise->node = mapped;
    while (left > 0) {
        int most = -1;
        for (int r = 0; r < promise->roles; ++r)
            if (there[r] > 0 && (most < 0 || own[r] > own[most]))
                most = r;
        if (most < 0)
            break;
        there[most] -= 1;
        left -= 1;
        promise->node += own[most];
    }
}

/* --- sft, dpo --------------------------------------------------------------------------------- */

static ald_status_t promise_sft(ald_plan_t *plan, const ald_rates_t *rates)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_promise_t *promise = &plan->promise[ALD_PLAN_SFT];
    ald_plan_model_t model = {.directory = NULL};
    ald_memory_plan_t memory;
    const int ranks = ald_plan_ranks(plan);
    if (plan->config->sft.model[0] == '\0')
        return status;
    ALD_TRY(ald_plan_model(plan->config, "sft.model", plan->config->sft.model, plan->model_config,
                           &model));
    ald_training_plan_t training = ald_plan_training(plan, &model, plan->train.count);
    *promise = (ald_promise_t){.stage = "sft",
                               .output = plan->config->sft.output,
                               .steps = training.steps,
                               .sequences = plan->train.count};
    ALD_TRY(ald_micro_most_rows(plan->config, training.steps, plan->train.count, item_chosen,
                                &plan->train, &training.most));
    ald_plan_begin(plan, "sft", plan->train.held + ald_memory_trained(model.params.total, ranks),
                   &memory);
    ald_memory_rows(&memory, &training, NULL);
    ald_plan_add_role(promise, "trainer", ranks, &memory);
    ALD_TRY(ald_storage_training(plan->config, &model, training.steps, ranks, SFT_METRICS,
                                 &promise->storage));
    const ald_step_work_t step = ald_plan_step(&training, false, false);
    ald_plan_promise_steps(plan, rates, &training, step.micros, ald_cost_train(rates, &step, ranks),
                           promise);
done:
    ald_plan_model_reset(&model);
    return status;
}

/* The pass over the pairs that dpo's first step doesn't have. */
static double reference_seconds(const ald_plan_t *plan, const ald_rates_t *rates,
                                const ald_training_plan_t *training)
{
    const ald_config_t *config = plan->config;
    const bool own = config->dpo.reference[0] == '\0' ||
                     ald_plan_same_path(config->dpo.reference, config->dpo.policy);
    const int64_t n = plan->train.count, batch = config->optimizer.batch_size;
    const int64_t left = own ? (n > batch ? n - batch : 0) : n;
    const double tokens =
        training->most.all_tokens / (double)training->steps / (double)(batch < n ? batch : n);
    return (double)left * tokens * 0.5 * rates->score / ald_plan_ranks(plan);
}

/* `reverse`: with chosen and rejected swapped. */
static ald_status_t promise_dpo(ald_plan_t *plan, const ald_rates_t *rates, bool reverse)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = plan->config;
    ald_promise_t *promise = &plan->promise[reverse ? ALD_PLAN_REVERSE : ALD_PLAN_DPO];
    ald_plan_model_t model = {.directory = NULL};
    ald_memory_plan_t memory;
    const int ranks = ald_plan_ranks(plan);
    const ald_reference_use_t need = ald_preference_reference(config->dpo.loss);
    if (config->dpo.policy[0] == '\0' || (reverse && config->teacher.reverse[0] == '\0'))
        return status;
    ALD_TRY(ald_plan_model(config, "dpo.policy", config->dpo.policy, plan->model_config, &model));
    ald_training_plan_t training = ald_plan_training(plan, &model, plan->train.count);
    *promise = (ald_promise_t){.stage = reverse ? "reverse" : "dpo",
                               .output = reverse ? config->teacher.reverse : config->dpo.output,
                               .steps = training.steps,
                               .sequences = plan->train.count};
    ALD_TRY(ald_micro_most_rows(config, training.steps, plan->train.count, item_pair, &plan->train,
                                &training.most));
    ald_plan_begin(plan, promise->stage,
                   plan->train.held + ald_memory_trained(model.params.total, ranks), &memory);
    const ald_beside_plan_t beside = {
        .shape = &model.params.config, .mapped = model.weights, .key = "dpo.reference"};
    ald_memory_rows(&memory, &training, need == ALD_REFERENCE_ROWS ? &beside : NULL);
    ald_plan_add_role(promise, "trainer", ranks, &memory);
    ALD_TRY(ald_storage_training(config, &model, training.steps, ranks, DPO_METRICS,
                                 &promise->storage));
    const ald_step_work_t step = ald_plan_step(&training, true, false);
    ald_plan_promise_steps(plan, rates, &training, step.micros, ald_cost_train(rates, &step, ranks),
                           promise);
    if (need == ALD_REFERENCE_SUMS) {
        promise->role[0].peak += REFERENCE_LEAVES;
        ald_storage_reference(plan->train.count, &promise->storage);
        promise->seconds += reference_seconds(plan, rates, &training);
    }
done:
    ald_plan_model_reset(&model);
    return status;
}

/* --- score ------------------------------------------------------------------------------------ */

/* What sequences [first, end) have together. */
static ald_shard_content_t content_of(const ald_plan_t *plan, const ald_plan_scored_t *scored,
                                      int64_t first, int64_t end)
{
    const double text = TEXTS_OF_ONE * plan->train.text * (double)(end - first);
    ald_shard_content_t out = {.sequences = end - first, .text_bytes = (int64_t)text};
    for (int64_t i = first; i < end; ++i) {
        const ald_item_t item = ald_plan_scored(scored, i);
        out.tokens += item.prompt_count + item.response_count[0];
        out.positions += item.response_count[0];
    }
    return out;
}

/* Whole shards are alike, as they have many sequences; the last one is what is left. */
static void add_shards(const ald_plan_t *plan, const ald_plan_scored_t *scored, int64_t per_shard,
                       const ald_shard_header_t *header, ald_storage_t *storage)
{
    const int64_t whole = scored->count / per_shard, end = whole * per_shard;
    const ald_shard_content_t rest = content_of(plan, scored, end, scored->count);
    ald_shard_content_t one = content_of(plan, scored, 0, end);
    if (whole > 0) {
        one.sequences /= whole;
        one.tokens /= whole;
        one.positions /= whole;
        one.text_bytes /= whole;
    }
    ald_storage_shards(header, &one, whole, storage);
    ald_storage_shards(header, &rest, 1, storage);
}

static ald_status_t promise_score(ald_plan_t *plan, const ald_rates_t *rates)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = plan->config;
    ald_promise_t *promise = &plan->promise[ALD_PLAN_SCORE];
    const ald_plan_scored_t scored = ald_plan_scoring(plan);
    const int64_t per_shard = ald_plan_per_shard(config, scored.per_row);
    const int ranks = ald_plan_ranks(plan);
    ald_memory_plan_t memory;
    ald_shard_header_t header;
    ald_scoring_plan_t scoring;
    char *text = NULL;
    if (config->teacher.dpo[0] == '\0')
        return status;
    ALD_TRY(ald_plan_header(plan, &header, &text));
    *promise = (ald_promise_t){
        .stage = "score", .output = config->shards.directory, .sequences = scored.count};
    ald_plan_fill_scoring(plan, &header, &scoring);
    ald_micro_most_shards(ald_plan_scored, &scored, scored.count, per_shard, scored.per_row,
                          &scoring.most, &scoring.positions);
    ald_plan_begin(plan, "score", plan->train.held, &memory);
    ald_memory_score(&memory, &scoring);
    ald_plan_add_role(promise, "scorer", ranks, &memory);
    add_shards(plan, &scored, per_shard, &header, &promise->storage);
    const double shards = ceil((double)scored.count / (double)per_shard);
    const double rounds = ceil(shards / ranks) / shards;
    promise->seconds = rates->start + 2.0 * (double)plan->teacher.weights / rates->writing +
                       rounds * scoring.most.all_tokens * rates->score;
done:
    ald_free(text);
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

ald_status_t ald_plan_promise(ald_plan_t *plan, const ald_rates_t *rates, ald_plan_stage_t stage)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_promise_t *promise = &plan->promise[stage];
    *promise = (ald_promise_t){.stage = NULL};
    if (stage == ALD_PLAN_SFT)
        status = promise_sft(plan, rates);
    else if (stage == ALD_PLAN_DPO || stage == ALD_PLAN_REVERSE)
        status = promise_dpo(plan, rates, stage == ALD_PLAN_REVERSE);
    else if (stage == ALD_PLAN_SCORE)
        status = promise_score(plan, rates);
    else if (stage == ALD_PLAN_DISTILL)
        status = ald_plan_promise_distill(plan, rates);
    else
        ald_plan_promise_eval(plan, rates);
    if (status == ALD_STATUS_OK)
        fill_node(plan, promise);
    return status;
}

/* The model that most stages work on: the first one of these that the configuration names. */
static ald_status_t open_model(const ald_plan_t *plan, bool teacher, ald_plan_model_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = plan->config;
    const struct {
        const char *key, *path;
    } names[] = {{"teacher.dpo", teacher ? config->teacher.dpo : ""},
                 {"distill.policy", config->distill.policy},
                 {"dpo.policy", config->dpo.policy},
                 {"sft.model", config->sft.model},
                 {"teacher.dpo", config->teacher.dpo},
                 {"eval.model", config->eval.model}};
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (names[i].path[0] != '\0')
            return ald_plan_model(config, names[i].key, names[i].path, plan->model_config, out);
    ALD_CHECK(false, ALD_STATUS_USAGE,
              "plan: the configuration names no model; expected sft.model, dpo.policy, "
              "teacher.dpo, distill.policy or eval.model");
done:
    return status;
}

ald_status_t ald_plan_open(ald_plan_t *plan, const ald_rows_given_t *given)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = plan->config;
    ald_memory_plan_t now;
    ald_memory_begin("plan", &now);
    plan->base = now.now;
    ALD_TRY(open_model(plan, false, &plan->policy));
    ALD_TRY(open_model(plan, true, &plan->teacher));
    const int64_t vocab_size = plan->policy.params.config.vocab_size;
    ALD_TRY(ald_plan_rows(config, config->data.train, plan->policy.directory, vocab_size, given,
                          &plan->train));
    const bool eval_there = given->rows == 0 && ald_path_exists(config->data.eval);
    const ald_rows_given_t eval = {eval_there ? 0 : EVAL_ROWS, given->prompt, given->response};
    ald_config_t some = *config; /* its texts stay the caller's */
    if (config->eval.max_rows > 0)
        some.data.max_rows = config->eval.max_rows;
    ALD_TRY(ald_plan_rows(&some, config->data.eval, plan->policy.directory, vocab_size, &eval,
                          &plan->eval));
done:
    return status;
}

void ald_plan_close(ald_plan_t *plan)
{
    ald_plan_rows_reset(&plan->train);
    ald_plan_rows_reset(&plan->eval);
    ald_plan_model_reset(&plan->policy);
    ald_plan_model_reset(&plan->teacher);
}
