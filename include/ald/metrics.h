/* Metrics: one line of JSON per step in metrics.jsonl, the same series in metrics.h5. Layer: base
 * for the record, data for the files. */
#ifndef ALD_METRICS_H
#define ALD_METRICS_H

#include <stdint.h>

#include "ald/status.h"

/* Names and values of one step, in order of first use. */
#define ALD_METRICS_MAX 64
typedef struct {
    const char *name[ALD_METRICS_MAX]; /* static strings: "loss", "rewards/chosen" */
    double value[ALD_METRICS_MAX];
    int count;
} ald_metrics_t;

void ald_metrics_clear(ald_metrics_t *metrics);
/* Sets or replaces; more than ALD_METRICS_MAX names is a bug (asserted). */
void ald_metrics_set(ald_metrics_t *metrics, const char *name, double value);
double ald_metrics_get(const ald_metrics_t *metrics, const char *name); /* NaN: not there */

/* The two files in `directory`. Opening keeps the lines of an earlier run whose "step" is at most
 * `last_step` and drops the others (0: start anew). Root only. */
typedef struct ald_metrics_file ald_metrics_file_t;
ald_status_t ald_metrics_open(const char *directory, int64_t last_step, ald_metrics_file_t **out);
/* Appends one line, flushed at once. "step" must be set. */
ald_status_t ald_metrics_append(ald_metrics_file_t *file, const ald_metrics_t *metrics);
/* Writes metrics.h5 anew, atomically: one float64 dataset [steps] per name ("rewards/chosen" in the
 * group "rewards"), NaN where a step lacks it; "step" and "tokens" as int64. */
ald_status_t ald_metrics_flush(ald_metrics_file_t *file);
void ald_metrics_close(ald_metrics_file_t *file); /* takes NULL; doesn't flush */

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
