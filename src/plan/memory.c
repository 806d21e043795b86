#include "ald/plan/memory.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/head.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/train/engine.h"
#include "ald/train/rows.h"

#define MEBIBYTE      1048576.0
#define PRODUCT_BYTES (6.0 * MEBIBYTE) /* that OpenBLAS packs matrices into, a thread; measured */

static double resident_bytes(void)
{
    long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0.0;
    if (fscanf(file, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

void ald_memory_begin(const char *stage, ald_memory_plan_t *out)
{
    *out = (ald_memory_plan_t){
        .stage = stage, .now = resident_bytes(), .peak = (double)ald_memory_peak_rss()};
}

void ald_memory_add(ald_memory_plan_t *plan, double bytes, const char *format, ...)
{
    const size_t used = strlen(plan->text);
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    plan->to_come += bytes;
    snprintf(plan->text + used, sizeof plan->text - used, ", %.1f %s", bytes / MEBIBYTE, name);
}

void ald_memory_say(const ald_memory_plan_t *plan)
{
    double most = plan->now + plan->to_come;
    ald_log_verbose("%s: memory at most %.1f MiB on rank 0: %.1f now%s", plan->stage,
                    (most > plan->peak ? most : plan->peak) / MEBIBYTE, plan->now / MEBIBYTE,
                    plan->text);
}

void ald_memory_add_mapped(ald_memory_plan_t *plan, const ald_mapped_t *mapped, const char *key)
{
    ald_memory_add(plan, (double)ald_mapped_file_bytes(mapped), "mapped from %s", key);
}

static double logits_bytes(const ald_model_config_t *shape, int64_t R, int64_t rows)
{
    const int64_t most = ald_head_chunk(shape->vocab_size), chunk = most < R ? most : R;
    return (double)sizeof(float) * (double)chunk *
           (double)(rows * shape->vocab_size + shape->hidden_size);
}

void ald_memory_add_products(ald_memory_plan_t *plan)
{
    ald_memory_add(plan, PRODUCT_BYTES * omp_get_max_threads(), "packed matrices");
}

void ald_memory_add_forward(ald_memory_plan_t *plan, const ald_model_config_t *shape, int models,
                            int64_t T, int64_t R)
{
    const double hidden = (double)sizeof(float) * (double)(T * shape->hidden_size);
    ald_memory_add(plan, (double)ald_model_bytes(shape, T).alone + models * hidden,
                   "forward passes of %lld tokens", (long long)T);
    ald_memory_add(plan, models * logits_bytes(shape, R, 1), "logits of %lld positions",
                   (long long)R);
}

double ald_memory_checkpoint(const ald_engine_t *engine)
{
    const int64_t every = engine->config->checkpoint.every_steps;
    const bool some = every > 0 && engine->steps > every && engine->comm->rank == 0;
    return some ? 2.0 * sizeof(float) * (double)engine->params.total : 0.0;
}

void ald_memory_add_training(ald_memory_plan_t *plan, const ald_engine_t *engine, int64_t T,
                             int64_t R, int64_t wide)
{
    const ald_model_config_t *shape = &engine->params.config;
    const ald_model_bytes_t bytes = ald_model_bytes(shape, T);
    const double hidden = 2.0 * (double)sizeof(float) * (double)(T * shape->hidden_size);
    const double logits = logits_bytes(shape, R, 1);
    double work = (double)(bytes.forward > bytes.backward ? bytes.forward : bytes.backward);
    ald_memory_add(plan, hidden + (double)bytes.kept, "activations of %lld tokens", (long long)T);
    ald_memory_add(plan, work > logits ? work : logits, "logits of %lld positions, or gradients",
                   (long long)R);
    if (wide > 0)
        ald_memory_add(plan, logits_bytes(shape, R, wide), "teacher's rows");
    ald_memory_add_products(plan);
    const double checkpoint = ald_memory_checkpoint(engine);
    if (checkpoint > 0.0)
        ald_memory_add(plan, checkpoint, "checkpoints");
}

ald_status_t ald_memory_largest(const ald_engine_t *engine, int64_t count, ald_memory_item_fn item,
                                const void *context, int64_t *T, int64_t *R)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = engine->config;
    const int64_t batch = config->optimizer.batch_size, per_epoch = ald_epoch_steps(config, count);
    int64_t *order = ald_alloc(sizeof *order * (size_t)(count + 3 * batch + 1));
    *T = *R = 0;
    ALD_CHECK_MEMORY(order, sizeof *order * (size_t)(count + 3 * batch + 1));
    int64_t *tokens = order + count, *positions = tokens + batch, *start = positions + batch;
    for (int64_t step = 0; step < engine->steps; ++step) {
        if (step % per_epoch == 0)
            ald_rng_permutation((uint64_t)config->seed, (uint64_t)(step / per_epoch), count, order);
        const int64_t *rows = order + step % per_epoch * batch;
        int64_t here = order + count - rows < batch ? order + count - rows : batch;
        for (int64_t i = 0; i < here; ++i) {
            const ald_item_t one = item(context, rows[i]);
            tokens[i] = ald_item_tokens(&one);
            positions[i] = one.response_count[0] + one.response_count[1];
        }
        int64_t micros = ald_micro_split(tokens, here, config->optimizer.micro_batch_tokens, start);
        ald_micro_largest(tokens, positions, start, micros, T, R);
    }
done:
    ald_free(order);
    return status;
}

ald_status_t ald_memory_say_training(const ald_engine_t *engine, int64_t count,
                                     ald_memory_item_fn item, const void *context)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_memory_plan_t plan;
    int64_t T, R;
    ALD_TRY(ald_memory_largest(engine, count, item, context, &T, &R));
    ald_memory_begin(engine->stage, &plan);
    ald_memory_add_training(&plan, engine, T, R, 0);
    ald_memory_say(&plan);
done:
    return status;
}
