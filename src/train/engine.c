/* A policy in training: weights, optimizer, metrics, results. It knows no loss and no data, so that
 * every objective gets the same updates, checkpoints and records. */
#include "ald/train/engine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/hf.h"
#include "ald/model/hf_save.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/signals.h"
#include "ald/par/stop.h"
#include "ald/record/metrics.h"
#include "ald/record/metrics_file.h"
#include "ald/train/checkpoint.h"
#include "ald/train/checkpoint_write.h"
#include "ald/train/finished.h"
#include "ald/train/optimizer.h"

static ald_status_t engine_load(ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(engine->origin, &shape));
    ALD_TRY(ald_params_init(&shape, &engine->params));
    size_t bytes = sizeof(float) * (size_t)engine->params.total;
    engine->values = ald_alloc(bytes);
    ALD_CHECK_MEMORY(engine->values, bytes);
    if (engine->comm->rank == 0)
        ALD_TRY(ald_hf_load(engine->origin, &engine->params, engine->values));
    ALD_TRY(
        ald_optimizer_init(engine->config, engine->comm, engine->params.total, &engine->optimizer));
    ALD_TRY(ald_optimizer_spare(&engine->params, &engine->optimizer));
    if (engine->comm->rank == 0)
        ALD_TRY(ald_dir_make(engine->output));
    if (engine->comm->rank == 0)
        ALD_TRY(ald_dir_sweep(engine->output));
done:
    return status;
}

ald_status_t ald_engine_init(const ald_config_t *config, const ald_comm_t *trainers,
                             const char *stage, const char *origin, const char *output,
                             ald_engine_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_engine_t){
        .config = config, .comm = trainers, .stage = stage, .origin = origin, .output = output};
    ALD_TRY(ald_comm_agree(trainers, engine_load(out)));
    ALD_TRY(ald_signals_check(trainers, stage));
    ald_comm_broadcast(trainers, out->values, sizeof(float) * (size_t)out->params.total, 0);
    ald_log_verbose(
        "%s: %lld parameters, %lld bytes of weights, sums of gradients and moments on rank 0",
        stage, (long long)out->params.total, (long long)ald_memory_held());
done:
    return status;
}

void ald_engine_reset(ald_engine_t *engine)
{
    ald_checkpoint_forget(engine);
    ald_metrics_close(engine->metrics);
    ald_json_free(engine->recipe);
    ald_optimizer_reset(&engine->optimizer);
    ald_free(engine->values);
    ald_params_reset(&engine->params);
    *engine = (ald_engine_t){0};
}

ald_model_t ald_engine_model(const ald_engine_t *engine)
{
    ald_model_t model = ald_model_of(&engine->params, engine->values);
    model.recompute = engine->config->runtime.recompute;
    return model;
}

/* Removes what an earlier run left here, which isn't to be resumed. */
static ald_status_t clear_earlier(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_dir_remove_in(engine->output, "done.json"));
    ALD_TRY(ald_dir_remove_in(engine->output, "checkpoints"));
done:
    return status;
}

ald_status_t ald_engine_finished(ald_engine_t *engine, ald_json_t *recipe, bool *out)
{
    const ald_made_t made = {.stage = engine->stage, .output = engine->output};
    engine->recipe = recipe;
    return ald_finished(engine->comm, engine->config, &made, recipe, out);
}

ald_status_t ald_engine_begin(ald_engine_t *engine, int64_t steps)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t newest = 0;
    engine->steps = steps;
    if (engine->comm->rank == 0) {
        if (!engine->config->checkpoint.resume)
            status = clear_earlier(engine);
        if (status == ALD_STATUS_OK)
            status = ald_checkpoint_whole(engine, &newest);
    }
    ALD_TRY(ald_comm_agree(engine->comm, status));
    MPI_Bcast(&newest, 1, MPI_INT64_T, 0, engine->comm->mpi);
    engine->saved = newest;
    if (newest > 0)
        ALD_TRY(ald_checkpoint_read(engine, newest));
    if (engine->comm->rank == 0)
        status = ald_metrics_open(engine->output, newest, &engine->metrics);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    ALD_TRY(ald_signals_check(engine->comm, engine->stage));
    /* Weights and two moments. */
    ald_stop_expect(3.0 * sizeof(float) * (double)engine->params.total);
    engine->started = ald_time();
    ald_progress_begin(&engine->progress, engine->stage, steps);
done:
    return status;
}

static void step_metrics(const ald_engine_t *engine, double epoch, double lr, double norm,
                         double tokens, double seconds, ald_metrics_t *metrics)
{
    ald_metrics_clear(metrics);
    ald_metrics_set(metrics, "step", (double)(engine->step + 1));
    ald_metrics_set(metrics, "epoch", epoch);
    ald_metrics_set(metrics, "loss", NAN); /* the objective sets it; its column is to be third */
    ald_metrics_set(metrics, "grad_norm", norm);
    ald_metrics_set(metrics, "lr", lr);
    ald_metrics_set(metrics, "tokens", tokens);
    ald_metrics_set(metrics, "tokens_per_second", tokens / seconds);
    ald_metrics_set(metrics, "seconds", seconds);
}

ald_status_t ald_step_init(const ald_engine_t *engine, const int64_t *tokens, int64_t count,
                           ald_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_step_t){.begun = ald_time()};
    out->start = ald_alloc(sizeof *out->start * ((size_t)count + 1));
    out->rows = ald_calloc((size_t)count + 1, sizeof(double) * ALD_COLUMNS);
    ALD_CHECK(out->start != NULL && out->rows != NULL, ALD_STATUS_RESOURCE,
              "out of memory: a step of %lld items", (long long)count);
    out->micros =
        ald_micro_split(tokens, count, engine->config->optimizer.micro_batch_tokens, out->start);
    for (int64_t i = 0; i < count; ++i)
        out->tokens += (double)tokens[i];
done:
    return status;
}

void ald_step_reset(ald_step_t *step)
{
    ald_free(step->start);
    ald_free(step->rows);
    *step = (ald_step_t){0};
}

ald_status_t ald_engine_update(ald_engine_t *engine, const ald_step_t *step, double epoch,
                               double columns[ALD_COLUMNS], ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    double norm = 0.0, lr = ald_schedule(engine->config, engine->step, engine->steps);
    /* Each row was filled by one trainer and is zero on the others, so these sums are exact and
     * don't depend on their order. */
    ald_collect_reduce(engine->comm, step->rows, step->micros * ALD_COLUMNS, MPI_DOUBLE, MPI_SUM);
    memset(columns, 0, sizeof(double) * ALD_COLUMNS);
    for (int64_t m = 0; m < step->micros; ++m)
        for (int c = 0; c < ALD_COLUMNS; ++c)
            columns[c] += step->rows[m * ALD_COLUMNS + c];
    ALD_TRY(ald_comm_agree(engine->comm,
                           ald_optimizer_step(&engine->optimizer, lr, engine->values, &norm)));
    engine->tokens += step->tokens;
    step_metrics(engine, epoch, lr, norm, step->tokens, ald_time() - step->begun, metrics);
done:
    return status;
}

bool ald_engine_is_due(const ald_engine_t *engine)
{
    const int64_t every = engine->config->checkpoint.every_steps, steps = engine->step + 1;
    return every > 0 && steps % every == 0 && steps < engine->steps;
}

ald_status_t ald_engine_record(ald_engine_t *engine, ald_metrics_t *metrics, bool stop)
{
    ald_status_t status = ALD_STATUS_OK;
    char detail[96];
    const bool saves = stop || ald_engine_is_due(engine);
    engine->step += 1;
    if (engine->comm->rank == 0)
        status = ald_fail_point("metrics_write");
    if (engine->comm->rank == 0 && status == ALD_STATUS_OK)
        status = ald_metrics_append(engine->metrics, metrics);
    if (status == ALD_STATUS_OK)
        status = ald_checkpoint_look();
    snprintf(detail, sizeof detail, "loss %.4f  grad %.3g  %.0f tokens/s",
             ald_metrics_get(metrics, "loss"), ald_metrics_get(metrics, "grad_norm"),
             ald_metrics_get(metrics, "tokens_per_second"));
    ald_progress_update(&engine->progress, engine->step, detail);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    if (stop)
        ALD_TRY(ald_checkpoint_write(engine));
    else if (saves)
        ALD_TRY(ald_checkpoint_begin(engine));
done:
    if (status != ALD_STATUS_OK || stop || engine->step == engine->steps)
        ald_progress_end(&engine->progress);
    return status;
}

/* INTERNAL unless all weights are finite: they aren't published. */
static ald_status_t check_values(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < engine->params.count; ++i) {
        const ald_tensor_t *tensor = &engine->params.tensors[i];
        const float *values = engine->values + tensor->offset;
        const int64_t bad = ald_dtype_find_nonfinite(ALD_DTYPE_F32, values, tensor->count);
        ALD_CHECK(
            bad < 0, ALD_STATUS_INTERNAL,
            "%s: after step %lld tensor \"%s\" has %g at element %lld, so no model is written: "
            "the training has diverged; lower optimizer.lr",
            engine->stage, (long long)engine->step, tensor->name, (double)values[bad],
            (long long)bad);
    }
done:
    return status;
}

static ald_status_t write_results(ald_engine_t *engine, const ald_json_t *inputs)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dtype_t dtype = ald_hf_dtype(engine->config->runtime.dtype);
    const ald_made_t made = {.stage = engine->stage, .output = engine->output};
    ALD_TRY(ald_fail_point("model_save"));
    ALD_TRY(ald_lock_check());
    ALD_TRY(check_values(engine));
    ALD_TRY(ald_hf_save(engine->output, engine->origin, &engine->params, engine->values, dtype,
                        ald_config_bytes(engine->config->runtime.max_shard_size)));
    ALD_TRY(ald_metrics_flush(engine->metrics));
    ald_json_t *head = ald_json_new_object();
    ald_json_set(head, "steps", ald_json_new_integer(engine->step));
    ALD_TRY(ald_finished_write(&made, head, inputs, engine->recipe));
done:
    return status;
}

ald_status_t ald_engine_finish(ald_engine_t *engine, ald_json_t *inputs)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_checkpoint_settle(engine->comm));
    if (engine->comm->rank == 0)
        status = write_results(engine, inputs);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    double seconds = ald_time() - engine->started;
    ald_log_info("%s: %lld steps in %.1f s, %.0f tokens/s, written to %s", engine->stage,
                 (long long)engine->step, seconds, engine->tokens / (seconds > 0 ? seconds : 1),
                 engine->output);
done:
    ald_json_free(inputs);
    return status;
}
