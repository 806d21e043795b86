/* Metrics of a step in memory. Layer: record. */
#ifndef ALD_RECORD_METRICS_H
#define ALD_RECORD_METRICS_H

#include <stdint.h>

/* Names and values of one step, in order of first use. */
#define ALD_METRICS_MAX 64 /* of a step: stages set some dozens */
typedef struct {
    const char *name[ALD_METRICS_MAX]; /* static strings: "loss", "rewards/chosen" */
    double value[ALD_METRICS_MAX];
    int count;
} ald_metrics_t;

void ald_metrics_clear(ald_metrics_t *metrics);
/* Sets or replaces; more than ALD_METRICS_MAX names is a bug (asserted). */
void ald_metrics_set(ald_metrics_t *metrics, const char *name, double value);
double ald_metrics_get(const ald_metrics_t *metrics, const char *name); /* NaN: not there */

#endif
