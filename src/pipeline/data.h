/* Private to pipeline: a data file read by all ranks together. */
#ifndef ALD_PIPELINE_DATA_H
#define ALD_PIPELINE_DATA_H

#include "ald/comm.h"
#include "ald/dataset.h"

/* ald_dataset_open, of which each rank tokenises its part of the rows; every rank has all of them
 * afterwards, the same on any number of ranks. Logs what was read. The error is that of the
 * smallest row, on all ranks. Collective. */
ald_status_t ald_data_open(const ald_comm_t *comm, const ald_config_t *config, const char *model,
                           int64_t vocab_size, const char *path, const char *key,
                           ald_pairs_need_t need, ald_dataset_t *out);

#endif
