/* The folder of an on-policy run's shards. The shards of step j are those with numbers from j
 * batch_size to (j + 1) batch_size. All functions are local. Layer: role. */
#ifndef ALD_ROLE_FOLDER_H
#define ALD_ROLE_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/shard/format.h"

/* Makes shards.directory and removes an earlier run's shards numbered `first` or above, which must
 * not be beside this run's. USAGE when it holds a data file's shards, which must not be
 * overwritten, INPUT for another program's. */
ald_status_t ald_folder_clear(const ald_config_t *config, int64_t first);
/* Removes the shards of the steps before this one. */
ald_status_t ald_folder_forget(const ald_config_t *config, int64_t step);
/* Notes, in run.recipe.json, of which run the shards are: its recipe. */
ald_status_t ald_folder_claim(const ald_config_t *config, const ald_json_t *recipe);
/* Whether the shards there are of the run with this recipe, or, where `unknown` says so, of one
 * that isn't known. */
bool ald_folder_is_of(const ald_config_t *config, const ald_json_t *recipe, bool unknown);
/* The shards of a step: at most batch_size paths, each freed by ald_free. */
ald_status_t ald_folder_find(const ald_config_t *config, int64_t step, char **paths,
                             int64_t *count);
/* Whether the shards of a step are whole, fit, are of the policy's version that `expected` names,
 * and hold `count` sequences together. */
ald_status_t ald_folder_has(const ald_config_t *config, int64_t step, int64_t count,
                            const ald_shard_header_t *expected, bool *out);

#endif
