/* The folder of an on-policy run's shards. Which shards are of which step shows in their numbers,
 * so a run that goes on finds the batches that were made and not yet trained on. */
#include "ald/role/folder.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/shard/format.h"
#include "ald/shard/open.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/train/finished.h"

/* Removes a shard of an earlier run that is numbered `first` or above. USAGE for a shard of a data
 * file, INPUT for another program's. */
static ald_status_t clear_shard(const ald_config_t *config, const char *name, int64_t first)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    char *path = ald_path_join(config->shards.directory, name);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    bool foreign = ald_shard_is_foreign(path);
    status = ald_shard_open(path, &shard);
    if (status == ALD_STATUS_INPUT && !foreign)
        status = ALD_STATUS_OK; /* damaged: nobody can use it */
    ALD_TRY(status);
    ALD_CHECK(shard == NULL || ald_shard_header(shard)->policy_step >= 0, ALD_STATUS_USAGE,
              "%s: this folder holds shards of a data file; distill.mode = \"%s\" writes new "
              "ones: set another shards.directory",
              path, ald_choice_name(ALD_CHOICES_MODES, config->distill.mode));
    if (ald_shard_number(name) >= first)
        ALD_TRY(ald_dir_remove(path));
done:
    ald_shard_close(shard);
    ald_free(path);
    return status;
}

ald_status_t ald_folder_clear(const ald_config_t *config, int64_t first)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ALD_TRY(ald_dir_make(config->shards.directory));
    ALD_TRY(ald_dir_sweep(config->shards.directory));
    ALD_TRY(ald_dir_list(config->shards.directory, &names, &count));
    for (size_t i = 0; i < count; ++i)
        if (ald_shard_number(names[i]) >= 0)
            ALD_TRY(clear_shard(config, names[i], first));
done:
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_folder_forget(const ald_config_t *config, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ALD_TRY(ald_dir_list(config->shards.directory, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        const int64_t number = ald_shard_number(names[i]);
        if (number >= 0 && number < step * config->optimizer.batch_size)
            ALD_TRY(ald_dir_remove_in(config->shards.directory, names[i]));
    }
done:
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_folder_claim(const ald_config_t *config, const ald_json_t *recipe)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(config->shards.directory, "run.recipe.json");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    status = ald_json_write(recipe, path);
done:
    ald_free(path);
    return status;
}

bool ald_folder_is_of(const ald_config_t *config, const ald_json_t *recipe, bool unknown)
{
    ald_json_t *there = NULL;
    ald_vec_t differences;
    char *path = ald_path_join(config->shards.directory, "run.recipe.json");
    bool same = false;
    ald_vec_init(&differences, 1);
    if (path == NULL || ald_file_size(path) < 0)
        same = path != NULL && unknown;
    else if (ald_json_read(path, &there) == ALD_STATUS_OK && ald_json_is_object(there))
        same = ald_recipe_differences(there, recipe, &differences) == ALD_STATUS_OK &&
               differences.count == 0;
    ald_vec_reset(&differences);
    ald_json_free(there);
    ald_free(path);
    return same;
}

ald_status_t ald_folder_find(const ald_config_t *config, int64_t step, char **paths, int64_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t entries = 0;
    const int64_t batch = config->optimizer.batch_size;
    *count = 0;
    ALD_TRY(ald_dir_list(config->shards.directory, &names, &entries));
    for (size_t i = 0; i < entries; ++i) {
        int64_t number = ald_shard_number(names[i]);
        if (number < step * batch || number >= (step + 1) * batch)
            continue;
        ALD_CHECK(*count < batch, ALD_STATUS_INPUT,
                  "%s: two shards of one number, of which one is %s", config->shards.directory,
                  names[i]);
        paths[*count] = ald_path_join(config->shards.directory, names[i]);
        ALD_CHECK(paths[*count] != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ++*count;
    }
done:
    ald_names_free(names, entries);
    return status;
}

ald_status_t ald_folder_has(const ald_config_t *config, int64_t step, int64_t count,
                            const ald_shard_header_t *expected, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shardset_t set = {0};
    int64_t found = 0;
    char **paths = ald_calloc((size_t)config->optimizer.batch_size, sizeof *paths);
    *out = false;
    ALD_CHECK(paths != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_folder_find(config, step, paths, &found));
    status = ald_shardset_open((const char *const *)paths, found, expected, &set);
    *out = status == ALD_STATUS_OK && set.count == count;
    for (int64_t i = 0; *out && i < set.shard_count; ++i)
        *out = ald_shard_header(set.shards[i])->policy_step == expected->policy_step;
    status = status == ALD_STATUS_INPUT ? ALD_STATUS_OK : status;
done:
    ald_shardset_reset(&set);
    ald_names_free(paths, (size_t)found);
    return status;
}
