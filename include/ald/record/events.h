/* Metrics as TensorBoard reads them: DIRECTORY/events.out.tfevents.aligndistil, an event a step
 * with a scalar per number and a histogram per distribution. Format: TFRecord (length, masked
 * CRC-32C of the length, data, masked CRC-32C of the data; tensorflow/core/lib/io/record_writer.h)
 * of messages Event (tensorflow/core/util/event.proto, framework/summary.proto). All local. Layer:
 * record. */
#ifndef ALD_RECORD_EVENTS_H
#define ALD_RECORD_EVENTS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/record/metrics.h"

typedef struct ald_events ald_events_t;
/* Keeps the events of an earlier run whose step is at most `last_step` and drops the others (0:
 * starts anew); those behind the first damaged record are dropped, too. */
ald_status_t ald_events_open(const char *directory, int64_t last_step, ald_events_t **out);
/* Appends the event of metrics' "step", at once, with the time that it is now. Numbers that aren't
 * finite are left out. */
ald_status_t ald_events_append(ald_events_t *events, const ald_metrics_t *metrics);
void ald_events_close(ald_events_t *events); /* takes NULL */

#endif
