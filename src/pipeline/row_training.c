/* Training on the rows of a data file. `sft` and `dpo` share it, as they differ in nothing but the
 * objective. */
#include "pipeline/row_training_impl.h"

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/model/gradients.h"
#include "ald/par/comm.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/role/monitor.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"
#include "ald/train/rows.h"
#include "pipeline/recipe_impl.h"

static ald_status_t say_memory(const ald_run_t *run, const ald_beside_plan_t *beside, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = run->engine;
    ald_memory_plan_t plan;
    ald_training_plan_t training = {.config = engine->config,
                                    .shape = &engine->params.config,
                                    .parameters = engine->params.total,
                                    .trainers = engine->comm->size,
                                    .gradients = ald_gradients_bytes(&engine->params),
                                    .steps = engine->steps};
    ALD_TRY(ald_micro_most_rows(engine->config, engine->steps, count, run->objective->item,
                                run->state, &training.most));
    ald_memory_begin(engine->stage, &plan);
    ald_memory_rows(&plan, &training, beside);
    ald_memory_say(&plan);
done:
    return status;
}

ald_status_t ald_rows_finished(ald_engine_t *engine, const ald_dataset_t *data,
                               const ald_named_t *models, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *recipe = NULL;
    ALD_TRY(ald_recipe(engine->comm, engine->config, engine->stage, models, &recipe));
    if (recipe != NULL)
        ald_json_set(recipe, "data.train", ald_json_new_string(data->pairs.sha256));
    ALD_TRY(ald_engine_finished(engine, recipe, out));
done:
    return status;
}

ald_status_t ald_train_on_rows(ald_engine_t *engine, const ald_objective_t *objective, void *state,
                               const ald_dataset_t *data, const ald_beside_plan_t *beside)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = data->pairs.count;
    ald_rows_t rows = {0};
    ald_run_t run = {.objective = objective, .state = state, .engine = engine};
    ald_monitor_t *monitor = NULL;
    ald_loop_t loop = {
        .name = objective->stage, .trainers = engine->comm, .runs = &run, .count = 1};
    ALD_TRY(ald_engine_begin(engine, ald_total_steps(engine->config, n)));
    ALD_TRY(ald_monitor_open(engine, &monitor));
    loop.watch = monitor != NULL ? ald_monitor_watch : NULL;
    loop.watcher = monitor;
    ALD_TRY(ald_comm_agree(engine->comm, ald_rows_init(engine->config, data, &rows)));
    loop.feed = ald_rows_feed(&rows);
    ALD_TRY(ald_comm_agree(engine->comm, say_memory(&run, beside, n)));
    ALD_TRY(ald_loop_run(&loop));
done:
    ald_loop_reset(&loop);
    ald_monitor_close(monitor);
    ald_rows_reset(&rows);
    return status;
}
