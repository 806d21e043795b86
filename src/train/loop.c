/* The training loop. All training goes through here, so that steps, records, signals and
 * checkpoints mean the same in every stage, and a sweep gives what its runs give alone. */
#include "ald/train/loop.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/gradients.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/stop.h"
#include "ald/record/measured.h"
#include "ald/record/metrics.h"
#include "ald/train/checkpoint_write.h"
#include "ald/train/engine.h"
#include "ald/train/optimizer.h"

/* --- a step ----------------------------------------------------------------------------------- */

/* Cuts the step into micro-batches; each run has the same, with columns of its own. */
static ald_status_t parts_init(ald_run_t *const *runs, int64_t n, const ald_items_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t bytes = sizeof(int64_t) * (size_t)(items->count + 1);
    int64_t *tokens = ald_alloc(bytes);
    ALD_CHECK_MEMORY(tokens, bytes);
    for (int64_t i = 0; i < items->count; ++i) {
        const ald_item_t item = runs[0]->objective->item(runs[0]->state, items->item[i]);
        tokens[i] = ald_item_tokens(&item);
    }
    for (int64_t k = 0; k < n; ++k)
        ALD_TRY(ald_step_init(runs[k]->engine, tokens, items->count, &runs[k]->parts));
done:
    ald_free(tokens);
    return status;
}

/* Adds to the sums what a backward pass has completed. */
static ald_status_t add_gradient(void *optimizer, int64_t offset, int64_t count, float *gradient)
{
    return ald_optimizer_add(optimizer, offset, count, gradient);
}

/* Computes micro-batch m of a run from what the feed has read of its items. */
static ald_status_t micro(ald_loop_t *loop, ald_run_t *run, const ald_items_t *items, int64_t m,
                          const void *reading)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_step_t *parts = &run->parts;
    const ald_arena_mark_t mark = ald_arena_mark(&loop->scratch);
    ald_gradients_t gradients;
    const ald_micro_t at = {.engine = run->engine,
                            .arena = &loop->scratch,
                            .items = items,
                            .first = parts->start[m],
                            .count = parts->start[m + 1] - parts->start[m],
                            .reading = reading,
                            .gradients = &gradients,
                            .columns = parts->rows + m * ALD_COLUMNS};
    ALD_TRY(ald_fail_point("train_step"));
    ALD_TRY(ald_gradients_init(&run->engine->params, &loop->scratch, add_gradient,
                               &run->engine->optimizer, &gradients));
    ALD_TRY(run->objective->micro(run->state, &at));
done:
    ald_arena_release(&loop->scratch, mark);
    return status;
}

/* Computes this rank's micro-batches: each is read once and goes through all runs. */
static ald_status_t micros(ald_loop_t *loop, ald_run_t *const *runs, int64_t n,
                           const ald_items_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_feed_t *feed = &loop->feed;
    const ald_step_t *parts = &runs[0]->parts;
    const ald_arena_mark_t mark = ald_arena_mark(&loop->shared);
    for (int64_t m = loop->trainers->rank; m < parts->micros; m += loop->trainers->size) {
        const int64_t first = parts->start[m], count = parts->start[m + 1] - first;
        const void *reading = NULL;
        if (feed->read != NULL)
            ALD_TRY(feed->read(feed->context, items, first, count, &loop->shared, &reading));
        for (int64_t k = 0; k < n; ++k)
            ALD_TRY(micro(loop, runs[k], items, m, reading));
        ald_arena_release(&loop->shared, mark);
    }
done:
    ald_arena_release(&loop->shared, mark);
    return status;
}

/* Prepares a run for its micro-batches. */
static void begin(ald_run_t *run)
{
    const ald_step_t *parts = &run->parts;
    memset(parts->rows, 0, sizeof *parts->rows * ALD_COLUMNS * (size_t)parts->micros);
    ald_optimizer_begin(&run->engine->optimizer, parts->micros);
    if (run->objective->forget != NULL)
        run->objective->forget(run->state);
}

/* Computes the gradients of all runs, and once more those of which the sums need another unit. */
static ald_status_t gradients(ald_loop_t *loop, ald_run_t *const *runs, int64_t n,
                              const ald_items_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_run_t *left[n + 1];
    int64_t count = n;
    memcpy(left, runs, sizeof *left * (size_t)n);
    while (count > 0) {
        int64_t again = 0;
        for (int64_t k = 0; k < count; ++k)
            begin(left[k]);
        ALD_TRY(ald_comm_agree(loop->trainers, micros(loop, left, count, items)));
        for (int64_t k = 0; k < count; ++k) {
            ald_optimizer_t *optimizer = &left[k]->engine->optimizer;
            if (ald_optimizer_fits(optimizer))
                continue;
            ald_log_verbose("%s: step %lld: its gradients are counted in units of 2^%d",
                            left[k]->engine->stage, (long long)left[k]->engine->step + 1,
                            optimizer->unit);
            left[again++] = left[k];
        }
        count = again;
    }
done:
    return status;
}

/* INTERNAL when the step gave no number; the same on all trainers. */
static ald_status_t check_numbers(const ald_run_t *run)
{
    static const char *const names[] = {"loss", "grad_norm"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = run->engine;
    for (int i = 0; i < 2; ++i) {
        const double value = ald_metrics_get(&run->metrics, names[i]);
        ALD_CHECK(isfinite(value), ALD_STATUS_INTERNAL, "%s: step %lld: %s is %g: %s",
                  engine->stage, (long long)engine->step + 1, names[i], value,
                  engine->step == 0
                      ? "the model's numbers overflow at its first step, before any was changed"
                      : "the training has diverged; lower optimizer.lr");
    }
done:
    return status;
}

/* Says once that trainers have nothing to do: a micro-batch is one trainer's. */
static void tell_of_idle(ald_loop_t *loop, const ald_run_t *run)
{
    const int64_t micros = run->parts.micros, trainers = loop->trainers->size;
    if (loop->idle || micros >= trainers)
        return;
    loop->idle = true;
    ald_log_warn(
        "%s: %lld of %lld trainers have no work: a step's %.0f tokens are %lld micro-batch%s; "
        "a smaller optimizer.micro_batch_tokens (here %lld) makes more of them",
        run->engine->stage, (long long)(trainers - micros), (long long)trainers, run->parts.tokens,
        (long long)micros, micros == 1 ? "" : "es",
        (long long)run->engine->config->optimizer.micro_batch_tokens);
}

ald_status_t ald_loop_step(ald_loop_t *loop, ald_run_t *const *runs, int64_t n,
                           const ald_items_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t k = 0; k < n; ++k)
        if (runs[k]->objective->ready != NULL)
            ALD_TRY(runs[k]->objective->ready(runs[k]->state, items));
    ALD_TRY(ald_comm_agree(loop->trainers, parts_init(runs, n, items)));
    tell_of_idle(loop, runs[0]);
    ALD_TRY(gradients(loop, runs, n, items));
    if (loop->feed.update != NULL)
        loop->feed.update(loop->feed.context);
    for (int64_t k = 0; k < n; ++k) {
        ald_run_t *run = runs[k];
        double columns[ALD_COLUMNS];
        if (loop->trainers->rank == 0)
            ald_measured_note(&(ald_work_done_t){
                .steps = 1, .sequences = items->count, .tokens = (int64_t)run->parts.tokens});
        ALD_TRY(ald_engine_update(run->engine, &run->parts, items->epoch, columns, &run->metrics));
        ALD_TRY(run->objective->metrics(run->state, items, columns, &run->metrics));
        ALD_TRY(check_numbers(run));
        if (loop->watch != NULL)
            ALD_TRY(loop->watch(loop->watcher, run));
    }
done:
    for (int64_t k = 0; k < n; ++k)
        ald_step_reset(&runs[k]->parts);
    return status;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static bool draws_alike(const ald_run_t *a, const ald_run_t *b)
{
    const ald_config_t *one = a->engine->config, *two = b->engine->config;
    return one->seed == two->seed && one->optimizer.batch_size == two->optimizer.batch_size &&
           one->optimizer.micro_batch_tokens == two->optimizer.micro_batch_tokens;
}

/* The step that the runs furthest behind are at; -1: no run is left. */
static int64_t next_step(const ald_loop_t *loop)
{
    int64_t step = -1;
    for (int64_t k = 0; k < loop->count; ++k) {
        const ald_engine_t *engine = loop->runs[k].engine;
        if (engine != NULL && engine->step < engine->steps && (step < 0 || engine->step < step))
            step = engine->step;
    }
    return step;
}

/* The runs that take `step` with runs[first], which is one of them; returns their number. */
static int64_t find_group(const ald_loop_t *loop, int64_t first, int64_t step, ald_run_t **group)
{
    int64_t n = 0;
    for (int64_t k = first; k < loop->count; ++k) {
        ald_run_t *run = &loop->runs[k];
        if (run->engine != NULL && !run->stepped && run->engine->step == step &&
            draws_alike(run, &loop->runs[first]))
            group[n++] = run;
    }
    return n;
}

/* Takes one step of some runs. */
static ald_status_t group_step(ald_loop_t *loop, ald_run_t *const *group, int64_t n, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_feed_t *feed = &loop->feed;
    ald_items_t items = {0};
    ALD_TRY(ald_comm_agree(loop->trainers, feed->ready(feed->context, group[0], step, &items)));
    ALD_TRY(ald_loop_step(loop, group, n, &items));
    if (feed->updated != NULL)
        feed->updated(feed->context, step + 1);
    for (int64_t k = 0; k < n; ++k) {
        if (feed->metrics != NULL)
            ALD_TRY(feed->metrics(feed->context, group[k], &items, &group[k]->metrics));
        group[k]->stepped = true;
    }
    loop->taken += n;
done:
    return status;
}

/* What is left to do once the round is recorded. */
static ald_stop_work_t work_left(const ald_loop_t *loop, int64_t step)
{
    ald_stop_work_t work = {.stage = loop->name,
                            .unit = "step",
                            .at = step + 1,
                            .done = loop->taken,
                            .seconds = ald_time() - loop->begun};
    for (int64_t k = 0; k < loop->count; ++k) {
        const ald_run_t *run = &loop->runs[k];
        if (run->engine == NULL)
            continue;
        work.total = run->engine->steps > work.total ? run->engine->steps : work.total;
        work.left += run->engine->steps - run->engine->step - run->stepped;
    }
    return work;
}

/* Whether a signal came to any trainer, or the feed has heard of one, or root, which keeps what
 * they have, has no time for another round. After the last one there is as much to write as for a
 * stop.
 */
static ald_stop_t stops(const ald_loop_t *loop, int64_t left)
{
    int64_t runs = 0;
    for (int64_t k = 0; k < loop->count; ++k)
        runs += loop->runs[k].engine != NULL;
    runs += ald_checkpoint_pending(); /* one more to wait for */
    const ald_stop_t mine = ald_stop_due(loop->trainers->rank == 0 ? left : 0, runs);
    return ald_stop_agree(loop->trainers, loop->stop ? ALD_STOP_SIGNAL : mine);
}

/* Writes down what the runs have done in this round. Collective over the trainers. */
static ald_status_t record(ald_loop_t *loop, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    const double begun = ald_time();
    ald_stop_work_t work = work_left(loop, step);
    ald_stop_stepped(begun - loop->recorded + loop->held);
    const ald_stop_t why = stops(loop, work.left);
    for (int64_t k = 0; k < loop->count; ++k)
        if (loop->runs[k].stepped && loop->feed.hold != NULL &&
            (why != ALD_STOP_NO || ald_engine_is_due(loop->runs[k].engine)))
            ALD_TRY(ald_comm_agree(loop->trainers, loop->feed.hold(loop->feed.context, step + 1)));
    loop->held = fmax(loop->held, ald_time() - begun);
    for (int64_t k = 0; k < loop->count; ++k)
        if (loop->runs[k].stepped)
            ALD_TRY(ald_engine_record(loop->runs[k].engine, &loop->runs[k].metrics,
                                      why != ALD_STOP_NO));
    work.left += loop->later;
    if (why != ALD_STOP_NO)
        ALD_TRY(ald_stop_raise(why, &work));
    loop->recorded = ald_time();
done:
    return status;
}

/* Takes the step in all runs that are at it, and records it. */
static ald_status_t run_round(ald_loop_t *loop, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_run_t *group[loop->count + 1];
    for (int64_t k = 0; k < loop->count; ++k)
        loop->runs[k].stepped = false;
    for (int64_t k = 0; k < loop->count; ++k) {
        const ald_run_t *run = &loop->runs[k];
        if (run->engine != NULL && !run->stepped && run->engine->step == step)
            ALD_TRY(group_step(loop, group, find_group(loop, k, step, group), step));
    }
    ALD_TRY(ald_comm_agree(loop->trainers, record(loop, step)));
done:
    if (loop->feed.taken != NULL)
        loop->feed.taken(loop->feed.context, step, status);
    return status;
}

/* Ends the runs that have taken all their steps. */
static ald_status_t finish_runs(ald_loop_t *loop)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t k = 0; k < loop->count && loop->finish != NULL; ++k) {
        ald_run_t *run = &loop->runs[k];
        if (run->engine == NULL || run->engine->step < run->engine->steps)
            continue;
        ALD_TRY(loop->finish(loop->context, run));
        loop->recorded = ald_time(); /* this was no part of a step */
    }
done:
    return status;
}

ald_status_t ald_loop_run(ald_loop_t *loop)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t step;
    ald_stop_begin(loop->name);
    loop->begun = loop->recorded = ald_time();
    ALD_TRY(finish_runs(loop)); /* a resumed run may have none left to take */
    while ((step = next_step(loop)) >= 0) {
        ALD_TRY(run_round(loop, step));
        ALD_TRY(finish_runs(loop));
    }
done:
    return status;
}

void ald_loop_reset(ald_loop_t *loop)
{
    ald_arena_reset(&loop->scratch);
    ald_arena_reset(&loop->shared);
}
