/* Measuring that goes on where a run was stopped: results are kept as they come, since a large
 * model's pass over a file takes longer than a job may. */
#include "pipeline/measuring_impl.h"

#include <string.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/batch.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/record/measured.h"
#include "ald/role/measure.h"
#include "pipeline/partial_impl.h"

typedef struct {
    const ald_measuring_t *of;
    int64_t total, before, there; /* sequences: all, there at the beginning, there now */
    double begun, kept;           /* when it began, when it kept some last */
} progress_t;

static ald_status_t keep_measured(void *context, const ald_measured_t *measured, int64_t count)
{
    progress_t *p = context;
    ald_status_t status = ALD_STATUS_OK;
    const ald_partial_t *partial = p->of->partial;
    const double now = ald_time();
    ald_stop_stepped(now - p->kept);
    p->there += count;
    if (partial->comm->rank == 0) {
        ald_measured_note(&(ald_work_done_t){.sequences = count});
        status = ald_partial_add(partial, p->of->name, measured, sizeof *measured * (size_t)count);
    }
    const ald_stop_work_t work = {.stage = p->of->stage,
                                  .unit = "measured sequence",
                                  .at = p->there,
                                  .total = p->total,
                                  .left = p->total - p->there,
                                  .done = p->there - p->before,
                                  .seconds = now - p->begun};
    status = ald_partial_agree(partial, status, &work);
    p->kept = ald_time();
    ald_stop_kept(p->kept - now);
    return status;
}

ald_status_t ald_measure_kept(const ald_measuring_t *measuring, const ald_item_t *items,
                              int64_t count, int64_t sequences, ald_measured_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_partial_t *partial = measuring->partial;
    const ald_comm_t *comm = partial->comm;
    const size_t most = sizeof *out * (size_t)sequences;
    progress_t progress = {.of = measuring, .total = sequences};
    ald_measure_keep_t keep = {.add = keep_measured, .context = &progress};
    ald_vec_t known;
    ald_vec_init(&known, 1);
    if (comm->rank == 0)
        status = ald_partial_find(partial, measuring->name, &known);
    if (status == ALD_STATUS_OK && (known.count > most || known.count % sizeof *out != 0))
        status = ald_status_raise(ALD_STATUS_INPUT, "%s: %s: expected %lld sequences at most",
                                  partial->path, measuring->name, (long long)sequences);
    ALD_TRY(ald_comm_agree(comm, status));
    if (known.count > 0)
        memcpy(out, known.data, known.count);
    keep.known = (int64_t)(known.count / sizeof *out);
    MPI_Bcast(&keep.known, 1, MPI_INT64_T, 0, comm->mpi);
    ald_comm_broadcast(comm, out, sizeof *out * (size_t)keep.known, 0);
    progress.before = progress.there = keep.known;
    progress.begun = progress.kept = ald_time();
    ald_stop_begin(measuring->stage);
    ALD_TRY(
        ald_measure(measuring->measure, comm, items, count, measuring->distributions, &keep, out));
done:
    ald_vec_reset(&known);
    return status;
}
