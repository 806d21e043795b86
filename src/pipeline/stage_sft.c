/* The stage `sft`: a model, and responses or plain texts that it learns. Here are only its
 * settings, since all training goes through one loop. */
#include "ald/pipeline/stage_sft.h"

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/objective/objective.h"
#include "ald/objective/sft.h"
#include "ald/par/comm.h"
#include "ald/text/tokenizer.h"
#include "ald/train/engine.h"
#include "pipeline/claim_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/row_training_impl.h"

static ald_json_t *inputs_of(const ald_config_t *config, const ald_dataset_t *data)
{
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "model", ald_json_new_string(config->sft.model));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "sha256_data", ald_json_new_string(data->pairs.sha256));
    return inputs;
}

ald_status_t ald_stage_sft(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t engine = {0};
    ald_dataset_t data = {0};
    ald_sft_t sft = {.pairs = &data.pairs};
    bool finished = false;
    const ald_named_t inputs[] = {{"sft.model", config->sft.model}, {NULL, NULL}};
    ALD_CHECK(config->sft.model[0] != '\0', ALD_STATUS_USAGE,
              "sft.model: not set; expected a model directory");
    ALD_TRY(
        ald_claim(world, "sft", (ald_named_t){"sft.output", config->sft.output}, false, inputs));
    ALD_TRY(ald_engine_init(config, world, "sft", config->sft.model, config->sft.output, &engine));
    ALD_TRY(ald_data_open(world, config, config->sft.model, engine.params.config.vocab_size,
                          config->data.train, "data.train", ALD_PAIRS_CHOSEN | ALD_PAIRS_TEXT,
                          &data));
    ald_positions_warn((const char *const *)&config->sft.model, 1,
                       ald_longest_row(&data, data.pairs.count, 0));
    sft.vocabulary = ald_tokenizer_size(data.tokenizer);
    ALD_TRY(ald_rows_finished(&engine, &data, inputs, &finished));
    if (finished)
        goto done;
    ALD_TRY(ald_train_on_rows(&engine, ald_objective(ALD_OBJECTIVE_SFT), &sft, &data, NULL));
    ALD_TRY(ald_engine_finish(&engine, inputs_of(config, &data)));
done:
    ald_dataset_reset(&data);
    ald_engine_reset(&engine);
    return status;
}
