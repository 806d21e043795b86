/* Supervised fine-tuning: cross-entropy on the chosen responses, or on plain texts, averaged over a
 * step's response tokens. */
#include "ald/pipeline/stage_sft.h"

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/objective/sft.h"
#include "ald/par/comm.h"
#include "ald/plan/memory.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"
#include "pipeline/data_impl.h"

typedef struct {
    const ald_pairs_t *pairs;
    const int64_t *items; /* rows of the step */
    float weight;         /* 1 / response tokens of the step */
} sft_t;

enum { COLUMN_LOSS, COLUMN_TOKENS };

static ald_item_t sft_item(const void *context, int64_t row)
{
    const ald_pair_t *pair = &((const sft_t *)context)->pairs->rows[row];
    return ald_item_of(pair, &pair->chosen, NULL);
}

static ald_status_t sft_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
                              double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    const sft_t *sft = context;
    ald_item_t *items = ALD_ARENA_ARRAY(&engine->arena, ald_item_t, count);
    ald_packed_t packed;
    ALD_CHECK_MEMORY(items, sizeof *items * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        items[i] = sft_item(sft, sft->items[first + i]);
    ALD_TRY(ald_pack(items, count, &engine->arena, &packed));
    ALD_TRY(ald_sft_gradient(engine, &packed, sft->weight, &columns[COLUMN_LOSS]));
    columns[COLUMN_TOKENS] = (double)packed.positions;
done:
    return status;
}

/* The step's items, their lengths, and the weight of a token. */
static int64_t sft_items(const ald_config_t *config, sft_t *sft, int64_t step, int64_t *order,
                         int64_t *items, int64_t *tokens)
{
    int64_t positions = 0, count = ald_step_items(config, sft->pairs->count, step, order, items);
    for (int64_t i = 0; i < count; ++i) {
        const ald_item_t item = sft_item(sft, items[i]);
        tokens[i] = ald_item_tokens(&item);
        positions += item.response_count[0];
    }
    sft->weight = 1.0f / (float)positions;
    return count;
}

static ald_status_t sft_train(ald_engine_t *engine, const ald_dataset_t *data)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = engine->config;
    const int64_t n = data->pairs.count, batch = config->optimizer.batch_size;
    ald_metrics_t metrics;
    double columns[ALD_COLUMNS];
    sft_t sft = {.pairs = &data->pairs};
    int64_t *order = ald_alloc(sizeof *order * (size_t)(n + 2 * batch));
    if (order == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: the data's order");
    ALD_TRY(ald_comm_agree(engine->comm, status));
    int64_t *items = order + n, *tokens = items + batch;
    sft.items = items;
    ALD_TRY(ald_engine_begin(engine, ald_total_steps(config, n)));
    ALD_TRY(ald_comm_agree(engine->comm, ald_memory_say_training(engine, n, sft_item, &sft)));
    while (engine->step < engine->steps) {
        int64_t count = sft_items(config, &sft, engine->step, order, items, tokens);
        double epoch = (double)(engine->step + 1) / (double)ald_epoch_steps(config, n);
        ALD_TRY(ald_engine_step(engine, tokens, count, epoch, sft_micro, &sft, columns, &metrics));
        ald_metrics_set(&metrics, "loss", columns[COLUMN_LOSS] / columns[COLUMN_TOKENS]);
        if (engine->step == 0)
            ald_dataset_metrics(data, &metrics);
        ALD_TRY(ald_engine_advance(engine, &metrics));
    }
done:
    ald_free(order);
    return status;
}

ald_status_t ald_stage_sft(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t engine = {0};
    ald_dataset_t data = {0};
    ALD_CHECK(config->sft.model[0] != '\0', ALD_STATUS_USAGE,
              "sft.model: not set; expected a model directory");
    ALD_TRY(ald_engine_init(config, world, "sft", config->sft.model, config->sft.output, &engine));
    ALD_TRY(ald_data_open(world, config, config->sft.model, engine.params.config.vocab_size,
                          config->data.train, "data.train", ALD_PAIRS_CHOSEN | ALD_PAIRS_TEXT,
                          &data));
    ALD_TRY(sft_train(&engine, &data));
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "model", ald_json_new_string(config->sft.model));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "sha256_data", ald_json_new_string(data.pairs.sha256));
    ALD_TRY(ald_engine_finish(&engine, inputs));
done:
    ald_dataset_reset(&data);
    ald_engine_reset(&engine);
    return status;
}
