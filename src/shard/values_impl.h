/* Whether the numbers of a shard are such as a trainer can bear. Private to src/shard. */
#ifndef ALD_SHARD_VALUES_IMPL_H
#define ALD_SHARD_VALUES_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "shard/format_impl.h"

/* Floats (halves already widened) or bfloat16 bits of a dataset, of which element `first` is the
 * first here; other types pass. INPUT naming file, dataset and element. */
ald_status_t ald_values_check(const char *file, ald_shard_dataset_t dataset, int64_t first,
                              const void *data, int64_t count);
/* Ids from 0 to V - 1. */
ald_status_t ald_values_check_ids(const char *file, ald_shard_dataset_t dataset, int64_t first,
                                  const int32_t *ids, int64_t count, int64_t V);

#endif
