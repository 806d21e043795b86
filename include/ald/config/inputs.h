/* What a configuration has read. Layer: config. */
#ifndef ALD_CONFIG_INPUTS_H
#define ALD_CONFIG_INPUTS_H

#include "ald/base/status.h"
#include "ald/config/config.h"

/* USAGE, naming both, where a file that is written, and that `key` names, is an input of the
 * configuration, whichever stage reads it, or a shard of its folders. Local. */
ald_status_t ald_config_apart(const ald_config_t *config, const char *key, const char *path);

#endif
