/* When and by whom a checkpoint is written: by all trainers, each its share, from a copy by a
 * thread while training goes on, or at once. */
#include "ald/train/checkpoint_write.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/memory.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/hf_save.h"
#include "ald/num/dtype.h"
#include "ald/num/threads.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/stop.h"
#include "ald/record/arrays.h"
#include "ald/record/metrics_file.h"
#include "train/checkpoint_files_impl.h"

/* The share that a thread of this trainer writes. */
static struct {
    bool running;
    pthread_t thread;
    sem_t go;       /* the thread begins, or ends at once if it was */
    bool cancelled; /* before it has begun */
    atomic_bool abandoned, written, ended;
    ald_saved_t saved; /* a copy */
    ald_engine_t *owner;
    double begun, seconds;
    ald_status_t status;
    char message[1024]; /* as long as a status message can be */
} job;

/* Writes the share and, on root, the rest; *written in between. */
static ald_status_t write_saved(const ald_saved_t *saved, atomic_bool *written)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_fail_point("checkpoint_thread"));
    ALD_TRY(ald_saved_write(saved));
    atomic_store(written, true);
    if (saved->engine.comm->rank == 0)
        ALD_TRY(ald_saved_publish(saved, &job.abandoned));
done:
    return status;
}

static void *write_job(void *unused)
{
    (void)unused;
    ald_threads_single();
    while (sem_wait(&job.go) != 0)
        ;
    if (job.cancelled)
        return NULL;
    job.status = write_saved(&job.saved, &job.written);
    snprintf(job.message, sizeof job.message, "%s", ald_status_message());
    job.seconds = ald_time() - job.begun;
    atomic_store(&job.ended, true);
    return NULL;
}

static void free_saved(void)
{
    ald_json_free(job.saved.engine.recipe);
    ald_free(job.saved.values);
    ald_free(job.saved.m);
    job.saved = (ald_saved_t){0};
}

/* Waits for the thread. What it left of a checkpoint that failed is removed here, so that the
 * failure is known before the others' threads fail of that. */
static void join(void)
{
    pthread_join(job.thread, NULL);
    sem_destroy(&job.go);
    job.running = false;
    if (!job.cancelled && job.status != ALD_STATUS_OK && job.saved.engine.comm->rank == 0)
        ald_saved_discard(&job.saved.engine);
    free_saved();
}

bool ald_checkpoint_pending(void)
{
    return job.running;
}

static void set_saved(ald_engine_t *engine, int64_t step)
{
    engine->saved = step;
    ald_log_verbose("%s: checkpoint of step %lld", engine->stage, (long long)step);
}

/* The end of a thread, which has come or does soon. */
static ald_status_t collect(void)
{
    ald_engine_t *owner = job.owner;
    const int64_t step = job.saved.engine.step;
    join();
    ald_stop_kept(job.seconds);
    if (job.status != ALD_STATUS_OK)
        return ald_status_raise(job.status, "%s", job.message);
    set_saved(owner, step);
    return ALD_STATUS_OK;
}

ald_status_t ald_checkpoint_look(void)
{
    return job.running && atomic_load(&job.ended) ? collect() : ALD_STATUS_OK;
}

ald_status_t ald_checkpoint_settle(const ald_comm_t *trainers)
{
    ald_status_t status = ALD_STATUS_OK;
    /* Each waits for its own share first: root's thread waits for those that never come. */
    while (job.running && !atomic_load(&job.written) && !atomic_load(&job.ended))
        usleep(1000);
    status = ald_comm_agree(trainers, ald_checkpoint_look());
    if (status != ALD_STATUS_OK)
        return status;
    if (job.running)
        status = collect();
    return ald_comm_agree(trainers, status);
}

void ald_checkpoint_forget(const ald_engine_t *engine)
{
    if (!job.running || job.owner != engine)
        return;
    atomic_store(&job.abandoned, true);
    join();
}

/* The share as it lies in the engine. */
static ald_status_t saved_of(const ald_engine_t *engine, ald_saved_t *out)
{
    *out = (ald_saved_t){.engine = *engine, .m = engine->optimizer.m, .v = engine->optimizer.v};
    const ald_status_t status = ald_hf_share(
        &engine->params, ALD_DTYPE_F32, ald_config_bytes(engine->config->runtime.max_shard_size),
        engine->comm->rank, engine->comm->size, &out->share);
    out->values = engine->values + out->share.first;
    return status;
}

static void copy_floats(float *to, const float *from, int64_t count)
{
    memcpy(to, from, sizeof *to * (size_t)count);
}

/* Copies a share for the thread; false where memory is short: as much again must be left for what
 * the next steps may still need. */
static bool copy_saved(const ald_saved_t *from)
{
    const int64_t values = from->share.count, count = from->engine.optimizer.count;
    const size_t bytes = sizeof(float) * (size_t)(values + 2 * count);
    if (ald_fail_point("checkpoint_copy") != ALD_STATUS_OK || bytes > ald_memory_available() / 2)
        return false;
    job.saved = *from;
    job.saved.engine.recipe =
        from->engine.recipe == NULL ? NULL : ald_json_copy(from->engine.recipe);
    job.saved.values = ald_alloc(sizeof(float) * (size_t)(values + 1));
    job.saved.m = ald_alloc(sizeof(float) * (size_t)(2 * count + 1));
    if (job.saved.values == NULL || job.saved.m == NULL ||
        (from->engine.recipe != NULL && job.saved.engine.recipe == NULL))
        return false;
    job.saved.v = job.saved.m + count;
    copy_floats(job.saved.values, from->values, values);
    copy_floats(job.saved.m, from->m, count);
    copy_floats(job.saved.v, from->v, count);
    return true;
}

/* Starts the thread, which waits for job.go; false where it can't be, or where HDF5 was built for
 * one thread. Signals are for the thread that works. */
static bool start_job(ald_engine_t *engine, const ald_saved_t *saved)
{
    sigset_t all, before;
    if (!ald_arrays_take_threads() || !copy_saved(saved)) {
        free_saved();
        return false;
    }
    job.owner = engine;
    job.begun = ald_time();
    job.cancelled = false;
    atomic_store(&job.abandoned, false);
    atomic_store(&job.written, false);
    atomic_store(&job.ended, false);
    sem_init(&job.go, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    job.running = pthread_create(&job.thread, NULL, write_job, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!job.running) {
        sem_destroy(&job.go);
        free_saved();
    }
    return job.running;
}

/* Has the threads of all trainers write; false where one of them can't. */
static bool in_background(ald_engine_t *engine, const ald_saved_t *saved)
{
    int mine = start_job(engine, saved), all = mine;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, engine->comm->mpi);
    job.cancelled = !all;
    if (mine)
        sem_post(&job.go);
    if (mine && !all)
        join();
    if (!all)
        ald_log_verbose("%s: no memory for a copy or no thread on some rank: training waits for "
                        "the checkpoint of step %lld",
                        engine->stage, (long long)engine->step);
    return all;
}

static ald_status_t prepare(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    if (engine->comm->rank > 0)
        return status;
    ALD_TRY(ald_fail_point("checkpoint_write"));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_metrics_flush(engine->metrics));
    ALD_TRY(ald_saved_prepare(engine));
done:
    return status;
}

static ald_status_t write_at_once(ald_engine_t *engine, const ald_saved_t *saved)
{
    ald_status_t status = ALD_STATUS_OK;
    static const atomic_bool never = false;
    const double begun = ald_time();
    ALD_TRY(ald_comm_agree(engine->comm, ald_saved_write(saved)));
    if (engine->comm->rank == 0)
        status = ald_saved_publish(saved, &never);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    set_saved(engine, engine->step);
    ald_stop_kept(ald_time() - begun);
done:
    if (status != ALD_STATUS_OK && engine->comm->rank == 0)
        ald_saved_discard(engine);
    return status;
}

static ald_status_t write_checkpoint(ald_engine_t *engine, bool background)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_saved_t saved;
    ALD_TRY(ald_checkpoint_settle(engine->comm));
    ALD_TRY(ald_comm_agree(engine->comm, prepare(engine)));
    ALD_TRY(ald_comm_agree(engine->comm, saved_of(engine, &saved)));
    if (!background || !in_background(engine, &saved))
        ALD_TRY(write_at_once(engine, &saved));
done:
    return status;
}

ald_status_t ald_checkpoint_write(ald_engine_t *engine)
{
    return write_checkpoint(engine, false);
}

ald_status_t ald_checkpoint_begin(ald_engine_t *engine)
{
    return write_checkpoint(engine, true);
}
