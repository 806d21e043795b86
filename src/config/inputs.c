/* What a configuration has read, by the table of keys: a file that is written beside the stage's
 * own output must be none of it, whichever stage reads it. */
#include "ald/config/inputs.h"

#include "ald/base/folder.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "config/keys_impl.h"

ald_status_t ald_config_apart(const ald_config_t *config, const char *key, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const ald_config_key_t *row = &ald_config_keys[i];
        if (row->kind == ALD_KIND_INPUT)
            ALD_TRY(ald_path_apart(key, path, row->path,
                                   *(char *const *)((const char *)config + row->offset)));
    }
    ALD_TRY(ald_path_apart(key, path, "shards.directory", config->shards.directory));
    for (int64_t i = 0; i < config->shards.sources.count; ++i)
        ALD_TRY(ald_path_apart(key, path, "shards.sources", config->shards.sources.directory[i]));
done:
    return status;
}
