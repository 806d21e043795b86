/* Checkpoints. One is written under a temporary name and renamed when it is whole, so a job that is
 * killed while it writes still has the checkpoint before to go on from. */
#include "ald/train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/hf.h"
#include "ald/model/hf_save.h"
#include "ald/num/dtype.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/record/arrays.h"
#include "ald/record/metrics_file.h"
#include "ald/train/engine.h"
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

/* Writes state.json: the steps, and the configuration that a resumed run must have as well. */
static ald_status_t write_state(const ald_engine_t *engine, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL, *path = ald_path_join(folder, "state.json");
    ald_json_t *state = ald_json_new_object();
    ALD_CHECK(path != NULL && state != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_config_print(engine->config, &text));
    ald_json_set(state, "stage", ald_json_new_string(engine->stage));
    ald_json_set(state, "step", ald_json_new_integer(engine->step));
    ald_json_set(state, "steps", ald_json_new_integer(engine->steps));
    ald_json_set(state, "optimizer_steps", ald_json_new_integer(engine->optimizer.steps));
    ald_json_set(state, "seed", ald_json_new_integer(engine->config->seed));
    ald_json_set(state, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(state, "config", ald_json_new_string(text));
    ald_json_set(state, "kept", json_of_kept(engine));
    ALD_TRY(ald_json_write(state, path));
done:
    ald_json_free(state);
    ald_free(text);
    ald_free(path);
    return status;
}

/* Writes the moments, or reads them, as `transfer` does. */
static ald_status_t move_moments(const ald_engine_t *engine, const char *folder, float *m, float *v,
                                 ald_status_t (*transfer)(const char *, const ald_array_t *, int))
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = engine->params.total;
    const ald_array_t moments[] = {{"m", m, count}, {"v", v, count}};
    char *path = ald_path_join(folder, "optimizer.h5");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(transfer(path, moments, 2));
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

static ald_status_t write_folder(ald_engine_t *engine, float *m, float *v)
{
    ald_status_t status = ALD_STATUS_OK;
    char *temporary = checkpoint_path(engine, engine->step, ".tmp");
    char *path = checkpoint_path(engine, engine->step, "");
    ALD_CHECK(temporary != NULL && path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_remove(temporary));
    ALD_TRY(ald_dir_make(temporary));
    ALD_TRY(ald_fail_point("checkpoint_write"));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_hf_save(temporary, engine->origin, &engine->params, engine->values, ALD_DTYPE_F32,
                        ald_config_bytes(engine->config->runtime.max_shard_size)));
    ALD_TRY(move_moments(engine, temporary, m, v, ald_arrays_write));
    ALD_TRY(write_state(engine, temporary));
    ALD_TRY(ald_dir_publish(temporary, path));
    ALD_TRY(ald_metrics_flush(engine->metrics));
    ALD_TRY(remove_old(engine));
done:
    if (status != ALD_STATUS_OK && temporary != NULL)
        ald_dir_discard(temporary);
    ald_free(temporary);
    ald_free(path);
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

ald_status_t ald_checkpoint_write(ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    float *m = NULL, *v = NULL;
    ALD_TRY(moments_alloc(engine, &m));
    v = m == NULL ? NULL : m + engine->params.total;
    ald_optimizer_gather(&engine->optimizer, m, v);
    if (engine->comm->rank == 0)
        status = write_folder(engine, m, v);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    ald_log_verbose("%s: checkpoint of step %lld", engine->stage, (long long)engine->step);
done:
    ald_free(m);
    return status;
}

/* Reads the number of updates, and lowers that of steps to `step` where the run had ended there.
 * USAGE unless the configuration is the one that the checkpoint was made with. */
static ald_status_t read_state(ald_engine_t *engine, const char *folder, int64_t step,
                               int64_t *optimizer_steps)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *state = NULL;
    char *text = NULL, *path = ald_path_join(folder, "state.json");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_json_read(path, &state));
    ALD_TRY(ald_config_print(engine->config, &text));
    const char *saved = ald_json_text(ald_json_get(state, "config"), NULL);
    *optimizer_steps = ald_json_integer(ald_json_get(state, "optimizer_steps"), -1);
    ALD_CHECK(saved != NULL && *optimizer_steps >= 0, ALD_STATUS_INPUT,
              "%s: expected the keys config and optimizer_steps", path);
    ALD_CHECK(strcmp(saved, text) == 0, ALD_STATUS_USAGE,
              "%s: this checkpoint was made with another configuration; remove %s/checkpoints or "
              "set checkpoint.resume = false to start anew",
              path, engine->output);
    read_kept(ald_json_get(state, "kept"), engine);
    if (ald_json_integer(ald_json_get(state, "steps"), -1) == step)
        engine->steps = step;
done:
    ald_json_free(state);
    ald_free(text);
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
