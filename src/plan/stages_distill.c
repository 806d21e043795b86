/* Distillation and evaluation: the stages that learn from shards, or sample. Samples are of
 * one mean length: of answers that were sampled, else of the data's responses. */
#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/plan/stages.h"
#include "ald/role/placement.h"
#include "ald/shard/format.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "plan/stages_impl.h"

enum { RUN = 1500 };                               /* bytes of run.recipe.json */
enum { DISTILL_METRICS = 29, ROLES_METRICS = 43 }; /* numbers that a step writes down */

/* The shape of the teachers whose output matrices a trainer maps; NULL: none are. */
static const ald_model_config_t *mapped_teacher(const ald_plan_t *plan)
{
    const ald_config_t *config = plan->config;
    const bool mapped = config->distill.signal == ALD_SIGNAL_DISTRIBUTION &&
                        ald_encoding_is_hidden(config->shards.encoding) &&
                        config->teacher.dpo[0] != '\0';
    return mapped ? &plan->teacher.params.config : NULL;
}

static double held_by_trainer(const ald_plan_t *plan, int trainers)
{
    return ald_memory_trained(plan->policy.params.total, trainers);
}

/* --- off-policy ------------------------------------------------------------------------------- */

static ald_status_t off_policy(ald_plan_t *plan, const ald_rates_t *rates,
                               const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_promise_t *promise = &plan->promise[ALD_PLAN_DISTILL];
    const ald_plan_scored_t scored = ald_plan_scoring(plan);
    const int64_t per_shard = ald_plan_per_shard(plan->config, scored.per_row);
    const int64_t shards = (scored.count + per_shard - 1) / per_shard;
    const int ranks = ald_plan_ranks(plan);
    const int64_t batch = plan->config->optimizer.batch_size;
    ald_training_plan_t training = ald_plan_training(plan, &plan->policy, scored.count);
    ald_memory_plan_t memory;
    ald_lessons_plan_t lessons = {.header = header, .teacher = mapped_teacher(plan)};
    lessons.open =
        fmin(ald_memory_open_shards(header, shards), plan->promise[ALD_PLAN_SCORE].storage.bytes);
    lessons.ahead = ald_memory_ahead(header, 2 * batch / ranks + 1, (int64_t)ceil(scored.response));
    ALD_TRY(ald_micro_most_rows(plan->config, training.steps, scored.count, ald_plan_scored,
                                &scored, &training.most));
    promise->steps = training.steps;
    promise->sequences = scored.count;
    ald_plan_begin(plan, "distill", plan->train.held + held_by_trainer(plan, ranks), &memory);
    ald_memory_add_distilling(&memory, &training, &lessons);
    ald_plan_add_role(promise, "trainer", ranks, &memory);
    ALD_TRY(ald_storage_training(plan->config, &plan->policy, training.steps, ranks,
                                 DISTILL_METRICS, &promise->storage));
    const ald_step_work_t step =
        ald_plan_step(&training, false, plan->config->distill.signal == ALD_SIGNAL_DISTRIBUTION);
    ald_plan_promise_steps(plan, rates, &training, step.micros, ald_cost_train(rates, &step, ranks),
                           promise);
done:
    return status;
}

/* --- on-policy -------------------------------------------------------------------------------- */

static int64_t longest_response(const ald_plan_t *plan)
{
    const ald_lengths_t *longest = &plan->train.longest;
    int64_t most = plan->config->sampling.max_new_tokens;
    if (plan->config->distill.mode == ALD_MODE_MIXED) {
        most = longest->chosen > most ? longest->chosen : most;
        most = longest->rejected > most ? longest->rejected : most;
    }
    return most;
}

/* A row whose sample is as long as it may be. */
static ald_item_t item_longest(const void *context, int64_t i)
{
    const ald_plan_t *plan = context;
    return (ald_item_t){.prompt_count = ald_plan_row(&plan->train, i).prompt,
                        .responses = 1,
                        .response_count = {longest_response(plan), 0}};
}

/* The configured split, or the one that takes least. */
static ald_status_t choose_split(ald_plan_t *plan, const ald_rates_t *rates,
                                 const ald_step_work_t *step, ald_placement_t *place)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t config = *plan->config; /* its texts stay the caller's */
    const int ranks = ald_plan_ranks(plan);
    plan->split_is_set =
        plan->as_run || config.roles.trainers + config.roles.scorers + config.roles.generators > 0;
    plan->split = ald_plan_split(rates, step, ranks, config.distill.max_staleness);
    if (!plan->split_is_set) {
        config.roles.trainers = plan->split.trainers;
        config.roles.scorers = plan->split.scorers;
        config.roles.generators = plan->split.generators;
    }
    ALD_TRY(ald_placement_make(&config, ranks, place));
done:
    return status;
}

/* A step's seconds on these ranks. */
static double step_seconds(const ald_plan_t *plan, const ald_rates_t *rates,
                           const ald_step_work_t *step, const ald_placement_t *place)
{
    const double train = ald_cost_train(rates, step, place->trainers.count);
    const double score = ald_cost_score(rates, step, place->scorers.count);
    const double generate = ald_cost_generate(rates, step, place->generators.count);
    const bool apart = place->trainers.first != place->generators.first;
    const double others =
        place->scorers.first == place->generators.first ? score + generate : fmax(score, generate);
    if (apart && plan->config->distill.max_staleness > 0)
        return fmax(train, others);
    return train + score + generate;
}

/* The memory of a rank with these roles. */
static void add_rank(ald_plan_t *plan, const ald_on_policy_plan_t *run, const char *name, int ranks)
{
    const double weights = 4.0 * (double)plan->policy.params.total;
    const int copies = plan->config->distill.max_staleness > 0 ? 2 : 1;
    double held = plan->train.held;
    ald_memory_plan_t memory;
    if (run->trains)
        held += held_by_trainer(plan, run->place->trainers.count);
    else if (run->generates)
        held += copies * weights;
    ald_plan_begin(plan, "distill", held, &memory);
    ald_memory_on_policy(&memory, run);
    ald_plan_add_role(&plan->promise[ALD_PLAN_DISTILL], name, ranks, &memory);
}

/* Ranks that have the same roles are one line. */
static void add_ranks(ald_plan_t *plan, ald_on_policy_plan_t *run)
{
    static const char *const names[] = {"",
                                        "trainer",
                                        "scorer",
                                        "trainer and scorer",
                                        "generator",
                                        "trainer and generator",
                                        "scorer and generator",
                                        "all roles"};
    const ald_placement_t *place = run->place;
    int count[8] = {0};
    for (int rank = 0; rank < ald_plan_ranks(plan); ++rank)
        count[ald_ranks_have(&place->trainers, rank) | ald_ranks_have(&place->scorers, rank) << 1 |
              ald_ranks_have(&place->generators, rank) << 2] += 1;
    for (int roles = 1; roles < 8; ++roles) {
        run->trains = roles & 1;
        run->scores = roles >> 1 & 1;
        run->generates = roles >> 2 & 1;
        if (count[roles] > 0)
            add_rank(plan, run, names[roles], count[roles]);
    }
}

/* Bytes of text of a token of the data. */
static double letters(const ald_plan_rows_t *rows)
{
    return rows->text / (rows->prompt + rows->chosen + rows->rejected);
}

/* Shards with so many of a step's items each. */
static void add_shards(ald_plan_t *plan, const ald_shard_header_t *header,
                       const ald_step_work_t *step, int64_t items, int64_t count)
{
    const ald_plan_rows_t *rows = &plan->train;
    const double n = (double)items,
                 sampled = rows->answer > 0.0 ? rows->answer_text : letters(rows) * step->response;
    const ald_shard_content_t content = {
        .sequences = items,
        .tokens = (int64_t)(n * (step->prompt + step->response)),
        .positions = (int64_t)(n * step->response),
        .text_bytes = (int64_t)(n * (letters(rows) * rows->prompt + sampled))};
    ald_storage_shards(header, &content, count, &plan->promise[ALD_PLAN_DISTILL].storage);
}

/* The shards that stay, of the steps that `keep` names and those since the last checkpoint. */
static void add_kept(ald_plan_t *plan, const ald_shard_header_t *header,
                     const ald_step_work_t *step, int64_t steps, const ald_placement_t *place)
{
    ald_storage_t *storage = &plan->promise[ALD_PLAN_DISTILL].storage;
    const int64_t keep = plan->config->shards.keep, kept = keep < steps ? keep : steps;
    const int64_t shards = ald_placement_shards(plan->config, place, step->items);
    const int64_t each = step->items / shards, more = step->items % shards;
    storage->bytes += RUN; /* the recipe beside them */
    storage->files += 1;
    add_shards(plan, header, step, each + 1, kept * more);
    add_shards(plan, header, step, each, kept * (shards - more));
}

static ald_status_t on_policy(ald_plan_t *plan, const ald_rates_t *rates,
                              const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_promise_t *promise = &plan->promise[ALD_PLAN_DISTILL];
    ald_training_plan_t training = ald_plan_training(plan, &plan->policy, plan->train.count);
    ald_placement_t place;
    ald_on_policy_plan_t run = {.place = &place,
                                .training = &training,
                                .lessons = {.header = header, .teacher = mapped_teacher(plan)},
                                .rows = plan->train.count,
                                .prompt = plan->train.longest.prompt,
                                .sampled = plan->config->sampling.max_new_tokens,
                                .longest = longest_response(plan)};
    ald_step_work_t step;
    ald_plan_sampled_step(plan->config, &plan->train, training.parameters, &step);
    ALD_TRY(choose_split(plan, rates, &step, &place));
    training.trainers = place.trainers.count;
    ALD_TRY(ald_micro_most_rows(plan->config, training.steps, plan->train.count, item_longest, plan,
                                &training.most));
    ald_plan_fill_scoring(plan, header, &run.scoring);
    promise->steps = training.steps;
    promise->sequences = training.steps * step.items;
    add_ranks(plan, &run);
    ALD_TRY(ald_storage_training(plan->config, &plan->policy, training.steps, place.trainers.count,
                                 ROLES_METRICS, &promise->storage));
    add_kept(plan, header, &step, training.steps, &place);
    ald_plan_promise_steps(plan, rates, &training, step.micros,
                           step_seconds(plan, rates, &step, &place), promise);
done:
    return status;
}

ald_status_t ald_plan_promise_distill(ald_plan_t *plan, const ald_rates_t *rates)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t header;
    char *text = NULL;
    if (plan->config->distill.policy[0] == '\0')
        return status;
    ALD_TRY(ald_plan_header(plan, &header, &text));
    plan->promise[ALD_PLAN_DISTILL] =
        (ald_promise_t){.stage = "distill", .output = plan->config->distill.output};
    ALD_TRY(ald_plan_on_policy(plan->config) ? on_policy(plan, rates, &header)
                                             : off_policy(plan, rates, &header));
done:
    ald_free(text);
    return status;
}

/* --- eval ------------------------------------------------------------------------------------- */

/* The different models of an evaluation; all have the policy's shape. */
static void count_models(const ald_plan_t *plan, ald_evaluation_plan_t *out)
{
    const ald_config_t *config = plan->config;
    const char *const views[][2] = {
        {"eval.model", config->eval.model[0] != '\0' ? config->eval.model : config->distill.output},
        {"eval.dpo", config->eval.dpo},
        {"eval.contrast", config->eval.contrast},
        {"eval.reference", config->eval.reference}};
    for (int i = 0; i < 4; ++i) {
        bool known = views[i][1][0] == '\0';
        for (int j = 0; j < i; ++j)
            known = known || strcmp(views[i][1], views[j][1]) == 0;
        if (known)
            continue;
        out->mapped[out->models] = plan->teacher.weights;
        out->key[out->models++] = views[i][0];
    }
}

/* Tokens of pairs and answers that all models are run over. */
static double look_at_rows(const ald_plan_t *plan, int64_t longest, double sampled,
                           ald_micro_most_t *most)
{
    const ald_plan_rows_t *rows = &plan->eval;
    for (int64_t i = 0; i < rows->count && rows->rejected > 0.0; ++i) {
        const ald_lengths_t row = ald_plan_row(rows, i);
        ald_micro_most_add(most, row.prompt + row.chosen + row.rejected - 2,
                           row.chosen + row.rejected);
    }
    ald_micro_most_end(most);
    const double pairs = most->all_tokens;
    const int64_t samples = rows->count * plan->config->eval.generate;
    for (int64_t i = 0; i < samples; ++i)
        ald_micro_most_add(most,
                           ald_plan_row(rows, i / plan->config->eval.generate).prompt + longest - 1,
                           longest);
    return pairs + (double)samples * (rows->prompt + sampled - 1.0);
}

/* Bytes of the texts of an evaluated row: of its prompt, of the chosen response, where there is
 * one, and of the answer, which is as the chosen one where nothing is known of it. */
static double evaluated_text(const ald_plan_rows_t *rows)
{
    return letters(rows) * (rows->prompt + rows->chosen) +
           (rows->answer > 0.0 ? rows->answer_text : letters(rows) * rows->chosen);
}

void ald_plan_promise_eval(ald_plan_t *plan, const ald_rates_t *rates)
{
    const ald_config_t *config = plan->config;
    const ald_plan_rows_t *rows = &plan->eval;
    ald_promise_t *promise = &plan->promise[ALD_PLAN_EVAL];
    ald_memory_plan_t memory;
    ald_evaluation_plan_t evaluation = {.config = config,
                                        .shape = &plan->policy.params.config,
                                        .samples = rows->count * config->eval.generate,
                                        .prompt = rows->longest.prompt};
    const int ranks = ald_plan_ranks(plan);
    const double sampled = ald_plan_sample(plan->config, rows);
    if (config->eval.model[0] == '\0' && config->eval.dpo[0] == '\0')
        return;
    count_models(plan, &evaluation);
    ald_micro_most_init(config->optimizer.micro_batch_tokens, &evaluation.most);
    const double tokens =
        look_at_rows(plan, config->sampling.max_new_tokens, sampled, &evaluation.most);
    *promise = (ald_promise_t){
        .stage = "eval", .output = config->eval.output, .sequences = evaluation.samples};
    ald_plan_begin(plan, "eval", rows->held, &memory);
    ald_memory_eval(&memory, &evaluation);
    ald_plan_add_role(promise, "any", ranks, &memory);
    ald_storage_eval(evaluation.samples, sampled, evaluated_text(rows),
                     evaluation.shape->vocab_size, &promise->storage);
    const ald_step_work_t all = {
        .items = evaluation.samples, .prompt = rows->prompt, .response = sampled};
    promise->seconds = rates->start +
                       (double)evaluation.models * (double)plan->policy.weights / rates->writing +
                       ald_cost_generate(rates, &all, ranks) +
                       0.5 * evaluation.models * tokens * rates->score / ranks;
}
