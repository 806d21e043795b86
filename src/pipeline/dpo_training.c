/* Preference optimisation: a policy, its reference and pairs; with dpo.reverse the pairs with
 * chosen and rejected swapped, since a teacher needs both models. */
#include "pipeline/dpo_training_impl.h"

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/mapped.h"
#include "ald/objective/dpo.h"
#include "ald/objective/dpo_reference.h"
#include "ald/objective/objective.h"
#include "ald/objective/preference.h"
#include "ald/par/comm.h"
#include "ald/plan/memory.h"
#include "ald/train/engine.h"
#include "pipeline/claim_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/row_training_impl.h"

static ald_json_t *inputs_of(const ald_config_t *config, const ald_dataset_t *data)
{
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "policy", ald_json_new_string(config->dpo.policy));
    ald_json_set(inputs, "reference", ald_json_new_string(config->dpo.reference));
    ald_json_set(
        inputs, "loss",
        ald_json_new_string(ald_choice_name(ALD_CHOICES_PREFERENCE_LOSSES, config->dpo.loss)));
    ald_json_set(inputs, "reverse", ald_json_new_bool(config->dpo.reverse));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "sha256_data", ald_json_new_string(data->pairs.sha256));
    return inputs;
}

/* What running the reference in each micro-batch takes; nothing is mapped for most losses. */
static ald_beside_plan_t beside_of(const ald_dpo_reference_t *reference)
{
    const bool mapped = reference->mapped != NULL;
    return (ald_beside_plan_t){.shape = &reference->params.config,
                               .mapped = mapped ? ald_mapped_file_bytes(reference->mapped) : 0,
                               .key = reference->own ? "dpo.policy" : "dpo.reference"};
}

/* Reads data.train with the policy's tokenizer. Collective. */
static ald_status_t open_data(const ald_engine_t *engine, ald_dataset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = engine->config;
    ALD_TRY(ald_data_open(engine->comm, config, config->dpo.policy,
                          engine->params.config.vocab_size, config->data.train, "data.train",
                          ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED, out));
    const char *const models[] = {config->dpo.policy, config->dpo.reference};
    ald_positions_warn(models, 2, ald_longest_row(out, out->pairs.count, 0));
done:
    return status;
}

ald_status_t ald_dpo_train(const ald_config_t *config, const ald_comm_t *world,
                           const ald_dataset_t *given)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t engine = {0};
    ald_dataset_t own = {0};
    const ald_dataset_t *data = given != NULL ? given : &own;
    ald_dpo_t dpo = {.comm = world};
    bool finished = false;
    const ald_named_t inputs[] = {
        {"dpo.policy", config->dpo.policy}, {"dpo.reference", config->dpo.reference}, {NULL, NULL}};
    ALD_TRY(ald_preference_init(config, &dpo.settings));
    ALD_TRY(ald_engine_init(config, world, "dpo", config->dpo.policy, config->dpo.output, &engine));
    if (given == NULL)
        ALD_TRY(open_data(&engine, &own));
    ALD_TRY(ald_rows_finished(&engine, data, inputs, &finished));
    if (finished)
        goto done;
    ALD_TRY(ald_dpo_reference_init(&engine, data, &dpo.reference));
    const ald_beside_plan_t beside = beside_of(&dpo.reference);
    ALD_TRY(ald_train_on_rows(&engine, ald_objective(ALD_OBJECTIVE_DPO), &dpo, data,
                              beside.mapped > 0 ? &beside : NULL));
    ALD_TRY(ald_engine_finish(&engine, inputs_of(config, data)));
done:
    ald_dpo_reference_reset(&dpo.reference);
    ald_dataset_reset(&own);
    ald_engine_reset(&engine);
    return status;
}
