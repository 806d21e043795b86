/* Checkpoints. One is written under a temporary name and renamed when it is whole, so a job that is
 * killed while it writes still has the checkpoint before to go on from. */
#include "ald/train/checkpoint.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/memory.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/hf.h"
#include "ald/model/hf_save.h"
#include "ald/num/dtype.h"
#include "ald/num/threads.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/stop.h"
#include "ald/record/arrays.h"
#include "ald/record/metrics_file.h"
#include "ald/train/engine.h"
#include "ald/train/finished.h"
#include "ald/train/optimizer.h"

/* The path of OUTPUT/checkpoints (step 0), or of a step's folder in it with `suffix` appended;
 * freed by ald_free. */
static char *checkpoint_path(const ald_engine_t *engine, int64_t step, const char *suffix)
{
    size_t bytes = strlen(engine->output) + strlen(suffix) + 64;
    char *path = ald_alloc(bytes);
    if (path != NULL && step > 0)
        snprintf(path, bytes, "%s/checkpoints/step-%06lld%s", engine->output, (long long)step,
                 suffix);
    else if (path != NULL)
        snprintf(path, bytes, "%s/checkpoints", engine->output);
    return path;
}

/* The steps of the finished checkpoints, in the order of the names; freed by ald_free. */
static int64_t *list_steps(const ald_engine_t *engine, size_t *count)
{
    char *folder = checkpoint_path(engine, 0, ""), **names = NULL;
    size_t entries = 0, used = 0;
    int64_t *steps = NULL;
    if (folder != NULL && ald_path_is_directory(folder) &&
        ald_dir_list(folder, &names, &entries) == ALD_STATUS_OK)
        steps = ald_alloc(sizeof *steps * (entries + 1));
    for (size_t i = 0; steps != NULL && i < entries; ++i) {
        int end = 0;
        long long step;
        if (sscanf(names[i], "step-%lld%n", &step, &end) == 1 && names[i][end] == '\0' && step > 0)
            steps[used++] = step;
    }
    ald_names_free(names, entries);
    ald_free(folder);
    *count = used;
    return steps;
}

int64_t ald_checkpoint_newest(const ald_engine_t *engine)
{
    size_t count;
    int64_t *steps = list_steps(engine, &count), newest = 0;
    for (size_t i = 0; i < count; ++i)
        newest = steps[i] > newest ? steps[i] : newest;
    ald_free(steps);
    return newest;
}

/* As texts of 17 digits, which give every double back. */
static ald_json_t *json_of_kept(const ald_engine_t *engine)
{
    ald_json_t *list = ald_json_new_array();
    char text[32];
    for (int i = 0; i < ALD_KEPT; ++i) {
        snprintf(text, sizeof text, "%.17g", engine->kept[i]);
        ald_json_push(list, ald_json_new_string(text));
    }
    return list;
}

/* 0 where the checkpoint of an older version has none. */
static void read_kept(const ald_json_t *list, ald_engine_t *engine)
{
    for (size_t i = 0; i < ALD_KEPT; ++i) {
        const char *text = ald_json_text(ald_json_at(list, i), NULL);
        engine->kept[i] = text == NULL ? 0.0 : strtod(text, NULL);
    }
}

/* Makes {name: sha256} of the files in a folder; what is no file is left out. */
static ald_status_t digest_files(const char *folder, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *path = NULL, hex[ALD_SHA256_HEX];
    size_t count = 0;
    *out = ald_json_new_object();
    ALD_TRY(ald_dir_list(folder, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        ald_free(path);
        path = ald_path_join(folder, names[i]);
        ALD_CHECK_MEMORY(path, strlen(folder));
        if (ald_path_is_directory(path))
            continue;
        ALD_TRY(ald_sha256_file(path, hex));
        ald_json_set(*out, names[i], ald_json_new_string(hex));
    }
done:
    ald_free(path);
    ald_names_free(names, count);
    return status;
}

/* Writes state.json, the last file: the steps, what a resumed run must have as well, and the
 * digests of the others. */
static ald_status_t write_state(const ald_engine_t *engine, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL, *path = ald_path_join(folder, "state.json");
    ald_json_t *state = ald_json_new_object(), *files = NULL;
    ALD_CHECK(path != NULL && state != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(digest_files(folder, &files));
    ALD_TRY(ald_config_print(engine->config, &text));
    ald_json_set(state, "stage", ald_json_new_string(engine->stage));
    ald_json_set(state, "step", ald_json_new_integer(engine->step));
    ald_json_set(state, "steps", ald_json_new_integer(engine->steps));
    ald_json_set(state, "optimizer_steps", ald_json_new_integer(engine->optimizer.steps));
    ald_json_set(state, "gradient_unit", ald_json_new_integer(engine->optimizer.unit));
    ald_json_set(state, "seed", ald_json_new_integer(engine->config->seed));
    ald_json_set(state, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(state, "config", ald_json_new_string(text));
    ald_json_set(state, "kept", json_of_kept(engine));
    if (engine->recipe != NULL)
        ald_json_set(state, "recipe", ald_json_copy(engine->recipe));
    ald_json_set(state, "files", files);
    ALD_TRY(ald_json_write(state, path));
done:
    ald_json_free(state);
    ald_free(text);
    ald_free(path);
    return status;
}

/* `code` unless the moments can be gone on with: finite, and no square below 0. */
static ald_status_t check_moments(const char *path, int64_t count, const float *m, const float *v,
                                  ald_status_t code)
{
    ald_status_t status = ALD_STATUS_OK;
    const float *const moments[] = {m, v};
    for (int i = 0; i < 2; ++i) {
        const int64_t bad = ald_dtype_find_nonfinite(ALD_DTYPE_F32, moments[i], count);
        ALD_CHECK(bad < 0, code, "%s: %s: element %lld: expected a finite number, found %g", path,
                  i == 0 ? "m" : "v", (long long)bad, (double)moments[i][bad]);
    }
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(v[i] >= 0.0f, code, "%s: v: element %lld: expected 0 or more, found %g", path,
                  (long long)i, (double)v[i]);
done:
    return status;
}

/* Writes the moments, or reads them, as `transfer` does. */
static ald_status_t move_moments(const ald_engine_t *engine, const char *folder, float *m, float *v,
                                 ald_status_t (*transfer)(const char *, const ald_array_t *, int))
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = engine->params.total;
    const ald_array_t moments[] = {{"m", m, count}, {"v", v, count}};
    const bool writes = transfer == ald_arrays_write;
    char *path = ald_path_join(folder, "optimizer.h5");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    if (writes)
        ALD_TRY(check_moments(path, count, m, v, ALD_STATUS_INTERNAL));
    ALD_TRY(transfer(path, moments, 2));
    if (!writes)
        ALD_TRY(check_moments(path, count, m, v, ALD_STATUS_INPUT));
done:
    ald_free(path);
    return status;
}

/* Removes all checkpoints but the newest keep_last. */
static ald_status_t remove_old(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t keep = engine->config->checkpoint.keep_last;
    size_t count;
    int64_t *steps = list_steps(engine, &count);
    for (size_t i = 0; keep > 0 && i < count; ++i) {
        int64_t newer = 0;
        for (size_t j = 0; j < count; ++j)
            newer += steps[j] > steps[i];
        if (newer < keep)
            continue;
        char *path = checkpoint_path(engine, steps[i], "");
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        status = ald_dir_remove(path);
        ald_free(path);
        ALD_TRY(status);
    }
done:
    ald_free(steps);
    return status;
}

/* Of what the engine has, or a copy of it. */
static ald_status_t write_folder(const ald_engine_t *engine, float *m, float *v)
{
    ald_status_t status = ALD_STATUS_OK;
    char *temporary = checkpoint_path(engine, engine->step, ".tmp");
    char *path = checkpoint_path(engine, engine->step, "");
    ALD_CHECK(temporary != NULL && path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_remove(temporary));
    ALD_TRY(ald_dir_make(temporary));
    ALD_TRY(ald_hf_save(temporary, engine->origin, &engine->params, engine->values, ALD_DTYPE_F32,
                        ald_config_bytes(engine->config->runtime.max_shard_size)));
    ALD_TRY(move_moments(engine, temporary, m, v, ald_arrays_write));
    ALD_TRY(write_state(engine, temporary));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_dir_publish(temporary, path));
    ALD_TRY(remove_old(engine));
done:
    if (status != ALD_STATUS_OK && temporary != NULL)
        ald_dir_discard(temporary);
    ald_free(temporary);
    ald_free(path);
    return status;
}

/* INPUT unless the files are those that were written. A checkpoint of an older version doesn't say
 * what was, and is believed. */
static ald_status_t check_files(const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, "state.json"), *file = NULL, hex[ALD_SHA256_HEX];
    ald_json_t *state = NULL;
    void *at = NULL;
    const char *name;
    const ald_json_t *wanted;
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(ald_json_read(path, &state));
    const ald_json_t *files = ald_json_get(state, "files");
    while (files != NULL && ald_json_next(files, &at, &name, &wanted)) {
        const char *text = ald_json_text(wanted, NULL);
        ald_free(file);
        file = ald_path_join(folder, name);
        ALD_CHECK_MEMORY(file, strlen(folder));
        ALD_TRY(ald_sha256_file(file, hex));
        ALD_CHECK(text != NULL && strcmp(text, hex) == 0, ALD_STATUS_INPUT,
                  "%s: its sha256 isn't the one in state.json: it was changed or cut since it was "
                  "written",
                  file);
    }
done:
    ald_json_free(state);
    ald_free(path);
    ald_free(file);
    return status;
}

/* Moves a damaged checkpoint out of the way. */
static ald_status_t set_aside(const ald_engine_t *engine, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    char *from = checkpoint_path(engine, step, ""), *to = checkpoint_path(engine, step, ".damaged");
    ALD_CHECK(from != NULL && to != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_remove(to));
    ALD_CHECK(rename(from, to) == 0, ald_status_of_errno(errno), "%s: cannot rename: %s", from,
              strerror(errno));
done:
    ald_free(from);
    ald_free(to);
    return status;
}

/* The newest step below `before`, 0: none. */
static int64_t step_below(const int64_t *steps, size_t count, int64_t before)
{
    int64_t step = 0;
    for (size_t i = 0; i < count; ++i)
        step = steps[i] < before && steps[i] > step ? steps[i] : step;
    return step;
}

ald_status_t ald_checkpoint_whole(const ald_engine_t *engine, int64_t *step)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count;
    char *path = NULL;
    int64_t *steps = list_steps(engine, &count);
    *step = step_below(steps, count, INT64_MAX);
    while (*step > 0) {
        ald_free(path);
        path = checkpoint_path(engine, *step, "");
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        status = check_files(path);
        const int64_t next = step_below(steps, count, *step);
        if (status == ALD_STATUS_OK || next == 0)
            break;
        ald_log_warn("%s; going on from an older checkpoint", ald_status_message());
        ALD_TRY(set_aside(engine, *step));
        *step = next;
    }
done:
    ald_free(path);
    ald_free(steps);
    return status;
}

/* Allocates both whole moments on root, [2 total]; *m is NULL on the other ranks. */
static ald_status_t moments_alloc(const ald_engine_t *engine, float **m)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = 2 * sizeof(float) * (size_t)engine->params.total;
    *m = NULL;
    if (engine->comm->rank == 0) {
        *m = ald_alloc(bytes);
        ALD_CHECK_MEMORY(*m, bytes);
    }
done:
    return ald_comm_agree(engine->comm, status);
}

/* --- in the background ------------------------------------------------------------------------ */

/* A checkpoint that a thread writes: its engine as it was, with weights and recipe of its own. */
static struct {
    bool running;
    pthread_t thread;
    ald_engine_t engine, *owner;
    float *m; /* both moments */
    double begun, seconds;
    atomic_bool ended;
    ald_status_t status;
    char message[1024]; /* as long as a status message can be */
} job;

static void *write_job(void *unused)
{
    (void)unused;
    ald_threads_single();
    ald_status_t status = ald_fail_point("checkpoint_thread");
    if (status == ALD_STATUS_OK)
        status = write_folder(&job.engine, job.m, job.m + job.engine.params.total);
    job.status = status;
    snprintf(job.message, sizeof job.message, "%s", ald_status_message());
    job.seconds = ald_time() - job.begun;
    atomic_store(&job.ended, true);
    return NULL;
}

static void free_job(void)
{
    ald_free(job.engine.values);
    ald_json_free(job.engine.recipe);
    ald_free(job.m);
    job.engine = (ald_engine_t){0};
    job.m = NULL;
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

ald_status_t ald_checkpoint_settle(bool wait)
{
    ald_status_t status = ALD_STATUS_OK;
    if (!job.running || (!wait && !atomic_load(&job.ended)))
        return status;
    pthread_join(job.thread, NULL);
    job.running = false;
    ald_stop_kept(job.seconds);
    if (job.status != ALD_STATUS_OK)
        status = ald_status_raise(job.status, "%s", job.message);
    else
        set_saved(job.owner, job.engine.step);
    free_job();
    return status;
}

void ald_checkpoint_forget(const ald_engine_t *engine)
{
    if (!job.running || job.owner != engine)
        return;
    pthread_join(job.thread, NULL);
    job.running = false;
    free_job();
}

/* Copies weights and recipe of the engine; false where memory is short: as much again must be left
 * for what the next steps may still need. */
static bool copy_engine(const ald_engine_t *engine)
{
    const size_t bytes = sizeof(float) * (size_t)engine->params.total;
    if (bytes > ald_memory_available() / 2)
        return false;
    job.engine = *engine;
    job.engine.recipe = engine->recipe == NULL ? NULL : ald_json_copy(engine->recipe);
    job.engine.values = ald_alloc(bytes);
    if (job.engine.values == NULL || (engine->recipe != NULL && job.engine.recipe == NULL))
        return false;
    memcpy(job.engine.values, engine->values, bytes);
    return true;
}

/* Starts the thread, which takes over both moments at `m`; false where it can't be, or where HDF5
 * was built for one thread. Signals are for the thread that works. */
static bool start_job(ald_engine_t *engine, float *m)
{
    sigset_t all, before;
    if (!ald_arrays_take_threads() || !copy_engine(engine)) {
        free_job();
        return false;
    }
    job.m = m;
    job.owner = engine;
    job.begun = ald_time();
    atomic_store(&job.ended, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    job.running = pthread_create(&job.thread, NULL, write_job, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!job.running) {
        job.m = NULL; /* stays the caller's */
        free_job();
    }
    return job.running;
}

/* Writes a checkpoint on root, by a thread where `background` says so and it can be. *m is NULL
 * once the thread has it. */
static ald_status_t write_on_root(ald_engine_t *engine, bool background, float **m)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_fail_point("checkpoint_write"));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_metrics_flush(engine->metrics));
    if (background && start_job(engine, *m)) {
        *m = NULL;
        return status;
    }
    ALD_TRY(write_folder(engine, *m, *m + engine->params.total));
    set_saved(engine, engine->step);
done:
    return status;
}

static ald_status_t write_checkpoint(ald_engine_t *engine, bool background)
{
    ald_status_t status = ALD_STATUS_OK;
    float *m = NULL;
    const double begun = ald_time();
    ALD_TRY(ald_comm_agree(engine->comm, ald_checkpoint_settle(true)));
    ALD_TRY(moments_alloc(engine, &m));
    ald_optimizer_gather(&engine->optimizer, m, m == NULL ? NULL : m + engine->params.total);
    if (engine->comm->rank == 0)
        status = write_on_root(engine, background, &m);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    if (!ald_checkpoint_pending())
        ald_stop_kept(ald_time() - begun);
done:
    ald_free(m);
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

/* USAGE with what differs unless the run has the recipe that the checkpoint was made by. */
static ald_status_t compare_recipe(const ald_engine_t *engine, const ald_json_t *state,
                                   const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *saved = ald_json_get(state, "recipe");
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_CHECK(ald_json_is_object(saved), ALD_STATUS_INPUT, "%s: expected an object \"recipe\"",
              path);
    ALD_TRY(ald_recipe_differences(saved, engine->recipe, &text));
    ALD_CHECK(text.count == 0, ALD_STATUS_USAGE,
              "%s: this checkpoint was made with another configuration or other inputs: %s; "
              "--force starts anew, another output leaves it",
              path, (const char *)text.data);
done:
    ald_vec_reset(&text);
    return status;
}

/* Reads the number of updates, and lowers that of steps to `step` where the run had ended there.
 * USAGE unless the run is the one that the checkpoint is of. */
static ald_status_t read_state(ald_engine_t *engine, const char *folder, int64_t step,
                               int64_t *optimizer_steps)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *state = NULL;
    char *path = ald_path_join(folder, "state.json");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_json_read(path, &state));
    *optimizer_steps = ald_json_integer(ald_json_get(state, "optimizer_steps"), -1);
    ALD_CHECK(*optimizer_steps >= 0, ALD_STATUS_INPUT, "%s: expected the key optimizer_steps",
              path);
    if (engine->recipe != NULL)
        ALD_TRY(compare_recipe(engine, state, path));
    read_kept(ald_json_get(state, "kept"), engine);
    /* A checkpoint of an older version has none. */
    const int64_t unit =
        ald_json_integer(ald_json_get(state, "gradient_unit"), engine->optimizer.unit);
    ALD_CHECK(unit >= -256 && unit <= 256, ALD_STATUS_INPUT,
              "%s: gradient_unit: expected an exponent from -256 to 256, found %lld", path,
              (long long)unit);
    engine->optimizer.unit = (int)unit;
    if (ald_json_integer(ald_json_get(state, "steps"), -1) == step)
        engine->steps = step;
done:
    ald_json_free(state);
    ald_free(path);
    return status;
}

ald_status_t ald_checkpoint_read(ald_engine_t *engine, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    float *m = NULL, *v = NULL;
    int64_t optimizer_steps = 0;
    char *folder = checkpoint_path(engine, step, "");
    ALD_TRY(moments_alloc(engine, &m));
    v = m == NULL ? NULL : m + engine->params.total;
    if (folder == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    if (status == ALD_STATUS_OK && engine->comm->rank == 0) {
        status = read_state(engine, folder, step, &optimizer_steps);
        if (status == ALD_STATUS_OK)
            status = ald_hf_load(folder, &engine->params, engine->values);
        if (status == ALD_STATUS_OK)
            status = move_moments(engine, folder, m, v, ald_arrays_read);
    }
    ALD_TRY(ald_comm_agree(engine->comm, status));
    MPI_Bcast(&optimizer_steps, 1, MPI_INT64_T, 0, engine->comm->mpi);
    MPI_Bcast(&engine->steps, 1, MPI_INT64_T, 0, engine->comm->mpi);
    MPI_Bcast(engine->kept, ALD_KEPT, MPI_DOUBLE, 0, engine->comm->mpi);
    MPI_Bcast(&engine->optimizer.unit, 1, MPI_INT, 0, engine->comm->mpi);
    ald_comm_broadcast(engine->comm, engine->values, sizeof(float) * (size_t)engine->params.total,
                       0);
    ald_optimizer_scatter(&engine->optimizer, m, v, optimizer_steps);
    engine->step = step;
    ald_log_info("%s: going on from %s", engine->stage, folder);
done:
    ald_free(m);
    ald_free(folder);
    return status;
}
