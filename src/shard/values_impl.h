/* Whether a trainer can bear the numbers of a shard. Private to src/shard. */
#ifndef ALD_SHARD_VALUES_IMPL_H
#define ALD_SHARD_VALUES_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "shard/format_impl.h"

/* Checks floats (halves already widened) or bfloat16 bits of a dataset, from its element `first`
 * on; other types pass. INPUT naming file, dataset and element. */
ald_status_t ald_values_check(const char *file, ald_shard_dataset_t dataset, int64_t first,
                              const void *data, int64_t count);
/* Checks ids, which must be from 0 to V - 1. */
ald_status_t ald_values_check_ids(const char *file, ald_shard_dataset_t dataset, int64_t first,
                                  const int32_t *ids, int64_t count, int64_t V);

#endif
