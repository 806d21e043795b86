/* Metrics read back from metrics.jsonl or metrics.h5. Layer: record. */
#ifndef ALD_RECORD_METRICS_READ_H
#define ALD_RECORD_METRICS_READ_H

#include <stdint.h>

#include "ald/base/status.h"

/* The series of a metrics.jsonl or metrics.h5, whatever wrote it, in the order of the file. */
typedef struct {
    char *name;     /* owned */
    double *values; /* [steps], owned; NaN where a step lacks it */
} ald_metrics_series_t;
typedef struct {
    ald_metrics_series_t *series; /* [count], owned */
    int64_t count, steps;
} ald_metrics_table_t;
/* INPUT naming file and place for damage; a last line without its newline is left out. Local. */
ald_status_t ald_metrics_read(const char *path, ald_metrics_table_t *out);
void ald_metrics_table_reset(ald_metrics_table_t *table); /* takes a zeroed one */

#endif
