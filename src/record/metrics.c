/* The names and values of one step. A step has some dozens, so that looking a name up is a walk,
 * and a program that sets too many has a bug. */
#include "ald/record/metrics.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void ald_metrics_clear(ald_metrics_t *metrics)
{
    metrics->count = metrics->histograms = 0;
}

static int find(const ald_metrics_t *metrics, const char *name)
{
    for (int i = 0; i < metrics->count; ++i)
        if (strcmp(metrics->name[i], name) == 0)
            return i;
    return -1;
}

void ald_metrics_set(ald_metrics_t *metrics, const char *name, double value)
{
    int i = find(metrics, name);
    if (i < 0) {
        assert(metrics->count < ALD_METRICS_MAX);
        i = metrics->count++;
        metrics->name[i] = name;
    }
    metrics->value[i] = value;
}

void ald_metrics_histogram(ald_metrics_t *metrics, const char *name, const float *values,
                           int64_t count)
{
    assert(metrics->histograms < ALD_HISTOGRAMS_MAX && count > 0);
    ald_histogram_t *h = &metrics->histogram[metrics->histograms++];
    *h =
        (ald_histogram_t){.name = name, .min = values[0], .max = values[0], .count = (double)count};
    for (int64_t i = 0; i < count; ++i) {
        h->min = fmin(h->min, values[i]);
        h->max = fmax(h->max, values[i]);
        h->sum += values[i];
        h->squares += (double)values[i] * values[i];
    }
    /* Where all are the same, any width that shows will do. */
    const double range = h->max - h->min, least = fmax(1e-6, 1e-6 * fabs(h->max));
    const double width = fmax(range, least) / ALD_HISTOGRAM_BINS;
    for (int b = 0; b < ALD_HISTOGRAM_BINS; ++b)
        h->limit[b] = h->min + width * (b + 1);
    for (int64_t i = 0; i < count; ++i) {
        const int b = (int)((values[i] - h->min) / width);
        h->bin[b < ALD_HISTOGRAM_BINS ? b : ALD_HISTOGRAM_BINS - 1] += 1.0;
    }
}

double ald_metrics_get(const ald_metrics_t *metrics, const char *name)
{
    int i = find(metrics, name);
    return i < 0 ? NAN : metrics->value[i];
}
