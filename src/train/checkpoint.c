/* Checkpoints that are there: found, held to their digests, read by any number of trainers. A
 * damaged one is set aside, and the one before it is gone on from. */
#include "ald/train/checkpoint.h"

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

char *ald_checkpoint_path(const ald_engine_t *engine, int64_t step, const char *suffix)
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

int64_t *ald_checkpoint_steps(const ald_engine_t *engine, size_t *count)
{
    char *folder = ald_checkpoint_path(engine, 0, ""), **names = NULL;
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
    int64_t *steps = ald_checkpoint_steps(engine, &count), newest = 0;
    for (size_t i = 0; i < count; ++i)
        newest = steps[i] > newest ? steps[i] : newest;
    ald_free(steps);
    return newest;
}

/* 0 where the checkpoint of an older version has none. */
static void read_kept(const ald_json_t *list, ald_engine_t *engine)
{
    for (size_t i = 0; i < ALD_KEPT; ++i) {
        const char *text = ald_json_text(ald_json_at(list, i), NULL);
        engine->kept[i] = text == NULL ? 0.0 : strtod(text, NULL);
    }
}

ald_status_t ald_checkpoint_check_moments(const ald_optimizer_t *optimizer, const float *m,
                                          const float *v, const char *path, ald_status_t code)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t first = optimizer->first, count = optimizer->count;
    const float *const moments[] = {m, v};
    for (int i = 0; i < 2; ++i) {
        const int64_t bad = ald_dtype_find_nonfinite(ALD_DTYPE_F32, moments[i], count);
        ALD_CHECK(bad < 0, code, "%s: %s: element %lld: expected a finite number, found %g", path,
                  i == 0 ? "m" : "v", (long long)(first + bad), (double)moments[i][bad]);
    }
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(v[i] >= 0.0f, code, "%s: v: element %lld: expected 0 or more, found %g", path,
                  (long long)(first + i), (double)v[i]);
done:
    return status;
}

/* Reads this trainer's moments. */
static ald_status_t read_moments(ald_engine_t *engine, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_optimizer_t *o = &engine->optimizer;
    const ald_array_t moments[] = {{"m", o->m, o->count}, {"v", o->v, o->count}};
    char *path = ald_path_join(folder, "optimizer.h5");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_arrays_read(path, moments, 2, o->first, o->total));
    ALD_TRY(ald_checkpoint_check_moments(o, o->m, o->v, path, ALD_STATUS_INPUT));
done:
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
    char *from = ald_checkpoint_path(engine, step, ""),
         *to = ald_checkpoint_path(engine, step, ".damaged");
    ALD_CHECK(from != NULL && to != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_remove(to));
    ALD_TRY(ald_path_rename(from, to));
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
    int64_t *steps = ald_checkpoint_steps(engine, &count);
    *step = step_below(steps, count, INT64_MAX);
    while (*step > 0) {
        ald_free(path);
        path = ald_checkpoint_path(engine, *step, "");
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
    int64_t optimizer_steps = 0;
    char *folder = ald_checkpoint_path(engine, step, "");
    if (folder == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    if (status == ALD_STATUS_OK && engine->comm->rank == 0) {
        status = read_state(engine, folder, step, &optimizer_steps);
        if (status == ALD_STATUS_OK)
            status = ald_hf_load(folder, &engine->params, engine->values);
    }
    ALD_TRY(ald_comm_agree(engine->comm, status));
    ALD_TRY(ald_comm_agree(engine->comm, read_moments(engine, folder)));
    MPI_Bcast(&optimizer_steps, 1, MPI_INT64_T, 0, engine->comm->mpi);
    MPI_Bcast(&engine->steps, 1, MPI_INT64_T, 0, engine->comm->mpi);
    MPI_Bcast(engine->kept, ALD_KEPT, MPI_DOUBLE, 0, engine->comm->mpi);
    MPI_Bcast(&engine->optimizer.unit, 1, MPI_INT, 0, engine->comm->mpi);
    ald_comm_broadcast(engine->comm, engine->values, sizeof(float) * (size_t)engine->params.total,
                       0);
    engine->optimizer.steps = optimizer_steps;
    engine->step = step;
    ald_log_info("%s: going on from %s", engine->stage, folder);
done:
    ald_free(folder);
    return status;
}
