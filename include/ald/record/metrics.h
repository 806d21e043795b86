/* Metrics of a step in memory. Layer: record. */
#ifndef ALD_RECORD_METRICS_H
#define ALD_RECORD_METRICS_H

#include <stdint.h>

/* Names and values of one step, in order of first use. */
#define ALD_METRICS_MAX 64 /* of a step: stages set some dozens */
enum { ALD_HISTOGRAM_BINS = 30, ALD_HISTOGRAMS_MAX = 2 };
/* How numbers are distributed; bin i has those from limit[i - 1] (min) to limit[i]. */
typedef struct {
    const char *name; /* static string */
    double min, max, sum, squares, count;
    double limit[ALD_HISTOGRAM_BINS], bin[ALD_HISTOGRAM_BINS];
} ald_histogram_t;
typedef struct {
    const char *name[ALD_METRICS_MAX]; /* static strings: "loss", "rewards/chosen" */
    double value[ALD_METRICS_MAX];
    int count;
    ald_histogram_t histogram[ALD_HISTOGRAMS_MAX];
    int histograms;
} ald_metrics_t;

void ald_metrics_clear(ald_metrics_t *metrics);
/* Sets or replaces; more than ALD_METRICS_MAX names is a bug (asserted). */
void ald_metrics_set(ald_metrics_t *metrics, const char *name, double value);
/* Adds the histogram of `count` finite numbers, at least one; a third name is a bug (asserted). */
void ald_metrics_histogram(ald_metrics_t *metrics, const char *name, const float *values,
                           int64_t count);
double ald_metrics_get(const ald_metrics_t *metrics, const char *name); /* NaN: not there */

#endif
