/* The names and values of one step. A step has some dozens, so that looking a name up is a walk,
 * and a program that sets too many has a bug. */
#include "ald/record/metrics.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void ald_metrics_clear(ald_metrics_t *metrics)
{
    metrics->count = 0;
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

double ald_metrics_get(const ald_metrics_t *metrics, const char *name)
{
    int i = find(metrics, name);
    return i < 0 ? NAN : metrics->value[i];
}
