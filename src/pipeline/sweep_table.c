/* The table of a sweep. It is made from the metrics that the runs have written, so that runs which
 * an earlier call finished are in it like those of this call. */
#include "pipeline/sweep_table_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/sweep.h"
#include "ald/record/metrics_read.h"

/* The columns: metrics, and their titles in the table. */
static const struct {
    const char *metric, *title;
} columns[] = {{"loss", "loss"},
               {"kl/teacher", "KL to teacher"},
               {"kl/dpo", "KL to DPO"},
               {"reward/token", "reward"},
               {"response_length", "length"}};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* The numbers of a run: those of its last step, and means of the last tenth of its steps, over
 * which the noise of single batches is small. */
typedef struct {
    int64_t steps;
    double last[COLUMNS], mean[COLUMNS];
} row_t;

static void take_series(const ald_metrics_series_t *series, int64_t steps, double *last,
                        double *mean)
{
    const int64_t tenth = (steps + 9) / 10;
    double sum = 0.0;
    for (int64_t i = steps - tenth; i < steps; ++i)
        sum += series->values[i];
    *last = series->values[steps - 1];
    *mean = sum / (double)tenth;
}

static ald_status_t read_row(const ald_sweep_run_t *run, row_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_metrics_table_t table = {0};
    char *path = ald_path_join(run->config.distill.output, "metrics.jsonl");
    ALD_CHECK_MEMORY(path, strlen(run->config.distill.output));
    for (int c = 0; c < COLUMNS; ++c)
        out->last[c] = out->mean[c] = NAN;
    ALD_TRY(ald_metrics_read(path, &table));
    out->steps = table.steps;
    for (int64_t i = 0; i < table.count && table.steps > 0; ++i)
        for (int c = 0; c < COLUMNS; ++c)
            if (strcmp(table.series[i].name, columns[c].metric) == 0)
                take_series(&table.series[i], table.steps, &out->last[c], &out->mean[c]);
done:
    ald_metrics_table_reset(&table);
    ald_free(path);
    return status;
}

static ald_json_t *numbers_of(const double *values)
{
    ald_json_t *object = ald_json_new_object();
    for (int c = 0; c < COLUMNS; ++c)
        ald_json_set(object, columns[c].metric, ald_json_new_number(values[c]));
    return object;
}

static ald_status_t write_json(const char *path, const ald_sweep_t *sweep, const row_t *rows,
                               const ald_sweep_counts_t *counts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *report = ald_json_new_object(), *runs = ald_json_new_array();
    ald_json_set(report, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(report, "sequences_read", ald_json_new_integer(counts->sequences_read));
    ald_json_set(report, "sequences_used", ald_json_new_integer(counts->sequences_used));
    for (int64_t i = 0; i < sweep->count; ++i) {
        ald_json_t *run = ald_json_new_object();
        ald_json_set(run, "name", ald_json_new_string(sweep->runs[i].name));
        ald_json_set(run, "settings", ald_json_new_string(sweep->runs[i].label));
        ald_json_set(run, "output", ald_json_new_string(sweep->runs[i].config.distill.output));
        ald_json_set(run, "steps", ald_json_new_integer(rows[i].steps));
        ald_json_set(run, "last", numbers_of(rows[i].last));
        ald_json_set(run, "mean_of_last_tenth", numbers_of(rows[i].mean));
        ald_json_push(runs, run);
    }
    ald_json_set(report, "runs", runs);
    ALD_TRY(ald_json_write(report, path));
done:
    ald_json_free(report);
    return status;
}

/* Prints a table in Markdown: of each metric the last step and, in brackets, the mean. */
static ald_status_t print_table(const ald_sweep_t *sweep, const row_t *rows, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(text, "| run | settings | steps |"));
    for (int c = 0; c < COLUMNS; ++c)
        ALD_TRY(ald_vec_printf(text, " %s |", columns[c].title));
    ALD_TRY(ald_vec_printf(text, "\n|---|---|--:|"));
    for (int c = 0; c < COLUMNS; ++c)
        ALD_TRY(ald_vec_printf(text, "--:|"));
    for (int64_t i = 0; i < sweep->count; ++i) {
        ALD_TRY(ald_vec_printf(text, "\n| %s | %s | %lld |", sweep->runs[i].name,
                               sweep->runs[i].label, (long long)rows[i].steps));
        for (int c = 0; c < COLUMNS; ++c)
            ALD_TRY(ald_vec_printf(text, " %.5g (%.5g) |", rows[i].last[c], rows[i].mean[c]));
    }
    ALD_TRY(ald_vec_printf(text, "\n\nThe last step; in brackets the mean of the last tenth of the "
                                 "steps.\n"));
done:
    return status;
}

/* The paths of FOLDER/sweep.json and FOLDER/sweep.md, freed by ald_free. */
static ald_status_t paths_of(const char *folder, char **json, char **markdown)
{
    ald_status_t status = ALD_STATUS_OK;
    *json = ald_path_join(folder, "sweep.json");
    *markdown = ald_path_join(folder, "sweep.md");
    ALD_CHECK(*json != NULL && *markdown != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    return status;
}

/* Whether the file has this text. */
static bool has_text(const char *path, const ald_vec_t *text)
{
    char *found = NULL;
    size_t size = 0;
    const bool same = ald_path_exists(path) &&
                      ald_file_read(path, &found, &size) == ALD_STATUS_OK && size == text->count &&
                      memcmp(found, text->data, size) == 0;
    ald_free(found);
    return same;
}

ald_status_t ald_sweep_table(const char *folder, const ald_sweep_t *sweep,
                             const ald_sweep_counts_t *counts)
{
    ald_status_t status = ALD_STATUS_OK;
    char *json = NULL, *markdown = NULL;
    row_t *rows = ald_calloc((size_t)sweep->count, sizeof *rows);
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_CHECK_MEMORY(rows, (size_t)sweep->count * sizeof *rows);
    ALD_TRY(paths_of(folder, &json, &markdown));
    for (int64_t i = 0; i < sweep->count; ++i)
        ALD_TRY(read_row(&sweep->runs[i], &rows[i]));
    ALD_TRY(print_table(sweep, rows, &text));
    if (!ald_path_exists(json) || !has_text(markdown, &text)) {
        ALD_TRY(ald_file_write(markdown, text.data, text.count));
        ALD_TRY(write_json(json, sweep, rows, counts));
    }
    ald_print("%s", (char *)text.data);
done:
    ald_vec_reset(&text);
    ald_free(rows);
    ald_free(json);
    ald_free(markdown);
    return status;
}

ald_status_t ald_sweep_table_remove(const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_dir_remove_in(folder, "sweep.json"));
    ALD_TRY(ald_dir_remove_in(folder, "sweep.md"));
done:
    return status;
}
