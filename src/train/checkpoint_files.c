/* Writes the files of a checkpoint. It has a temporary name until it is whole, so a job that is
 * killed while it writes still has the checkpoint before to go on from. */
#include "train/checkpoint_files_impl.h"

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
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/record/arrays.h"
#include "ald/train/optimizer.h"
#include "train/checkpoint_impl.h"

/* A trainer's folder; freed by ald_free. */
static char *share_path(const ald_engine_t *engine, int rank)
{
    char suffix[32] = ".tmp";
    if (rank > 0)
        snprintf(suffix, sizeof suffix, ".tmp/share-%d", rank);
    return ald_checkpoint_path(engine, engine->step, suffix);
}

ald_status_t ald_saved_prepare(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = share_path(engine, 0);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_remove(path));
    for (int r = 0; r < engine->comm->size; ++r) {
        ald_free(path);
        path = share_path(engine, r);
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(ald_dir_make(path));
    }
done:
    ald_free(path);
    return status;
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

/* --- a trainer's share ------------------------------------------------------------------------ */

/* The file of a trainer's moments: optimizer.h5 where one trainer has all of them. */
static void moments_name(const ald_optimizer_t *o, int rank, char *out, size_t size)
{
    int before = 0, all = 0;
    for (int r = 0; r < o->comm->size; ++r) {
        const bool some = ald_optimizer_share(o->total, o->comm->size, r + 1) >
                          ald_optimizer_share(o->total, o->comm->size, r);
        before += some && r < rank;
        all += some;
    }
    if (all == 1)
        snprintf(out, size, "optimizer.h5");
    else
        snprintf(out, size, "optimizer-%05d-of-%05d.h5", before + 1, all);
}

static ald_status_t write_moments(const ald_saved_t *saved, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_optimizer_t *o = &saved->engine.optimizer;
    const ald_array_t moments[] = {{"m", saved->m, o->count}, {"v", saved->v, o->count}};
    char name[64], *path = NULL;
    if (o->count == 0)
        return status;
    moments_name(o, o->comm->rank, name, sizeof name);
    path = ald_path_join(folder, name);
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(ald_checkpoint_check_moments(o, saved->m, saved->v, path, ALD_STATUS_INTERNAL));
    ALD_TRY(ald_arrays_write(path, moments, 2));
done:
    ald_free(path);
    return status;
}

/* Says that a share is whole, and what is in it. */
static ald_status_t write_files(const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *files = NULL;
    char *path = ald_path_join(folder, "files.json");
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(digest_files(folder, &files));
    ALD_TRY(ald_json_write(files, path));
done:
    ald_json_free(files);
    ald_free(path);
    return status;
}

ald_status_t ald_saved_write(const ald_saved_t *saved)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &saved->engine;
    const int rank = engine->comm->rank;
    char *folder = share_path(engine, rank);
    ALD_CHECK(folder != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(
        ald_hf_save_share(folder, engine->origin, &engine->params, saved->values, &saved->share));
    ALD_TRY(write_moments(saved, folder));
    if (rank > 0)
        ALD_TRY(write_files(folder));
done:
    ald_free(folder);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Writes optimizer.h5 over the trainers' moments, where it isn't one's own. */
static ald_status_t join_moments(const ald_engine_t *engine, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const arrays[] = {"m", "v"};
    const ald_optimizer_t *o = &engine->optimizer;
    const size_t room = sizeof(ald_array_part_t) + 64, size = (size_t)o->comm->size;
    ald_array_part_t *parts = ald_calloc(size, room);
    char(*names)[64] = parts == NULL ? NULL : (char(*)[64])(parts + size), *path = NULL;
    int count = 0;
    ALD_CHECK_MEMORY(parts, size * room);
    for (int r = 0; r < o->comm->size; ++r) {
        const int64_t first = ald_optimizer_share(o->total, o->comm->size, r);
        const int64_t some = ald_optimizer_share(o->total, o->comm->size, r + 1) - first;
        if (some == 0)
            continue;
        moments_name(o, r, names[r], sizeof names[r]);
        parts[count++] = (ald_array_part_t){names[r], some};
    }
    path = ald_path_join(folder, "optimizer.h5");
    ALD_CHECK_MEMORY(path, strlen(folder));
    if (count > 1)
        ALD_TRY(ald_arrays_join(path, arrays, 2, parts, count));
done:
    ald_free(parts);
    ald_free(path);
    return status;
}

/* Waits until a trainer's share is whole. */
static ald_status_t wait_for(const ald_engine_t *engine, const char *files,
                             const atomic_bool *abandoned)
{
    ald_status_t status = ALD_STATUS_OK;
    enum { PAUSE = 10000 };      /* microseconds between two looks */
    const double patience = 2.0; /* seconds that are left to the others once the run has failed */
    double last = ald_time() + engine->config->runtime.deadline;
    bool known = false;
    while (!ald_path_exists(files)) {
        if (!known && atomic_load(abandoned)) {
            known = true;
            last = ald_time() + patience;
        }
        ALD_CHECK(ald_time() < last, ALD_STATUS_INTERNAL,
                  "%s: not there after %g s: its trainer's thread hasn't written it", files,
                  known ? patience : engine->config->runtime.deadline);
        usleep(PAUSE);
    }
done:
    return status;
}

/* Moves the files of a share into the checkpoint's folder, and their digests into `all`. */
static ald_status_t take_files(const ald_json_t *files, const char *from, const char *folder,
                               ald_json_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    char *old = NULL, *new = NULL;
    void *at = NULL;
    const char *name;
    const ald_json_t *digest;
    while (ald_json_next(files, &at, &name, &digest)) {
        ald_free(old);
        ald_free(new);
        old = ald_path_join(from, name);
        new = ald_path_join(folder, name);
        ALD_CHECK(old != NULL && new != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(ald_path_rename(old, new));
        ald_json_set(all, name, ald_json_copy(digest));
    }
done:
    ald_free(old);
    ald_free(new);
    return status;
}

static ald_status_t take_share(const ald_engine_t *engine, int rank, const char *folder,
                               const atomic_bool *abandoned, ald_json_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    char *from = share_path(engine, rank), *path = NULL;
    ald_json_t *files = NULL;
    ALD_CHECK(from != NULL, ALD_STATUS_RESOURCE, "out of memory");
    path = ald_path_join(from, "files.json");
    ALD_CHECK_MEMORY(path, strlen(from));
    ALD_TRY(wait_for(engine, path, abandoned));
    ALD_TRY(ald_json_read(path, &files));
    ALD_TRY(take_files(files, from, folder, all));
    ALD_TRY(ald_dir_remove(from));
done:
    ald_json_free(files);
    ald_free(path);
    ald_free(from);
    return status;
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

/* Writes state.json, the last file: the steps, what a resumed run must have as well, and the
 * digests of the others. */
static ald_status_t write_state(const ald_engine_t *engine, const char *folder,
                                const ald_json_t *files)
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
    ald_json_set(state, "gradient_unit", ald_json_new_integer(engine->optimizer.unit));
    ald_json_set(state, "seed", ald_json_new_integer(engine->config->seed));
    ald_json_set(state, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(state, "config", ald_json_new_string(text));
    ald_json_set(state, "kept", json_of_kept(engine));
    if (engine->recipe != NULL)
        ald_json_set(state, "recipe", ald_json_copy(engine->recipe));
    ald_json_set(state, "files", ald_json_copy(files));
    ALD_TRY(ald_json_write(state, path));
done:
    ald_json_free(state);
    ald_free(text);
    ald_free(path);
    return status;
}

/* Removes all checkpoints but the newest keep_last. */
static ald_status_t remove_old(const ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t keep = engine->config->checkpoint.keep_last;
    size_t count;
    int64_t *steps = ald_checkpoint_steps(engine, &count);
    for (size_t i = 0; keep > 0 && i < count; ++i) {
        int64_t newer = 0;
        for (size_t j = 0; j < count; ++j)
            newer += steps[j] > steps[i];
        if (newer < keep)
            continue;
        char *path = ald_checkpoint_path(engine, steps[i], "");
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        status = ald_dir_remove(path);
        ald_free(path);
        ALD_TRY(status);
    }
done:
    ald_free(steps);
    return status;
}

/* Makes one folder of all shares. */
static ald_status_t join_shares(const ald_engine_t *engine, const char *folder,
                                const atomic_bool *abandoned)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *files = NULL;
    ALD_TRY(join_moments(engine, folder));
    ALD_TRY(digest_files(folder, &files));
    for (int r = 1; r < engine->comm->size; ++r)
        ALD_TRY(take_share(engine, r, folder, abandoned, files));
    ALD_TRY(write_state(engine, folder, files));
done:
    ald_json_free(files);
    return status;
}

ald_status_t ald_saved_publish(const ald_saved_t *saved, const atomic_bool *abandoned)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &saved->engine;
    char *temporary = share_path(engine, 0);
    char *path = ald_checkpoint_path(engine, engine->step, "");
    ALD_CHECK(temporary != NULL && path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(join_shares(engine, temporary, abandoned));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_dir_publish(temporary, path));
    ALD_TRY(remove_old(engine));
done:
    ald_free(temporary);
    ald_free(path);
    return status;
}

void ald_saved_discard(const ald_engine_t *engine)
{
    char *temporary = share_path(engine, 0);
    if (temporary != NULL)
        ald_dir_discard(temporary);
    ald_free(temporary);
}
