/* Private to pipeline: a data file read by all ranks together. */
#ifndef ALD_PIPELINE_DATA_IMPL_H
#define ALD_PIPELINE_DATA_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"

/* ald_dataset_open, of which each rank tokenises its part of the rows; every rank has all of them
 * afterwards, the same on any number of ranks. Logs what was read. The error is that of the
 * smallest row, on all ranks. Collective. */
ald_status_t ald_data_open(const ald_comm_t *comm, const ald_config_t *config, const char *model,
                           int64_t vocab_size, const char *path, const char *key,
                           ald_pairs_need_t need, ald_dataset_t *out);

#endif
