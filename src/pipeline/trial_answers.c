/* Answers for a plan. How long a model answers is no property of its shape, and data say little of
 * it; some answers of a model that is there say more. */
#include "ald/pipeline/trial_answers.h"

#include <mpi.h>
#include <stddef.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/role/frozen.h"
#include "ald/role/generator.h"

enum { ANSWERS = 64 };

/* Sets the model that answers. */
static void choose(const ald_config_t *config, ald_trial_answers_t *out)
{
    const char *const models[][2] = {
        {"eval.model", config->eval.model[0] != '\0' ? config->eval.model : config->distill.output},
        {"distill.policy", config->distill.policy},
        {"dpo.policy", config->dpo.policy},
        {"sft.model", config->sft.model}};
    for (size_t i = 0; i < sizeof models / sizeof *models && out->model == NULL; ++i) {
        char *weights = ald_path_join(models[i][1], "model.safetensors");
        if (models[i][1][0] != '\0' && weights != NULL && ald_path_exists(weights))
            *out = (ald_trial_answers_t){.key = models[i][0], .model = models[i][1]};
        ald_free(weights);
    }
}

/* Adds up the answers in records. */
static ald_status_t count(const ald_dataset_t *data, const ald_vec_t *records,
                          ald_trial_answers_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = 0;
    while (at < records->count) {
        ald_sampled_t answer;
        const int32_t *ids;
        const float *logprobs;
        ald_json_t *text = NULL;
        size_t length = 0;
        ALD_TRY(ald_sampled_next(records, &at, &answer, &ids, &logprobs));
        ALD_TRY(ald_sampled_text(data, ids, answer.count, NULL, &text));
        ald_json_text(text, &length);
        out->count += 1;
        out->tokens += (double)answer.count;
        out->text += (double)length;
        ald_json_free(text);
    }
    out->tokens /= (double)out->count;
    out->text /= (double)out->count;
done:
    return status;
}

static ald_status_t sample(const ald_config_t *config, const ald_model_t *model,
                           const ald_dataset_t *data, ald_trial_answers_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t rows = data->pairs.count < ANSWERS ? data->pairs.count : ANSWERS;
    ald_request_t requests[ANSWERS];
    ald_generator_t generator;
    ald_arena_t arena;
    ald_vec_t records;
    ald_arena_init(&arena);
    ald_vec_init(&records, 1);
    for (int64_t i = 0; i < rows; ++i)
        requests[i] = (ald_request_t){.row = i};
    ald_generator_init(config, model, data, &generator);
    generator.name = out->model;
    ALD_TRY(ald_generator_run(&generator, &data->pairs, requests, rows, &arena, &records));
    ALD_TRY(count(data, &records, out));
done:
    ald_vec_reset(&records);
    ald_arena_reset(&arena);
    return status;
}

ald_status_t ald_trial_answers(const ald_config_t *config, ald_trial_answers_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t alone = {.mpi = MPI_COMM_SELF, .rank = 0, .size = 1};
    const bool eval = ald_path_exists(config->data.eval);
    const char *path = eval ? config->data.eval : config->data.train;
    ald_config_t some = *config; /* its texts stay the caller's */
    ald_frozen_t frozen = {0};
    ald_dataset_t data = {0};
    some.data.max_rows = ANSWERS;
    *out = (ald_trial_answers_t){.model = NULL};
    choose(config, out);
    if (out->model == NULL || !ald_path_exists(path))
        goto done;
    ALD_TRY(ald_frozen_load(&alone, out->model, out->key, &frozen));
    ALD_TRY(ald_dataset_open(&some, out->model, frozen.params.config.vocab_size, path,
                             eval ? "data.eval" : "data.train", ALD_PAIRS_PROMPT, 0, 1, &data));
    ALD_TRY(sample(&some, &frozen.model, &data, out));
done:
    if (out->count == 0)
        *out = (ald_trial_answers_t){.model = NULL};
    ald_dataset_reset(&data);
    ald_frozen_reset(&frozen);
    return status;
}
