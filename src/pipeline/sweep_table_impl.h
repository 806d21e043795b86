/* Private to pipeline: the table of a sweep, from its runs' metrics. Root only. */
#ifndef ALD_PIPELINE_SWEEP_TABLE_IMPL_H
#define ALD_PIPELINE_SWEEP_TABLE_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/sweep.h"

/* Sums over the ranks of this call: sequences read from shards, and used by runs. */
typedef struct {
    int64_t sequences_read, sequences_used;
} ald_sweep_counts_t;

/* Writes FOLDER/sweep.json and FOLDER/sweep.md, which is also printed, of runs that are finished;
 * files that say so already stay as they are. */
ald_status_t ald_sweep_table(const char *folder, const ald_sweep_t *sweep,
                             const ald_sweep_counts_t *counts);
/* Removes both. */
ald_status_t ald_sweep_table_remove(const char *folder);

#endif
