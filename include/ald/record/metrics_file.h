/* Metrics on disk: one line of JSON per step in metrics.jsonl, the same values as series in
 * metrics.h5, and as TensorBoard's events (ald/record/events.h). Layer: record. */
#ifndef ALD_RECORD_METRICS_FILE_H
#define ALD_RECORD_METRICS_FILE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/record/metrics.h"

/* The files in `directory`. Opening keeps the lines of an earlier run whose "step" is at most
 * `last_step` and drops the others (0: start anew). Root only. */
typedef struct ald_metrics_file ald_metrics_file_t;
ald_status_t ald_metrics_open(const char *directory, int64_t last_step, ald_metrics_file_t **out);
/* Appends one line, flushed at once. "step" must be set. */
ald_status_t ald_metrics_append(ald_metrics_file_t *file, const ald_metrics_t *metrics);
/* Writes metrics.h5 anew, atomically: one float64 dataset [steps] per name ("rewards/chosen" in the
 * group "rewards"), NaN where a step lacks it; "step" and "tokens" as int64. */
ald_status_t ald_metrics_flush(ald_metrics_file_t *file);
void ald_metrics_close(ald_metrics_file_t *file); /* takes NULL; doesn't flush */

#endif
