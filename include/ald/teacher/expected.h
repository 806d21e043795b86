/* What shards must have for a configuration. Layer: teacher. */
#ifndef ALD_TEACHER_EXPECTED_H
#define ALD_TEACHER_EXPECTED_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/shard/format.h"

/* Fills the header that ald_shard_fits compares with, as far as the configuration tells: a model
 * that isn't set may be any, and so may the encoding. Local. */
ald_status_t ald_teacher_expected(const ald_config_t *config, ald_shard_header_t *out);

#endif
