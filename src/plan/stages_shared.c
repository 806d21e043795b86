/* What the stages of a plan share: rows as items, a step's work, shards' headers, roles in a
 * promise. */
#include <math.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/gradients.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stages.h"
#include "ald/shard/format.h"
#include "ald/train/order.h"
#include "plan/stages_impl.h"

int ald_plan_ranks(const ald_plan_t *plan)
{
    return plan->site.nodes * plan->site.ranks;
}

bool ald_plan_on_policy(const ald_config_t *config)
{
    return config->distill.mode != ALD_MODE_OFF_POLICY;
}

ald_item_t ald_plan_scored(const void *context, int64_t i)
{
    const ald_plan_scored_t *scored = context;
    const ald_lengths_t row = ald_plan_row(scored->rows, i / scored->per_row);
    const bool rejected = scored->responses == ALD_RESPONSES_REJECTED ||
                          (scored->responses == ALD_RESPONSES_BOTH && i % 2 == 1);
    const int64_t length = rejected ? row.rejected : row.chosen;
    return (ald_item_t){
        .prompt_count = row.prompt, .responses = 1, .response_count = {length > 0 ? length : 1, 0}};
}

ald_plan_scored_t ald_plan_scoring(const ald_plan_t *plan)
{
    const ald_config_t *config = plan->config;
    const bool pairs = plan->train.rejected > 0.0;
    ald_plan_scored_t out = {.rows = &plan->train,
                             .responses = pairs ? config->data.responses : ALD_RESPONSES_CHOSEN};
    out.per_row = out.responses == ALD_RESPONSES_BOTH ? 2 : 1;
    out.count = plan->train.count * out.per_row;
    out.response = out.responses == ALD_RESPONSES_BOTH
                       ? 0.5 * (plan->train.chosen + plan->train.rejected)
                   : out.responses == ALD_RESPONSES_REJECTED ? plan->train.rejected
                                                             : plan->train.chosen;
    return out;
}

/* What MPI takes where there are several ranks: shared memory and pieces of reductions; measured.
 */
#define MESSAGES 6e6

void ald_plan_begin(const ald_plan_t *plan, const char *stage, double held, ald_memory_plan_t *out)
{
    *out =
        (ald_memory_plan_t){.stage = stage,
                            .threads = plan->site.cores / plan->site.ranks,
                            .now = plan->base + held + (ald_plan_ranks(plan) > 1 ? MESSAGES : 0.0)};
}

void ald_plan_add_role(ald_promise_t *promise, const char *name, int ranks,
                       const ald_memory_plan_t *memory)
{
    ald_promised_role_t *role = &promise->role[promise->roles++];
    *role = (ald_promised_role_t){.name = name,
                                  .ranks = ranks,
                                  .peak = memory->now + memory->to_come,
                                  .mapped = memory->mapped};
    memcpy(role->text, memory->text, sizeof role->text);
}

ald_training_plan_t ald_plan_training(const ald_plan_t *plan, const ald_plan_model_t *model,
                                      int64_t count)
{
    return (ald_training_plan_t){.config = plan->config,
                                 .shape = &model->params.config,
                                 .parameters = model->params.total,
                                 .trainers = ald_plan_ranks(plan),
                                 .gradients = ald_gradients_bytes(&model->params),
                                 .steps = ald_total_steps(plan->config, count)};
}

/* A step of training as its micro-batches have it on average. */
ald_step_work_t ald_plan_step(const ald_training_plan_t *training, bool pairs, bool lessons)
{
    const ald_micro_most_t *most = &training->most;
    const double steps = (double)(training->steps > 0 ? training->steps : 1);
    return (ald_step_work_t){.tokens = most->all_tokens / steps,
                             .positions = most->all_positions / steps,
                             .micros = (double)most->micros / steps,
                             .pairs = pairs,
                             .lessons = lessons,
                             .parameters = (double)training->parameters};
}

/* Begin, steps, checkpoints in part beside them, and the model at the end. */
void ald_plan_promise_steps(const ald_plan_t *plan, const ald_rates_t *rates,
                            const ald_training_plan_t *training, double micros, double step,
                            ald_promise_t *promise)
{
    const int64_t every = plan->config->checkpoint.every_steps;
    const double parameters = (double)training->parameters, steps = (double)training->steps;
    const double checkpoints = every > 0 && steps > 0 ? floor((steps - 1.0) / (double)every) : 0.0;
    const double beside = plan->site.cores / plan->site.ranks > 1 ? 0.5 : 1.0;
    promise->trainers = training->trainers;
    promise->micros = micros;
    promise->seconds = rates->start + steps * step + 8.0 * parameters / rates->writing +
                       beside * checkpoints * 12.0 * parameters / rates->writing;
}

/* The digests of a model, of which only their lengths count. */
static ald_shard_model_t any_model(void)
{
    ald_shard_model_t model = {.head = {.dtype = "BF16"}};
    memset(model.sha256, '0', sizeof model.sha256 - 1);
    memset(model.head.sha256, '0', sizeof model.head.sha256 - 1);
    return model;
}

ald_status_t ald_plan_header(const ald_plan_t *plan, ald_shard_header_t *out, char **text)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = plan->config;
    const ald_model_config_t *shape = &plan->teacher.params.config;
    *out = (ald_shard_header_t){.vocab_size = plan->train.vocabulary > 0 ? plan->train.vocabulary
                                                                         : shape->vocab_size,
                                .hidden_size = shape->hidden_size,
                                .contrast = config->teacher.contrast,
                                .policy_step = -1};
    ald_shard_take_settings(config, out);
    out->dpo = any_model();
    out->contrasts[out->contrast] = any_model();
    if (config->shards.with_reference)
        out->contrasts[ALD_CONTRAST_REFERENCE] = any_model();
    memcpy(out->sha256_tokenizer, out->dpo.sha256, sizeof out->sha256_tokenizer);
    memcpy(out->sha256_data, out->dpo.sha256, sizeof out->sha256_data);
    strcpy(out->chat_format, "chatml");
    strcpy(out->tool_version, ALD_VERSION);
    strcpy(out->created, "2000-01-01T00:00:00Z");
    ALD_TRY(ald_config_print_content(config, text));
    out->config = *text;
done:
    return status;
}

void ald_plan_fill_scoring(const ald_plan_t *plan, const ald_shard_header_t *header,
                           ald_scoring_plan_t *out)
{
    *out = (ald_scoring_plan_t){
        .header = header, .shape = &plan->teacher.params.config, .mapped = {plan->teacher.weights}};
    out->mapped[1 + plan->config->teacher.contrast] = plan->teacher.weights;
    if (plan->config->shards.with_reference)
        out->mapped[1 + ALD_CONTRAST_REFERENCE] = plan->teacher.weights;
    ald_micro_most_init(plan->config->optimizer.micro_batch_tokens, &out->most);
}
