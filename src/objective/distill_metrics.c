/* The metrics of a step of distillation, from its sums. A percentile and a maximum aren't sums of
 * micro-batches, so they are put together from all trainers here. */
#include <stdlib.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/objective/distill.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/train/loop.h"
#include "objective/distill_impl.h"

/* The limit of a step's mean bound on the total variation: a tenth of the teacher's mass may be
 * elsewhere, which is more than rounding of halves explains. */
#define WARN_ABOVE 0.1

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A rank's numbers, gathered from all trainers into *out on root (NULL elsewhere), which the caller
 * frees. Collective. */
static ald_status_t gather(const ald_comm_t *comm, const ald_vec_t *mine, MPI_Datatype type,
                           void **out, int64_t *total)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t starts[comm->size + 1];
    const ald_spread_t spread = {comm, starts, type};
    *out = NULL;
    ald_collect_starts(comm, (int64_t)mine->count, starts);
    *total = starts[comm->size];
    if (comm->rank == 0) {
        *out = ald_alloc(mine->item * ((size_t)*total + 1));
        if (*out == NULL)
            status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %lld numbers of a step",
                                      (long long)*total);
    }
    ALD_TRY(ald_comm_agree(comm, status));
    ald_collect_gather(&spread, mine->data, *out);
done:
    return status;
}

/* Adds the distribution of all trainers' numbers, and gives their 95th percentile, on root; 0
 * elsewhere, or where there is none. They are sorted for both: sums of floats depend on the order,
 * and that in which they come depends on the trainers. */
static ald_status_t distribution(const ald_comm_t *comm, const ald_vec_t *mine, const char *name,
                                 ald_metrics_t *metrics, double *p95)
{
    ald_status_t status = ALD_STATUS_OK;
    void *gathered = NULL;
    int64_t total;
    *p95 = 0.0;
    ALD_TRY(gather(comm, mine, MPI_FLOAT, &gathered, &total));
    float *all = gathered;
    if (all != NULL && total > 0) {
        qsort(all, (size_t)total, sizeof *all, compare_floats);
        *p95 = all[(int64_t)(0.95 * (double)(total - 1) + 0.5)];
        ald_metrics_histogram(metrics, name, all, total);
    }
done:
    ald_free(gathered);
    return status;
}

static int compare_choices(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return x[0] != y[0] ? (x[0] > y[0]) - (x[0] < y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

/* Says what granularity "auto" chose for each sequence of the step, in the order of their rows. */
static ald_status_t log_choices(ald_distiller_t *t)
{
    ald_status_t status = ALD_STATUS_OK;
    void *gathered = NULL;
    int64_t total;
    ALD_TRY(gather(t->engine->comm, &t->choices, MPI_DOUBLE, &gathered, &total));
    double *all = gathered;
    if (all != NULL)
        qsort(all, (size_t)total / 2, 2 * sizeof *all, compare_choices);
    for (int64_t i = 0; all != NULL && i < total; i += 2)
        ald_log_verbose("distill: step %lld: row %.0f: TVD spread %.3f, %s",
                        (long long)t->engine->step + 1, all[i], all[i + 1],
                        all[i + 1] < ALD_SPREAD_LIMIT ? "an alpha for each token"
                                                      : "one alpha for the response");
done:
    ald_free(gathered);
    return status;
}

static void distill_metrics(const ald_distiller_t *t, const double *columns, double p95,
                            ald_metrics_t *metrics)
{
    double sequences = columns[ALD_SUM_SEQUENCES], positions = columns[ALD_SUM_POSITIONS];
    double staleness = t->policy_step < 0 ? 0.0 : (double)(t->engine->step - t->policy_step);
    ald_metrics_set(metrics, "loss", columns[ALD_SUM_LOSS] / sequences);
    ald_metrics_set(metrics, "kl/teacher", columns[ALD_SUM_KL_TEACHER] / positions);
    ald_metrics_set(metrics, "kl/dpo", columns[ALD_SUM_KL_DPO] / positions);
    ald_metrics_set(metrics, "alpha/mean", columns[ALD_SUM_ALPHA] / positions);
    ald_metrics_set(metrics, "alpha/p95", p95);
    ald_metrics_set(metrics, "tvd/mean", columns[ALD_SUM_TVD] / positions);
    ald_metrics_set(metrics, "weight/mean", columns[ALD_SUM_WEIGHT] / positions);
    ald_metrics_set(metrics, "reward/token", columns[ALD_SUM_REWARD] / positions);
    ald_metrics_set(metrics, "response_length", positions / sequences);
    ald_metrics_set(metrics, "staleness", staleness);
    ald_metrics_set(metrics, "on_policy", columns[ALD_SUM_ON_POLICY] / sequences);
    if (t->teacher.granularity == ALD_GRANULARITY_AUTO)
        ald_metrics_set(metrics, "granularity/token", columns[ALD_SUM_BY_TOKEN] / sequences);
    ald_metrics_set(metrics, "wait/read", columns[ALD_SUM_WAIT] / t->engine->comm->size);
}

/* Sets by what `topk` teachers may be off, where the shards bound that. Collective, since `worst`
 * is that of all trainers. */
static void error_metrics(ald_distiller_t *t, const double *columns, ald_metrics_t *metrics)
{
    const double certified = columns[ALD_SUM_CERTIFIED], mean = columns[ALD_SUM_ERROR] / certified;
    MPI_Allreduce(MPI_IN_PLACE, &t->worst, 1, MPI_DOUBLE, MPI_MAX, t->engine->comm->mpi);
    if (certified == 0.0)
        return;
    ald_metrics_set(metrics, "teacher/error", mean);
    ald_metrics_set(metrics, "teacher/error_max", t->worst);
    ald_metrics_set(metrics, "teacher/error_kl", columns[ALD_SUM_ERROR_KL] / certified);
    if (mean > WARN_ABOVE && t->config->distill.max_teacher_error <= 0.0 && !t->warned) {
        ald_log_warn("distill: the teachers of these topk shards may be off by %.2g in total "
                     "variation on average, %.2g at most; a larger shards.top_k, or \"hidden\", "
                     "lowers that",
                     mean, t->worst);
        t->warned = true;
    }
}

ald_status_t ald_distill_metrics(void *state, const ald_items_t *items, const double *columns,
                                 ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distiller_t *d = state;
    double p95, unused;
    (void)items;
    ALD_TRY(distribution(d->engine->comm, &d->alphas, "alpha", metrics, &p95));
    ALD_TRY(distribution(d->engine->comm, &d->tvds, "tvd", metrics, &unused));
    distill_metrics(d, columns, p95, metrics);
    error_metrics(d, columns, metrics);
    if (d->teacher.granularity == ALD_GRANULARITY_AUTO)
        ALD_TRY(log_choices(d));
done:
    return status;
}
