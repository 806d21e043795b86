/* inspect of metrics: each series with its ends, its range and a drawing.
 * Thousands of steps are thinned out to means, so that a series keeps to one line of the screen. */
#include <math.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/record/metrics_read.h"
#include "cli/inspect_impl.h"

enum { POINTS = 40 }; /* of a drawing: as many as a line has bars */

/* Means of at most POINTS runs of steps, for the drawing. */
static ald_json_t *thin_out(const double *values, int64_t steps)
{
    ald_json_t *array = ald_json_new_array();
    const int64_t points = steps < POINTS ? steps : POINTS;
    for (int64_t p = 0; p < points; ++p) {
        double sum = 0;
        int64_t some = 0;
        for (int64_t i = p * steps / points; i < (p + 1) * steps / points; ++i) {
            some += isfinite(values[i]);
            sum += isfinite(values[i]) ? values[i] : 0;
        }
        ald_json_push(array, ald_json_new_number(some > 0 ? sum / (double)some : NAN));
    }
    return array;
}

static ald_json_t *describe(const ald_metrics_series_t *series, int64_t steps)
{
    ald_json_t *entry = ald_json_new_object();
    double first = NAN, last = NAN, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < steps; ++i) {
        const double value = series->values[i];
        if (!isfinite(value))
            continue;
        first = isfinite(first) ? first : value;
        last = value;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    ald_json_set(entry, "values", thin_out(series->values, steps));
    ald_json_set(entry, "first", ald_json_new_number(first));
    ald_json_set(entry, "last", ald_json_new_number(last));
    ald_json_set(entry, "min", ald_json_new_number(low));
    ald_json_set(entry, "max", ald_json_new_number(high));
    return entry;
}

ald_status_t ald_inspect_metrics(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_metrics_table_t table = {0};
    double last = 0;
    ald_json_t *report = ald_json_new_object();
    *out = NULL;
    ALD_TRY(ald_metrics_read(path, &table));
    for (int64_t i = 0; i < table.count; ++i)
        if (strcmp(table.series[i].name, "step") == 0 && table.steps > 0)
            last = table.series[i].values[table.steps - 1];
    ald_json_set(report, "path", ald_json_new_string(path));
    ald_json_set(report, "kind", ald_json_new_string("metrics"));
    ald_json_set(report, "steps", ald_json_new_integer(table.steps));
    ald_json_set(report, "last_step", ald_json_new_number(last));
    for (int64_t i = 0; i < table.count; ++i)
        if (strcmp(table.series[i].name, "step") != 0)
            ald_json_set(report, table.series[i].name, describe(&table.series[i], table.steps));
    *out = report;
    report = NULL;
done:
    ald_metrics_table_reset(&table);
    ald_json_free(report);
    return status;
}
