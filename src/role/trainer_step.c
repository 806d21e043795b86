/* Steps of one trainer, or of several on the same sequences. */
#include "ald/role/trainer_step.h"

#include <stdlib.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/record/metrics.h"
#include "ald/role/trainer.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/train/engine.h"
#include "role/trainer_micro_impl.h"

#define WARN_ABOVE 0.1 /* a bound on the total variation, mean of a step */

/* Reads the items [first, first + count) of the step and packs them: nothing here depends on a
 * run's settings. */
static ald_status_t read_sequences(ald_trainer_t *t, int64_t first, int64_t count,
                                   ald_arena_t *arena, ald_reading_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *sequence = ALD_ARENA_ARRAY(arena, ald_scored_t, count);
    ald_item_t *items = ALD_ARENA_ARRAY(arena, ald_item_t, count);
    ALD_CHECK(sequence != NULL && items != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_fail_point("shard_read"));
    const double waited = ald_readahead_waited(t->ahead);
    ald_readahead_release(t->ahead);
    for (int64_t i = 0; i < count; ++i) {
        ALD_TRY(ald_readahead_take(t->ahead, t->entries[first + i], &sequence[i]));
        items[i] = (ald_item_t){.prompt = sequence[i].prompt_ids,
                                .prompt_count = sequence[i].prompt_count,
                                .responses = 1,
                                .response = {sequence[i].response_ids, NULL},
                                .response_count = {sequence[i].response_count, 0}};
    }
    ALD_TRY(ald_pack(items, count, arena, &out->packed));
    out->sequence = sequence;
    out->waited = ald_readahead_waited(t->ahead) - waited;
done:
    return status;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The 95th percentile of all trainers' alphas, on root (0 elsewhere). */
static ald_status_t alpha_p95(ald_trainer_t *t, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = t->engine.comm;
    int counts[comm->size], starts[comm->size], mine = (int)t->alphas.count, total = 0;
    float *all = NULL;
    *out = 0.0;
    MPI_Allgather(&mine, 1, MPI_INT, counts, 1, MPI_INT, comm->mpi);
    for (int r = 0; r < comm->size; ++r) {
        starts[r] = total;
        total += counts[r];
    }
    if (comm->rank == 0) {
        all = ald_alloc(sizeof *all * ((size_t)total + 1));
        if (all == NULL)
            status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %d alphas", total);
    }
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Gatherv(t->alphas.data, mine, MPI_FLOAT, all, counts, starts, MPI_FLOAT, 0, comm->mpi);
    if (comm->rank == 0 && total > 0) {
        qsort(all, (size_t)total, sizeof *all, compare_floats);
        *out = all[(int64_t)(0.95 * (double)(total - 1) + 0.5)];
    }
done:
    ald_free(all);
    return status;
}

static void distill_metrics(const ald_trainer_t *t, const double *columns, double p95,
                            ald_metrics_t *metrics)
{
    double sequences = columns[COLUMN_SEQUENCES], positions = columns[COLUMN_POSITIONS];
    double staleness = t->policy_step < 0 ? 0.0 : (double)(t->engine.step - t->policy_step);
    ald_metrics_set(metrics, "loss", columns[COLUMN_LOSS] / sequences);
    ald_metrics_set(metrics, "kl/teacher", columns[COLUMN_KL_TEACHER] / positions);
    ald_metrics_set(metrics, "kl/dpo", columns[COLUMN_KL_DPO] / positions);
    ald_metrics_set(metrics, "alpha/mean", columns[COLUMN_ALPHA] / positions);
    ald_metrics_set(metrics, "alpha/p95", p95);
    ald_metrics_set(metrics, "tvd/mean", columns[COLUMN_TVD] / positions);
    ald_metrics_set(metrics, "weight/mean", columns[COLUMN_WEIGHT] / positions);
    ald_metrics_set(metrics, "reward/token", columns[COLUMN_REWARD] / positions);
    ald_metrics_set(metrics, "response_length", positions / sequences);
    ald_metrics_set(metrics, "staleness", staleness);
    ald_metrics_set(metrics, "on_policy", columns[COLUMN_ON_POLICY] / sequences);
    ald_metrics_set(metrics, "wait/read", columns[COLUMN_WAIT] / t->engine.comm->size);
}

/* What `topk` may be off by, where the shards say so; collective, as `worst` is of all trainers. */
static void error_metrics(ald_trainer_t *t, const double *columns, ald_metrics_t *metrics)
{
    const double certified = columns[COLUMN_CERTIFIED], mean = columns[COLUMN_ERROR] / certified;
    MPI_Allreduce(MPI_IN_PLACE, &t->worst, 1, MPI_DOUBLE, MPI_MAX, t->engine.comm->mpi);
    if (certified == 0.0)
        return;
    ald_metrics_set(metrics, "teacher/error", mean);
    ald_metrics_set(metrics, "teacher/error_max", t->worst);
    ald_metrics_set(metrics, "teacher/error_kl", columns[COLUMN_ERROR_KL] / certified);
    if (mean > WARN_ABOVE && t->config->distill.max_teacher_error <= 0.0 && !t->warned) {
        ald_log_warn("distill: the teachers of these topk shards may be off by %.2g in total "
                     "variation on average, %.2g at most; a larger shards.top_k, or \"hidden\", "
                     "lowers that",
                     mean, t->worst);
        t->warned = true;
    }
}

/* Makes the trainer ready for the step. */
static ald_status_t step_begin(ald_trainer_t *t, ald_shardset_t *set, const int64_t *entries,
                               int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    t->set = set;
    t->entries = entries;
    t->step_count = count;
    t->alphas.count = 0;
    t->worst = 0.0;
    ALD_TRY(ald_comm_agree(t->engine.comm, ald_trainer_vocabulary(t, set)));
    ALD_TRY(ald_comm_agree(t->engine.comm, ald_trainer_fits(t->config, set)));
    if (ald_encoding_is_hidden(ald_shard_header(set->shards[0])->encoding))
        ALD_TRY(ald_trainer_heads(t, set));
done:
    return status;
}

/* The trainer's share of a micro-batch that has been read, computed in the arena of `host`. */
static ald_status_t micro_of(ald_trainer_t *t, ald_trainer_t *host, const ald_reading_t *reading,
                             ald_step_t *step, int64_t m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t own = t->engine.arena;
    t->reading = *reading;
    t->engine.arena = host->engine.arena;
    status = ald_engine_micro(&t->engine, step, m, ald_trainer_micro, t);
    host->engine.arena = t->engine.arena;
    if (t != host)
        t->engine.arena = own;
    return status;
}

/* This rank's micro-batches: each is read once and goes through all trainers. */
static ald_status_t step_micros(ald_trainer_t *const *trainers, int64_t n, ald_step_t *steps)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *host = trainers[0];
    const ald_comm_t *comm = host->engine.comm;
    ald_arena_mark_t mark = ald_arena_mark(&host->shared);
    for (int64_t m = comm->rank; m < steps[0].micros; m += comm->size) {
        ald_reading_t reading;
        const int64_t first = steps[0].start[m], count = steps[0].start[m + 1] - first;
        ALD_TRY(read_sequences(host, first, count, &host->shared, &reading));
        host->sequences_read += count;
        for (int64_t k = 0; k < n; ++k)
            ALD_TRY(micro_of(trainers[k], host, &reading, &steps[k], m));
        ald_arena_release(&host->shared, mark);
    }
done:
    ald_arena_release(&host->shared, mark);
    return status;
}

/* Room for the step: the items' lengths and every trainer's part. */
static ald_status_t steps_init(ald_trainer_t *const *trainers, int64_t n, const ald_shardset_t *set,
                               const int64_t *entries, int64_t count, ald_step_t *steps)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t *tokens = ald_alloc(sizeof *tokens * (size_t)count);
    ALD_CHECK_MEMORY(tokens, sizeof *tokens * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_entry_tokens(&set->entries[entries[i]]);
    for (int64_t k = 0; k < n; ++k)
        ALD_TRY(ald_step_init(&trainers[k]->engine, tokens, count, &steps[k]));
done:
    ald_free(tokens);
    return status;
}

ald_status_t ald_trainer_steps(ald_trainer_t *const *trainers, int64_t n, ald_shardset_t *set,
                               const int64_t *entries, int64_t count, double epoch,
                               ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *host = trainers[0];
    const ald_comm_t *comm = host->engine.comm;
    const bool alone = host->ahead == NULL;
    double columns[ALD_COLUMNS], p95;
    ald_step_t *steps = ald_calloc((size_t)n, sizeof *steps);
    if (steps == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: a step of %lld runs",
                                  (long long)n);
    if (alone && status == ALD_STATUS_OK)
        status = ald_trainer_ahead_begin(host, set);
    if (alone && status == ALD_STATUS_OK)
        status = ald_trainer_ahead_plan(host, set, entries, count);
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t k = 0; k < n; ++k)
        ALD_TRY(step_begin(trainers[k], set, entries, count));
    status = steps_init(trainers, n, set, entries, count, steps);
    if (status == ALD_STATUS_OK)
        status = step_micros(trainers, n, steps);
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t k = 0; k < n; ++k) {
        ALD_TRY(ald_engine_update(&trainers[k]->engine, &steps[k], epoch, columns, &metrics[k]));
        ALD_TRY(alpha_p95(trainers[k], &p95));
        distill_metrics(trainers[k], columns, p95, &metrics[k]);
        error_metrics(trainers[k], columns, &metrics[k]);
    }
done:
    if (alone)
        ald_trainer_ahead_end(host);
    for (int64_t k = 0; k < n && steps != NULL; ++k)
        ald_step_reset(&steps[k]);
    ald_free(steps);
    return status;
}

ald_status_t ald_trainer_step(ald_trainer_t *trainer, ald_shardset_t *set, const int64_t *entries,
                              int64_t count, double epoch, ald_metrics_t *metrics)
{
    return ald_trainer_steps(&trainer, 1, set, entries, count, epoch, metrics);
}
