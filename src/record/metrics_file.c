/* Metrics on disk, as lines of JSON, as HDF5 and as TensorBoard's events. A resumed run takes over
 * the lines up to its checkpoint, so that the files end as those of a run that was never stopped.
 */
#include "ald/record/metrics_file.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/record/events.h"
#include "ald/record/h5.h"
#include "ald/record/metrics.h"

typedef struct {
    char *name;
    ald_vec_t values; /* double; NaN where a step lacks it */
} series_t;

struct ald_metrics_file {
    char *lines, *hdf5; /* paths */
    ald_vec_t series;   /* series_t, in order of first use */
    size_t steps;
    ald_events_t *events;
};

static bool is_integer(const char *name)
{
    return strcmp(name, "step") == 0 || strcmp(name, "tokens") == 0;
}

/* A value with nine digits, as a line holds it. Memory holds it so as well, so that the HDF5 file
 * of a resumed run equals that of a run that was never stopped. */
static double as_written(const char *name, double value)
{
    char text[40];
    if (is_integer(name) || !isfinite(value))
        return isfinite(value) ? value : NAN;
    snprintf(text, sizeof text, "%.9g", value);
    return strtod(text, NULL);
}

static ald_status_t find_series(ald_metrics_file_t *file, const char *name, series_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    series_t fresh = {0};
    for (size_t i = 0; i < file->series.count; ++i) {
        *out = &ALD_VEC_AT(&file->series, series_t, i);
        if (strcmp((*out)->name, name) == 0)
            return status;
    }
    fresh.name = ald_strdup(name);
    ALD_CHECK_MEMORY(fresh.name, strlen(name));
    ald_vec_init(&fresh.values, sizeof(double));
    ALD_TRY(ald_vec_push(&file->series, &fresh));
    fresh.name = NULL;
    *out = &ALD_VEC_AT(&file->series, series_t, file->series.count - 1);
done:
    ald_free(fresh.name);
    return status;
}

/* Sets a value of the step that is being added. */
static ald_status_t put_value(ald_metrics_file_t *file, const char *name, double value)
{
    ald_status_t status = ALD_STATUS_OK;
    series_t *series = NULL;
    const double none = NAN;
    ALD_TRY(find_series(file, name, &series));
    while (series->values.count < file->steps)
        ALD_TRY(ald_vec_push(&series->values, &none));
    value = as_written(name, value);
    ALD_TRY(ald_vec_push(&series->values, &value));
done:
    return status;
}

/* Takes over one line of an earlier run. */
static ald_status_t take_line(ald_metrics_file_t *file, const ald_json_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    while (ald_json_next(line, &iterator, &name, &value))
        ALD_TRY(put_value(file, name, ald_json_number(value, NAN)));
    ++file->steps;
done:
    return status;
}

/* Reads the earlier lines up to last_step into memory and into `kept`. A last line without its
 * newline was being written when the run died, and is dropped. */
static ald_status_t take_lines(ald_metrics_file_t *file, const char *text, int64_t last_step,
                               ald_vec_t *kept)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *line = NULL;
    char name[512];
    int number = 0;
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        snprintf(name, sizeof name, "%s:%d", file->lines, ++number);
        ald_json_free(line);
        line = NULL;
        ALD_TRY(ald_json_parse(text, (size_t)(end - text), name, &line));
        const ald_json_t *step = ald_json_get(line, "step");
        ALD_CHECK(ald_json_is_integer(step), ALD_STATUS_INPUT, "%s: step: expected an integer",
                  name);
        if (ald_json_integer(step, 0) > last_step)
            continue;
        ALD_TRY(take_line(file, line));
        ALD_TRY(ald_vec_append(kept, text, (size_t)(end - text) + 1));
    }
done:
    ald_json_free(line);
    return status;
}

static ald_status_t take_earlier_run(ald_metrics_file_t *file, int64_t last_step)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    ald_vec_t kept;
    ald_vec_init(&kept, 1);
    if (last_step > 0 && ald_path_exists(file->lines)) {
        ALD_TRY(ald_file_read(file->lines, &text, &size));
        ALD_TRY(take_lines(file, text, last_step, &kept));
    }
    ALD_TRY(ald_file_write(file->lines, kept.count > 0 ? kept.data : "", kept.count));
done:
    ald_vec_reset(&kept);
    ald_free(text);
    return status;
}

ald_status_t ald_metrics_open(const char *directory, int64_t last_step, ald_metrics_file_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_metrics_file_t *file = ald_calloc(1, sizeof *file);
    *out = NULL;
    ALD_CHECK_MEMORY(file, sizeof *file);
    ald_vec_init(&file->series, sizeof(series_t));
    file->lines = ald_path_join(directory, "metrics.jsonl");
    file->hdf5 = ald_path_join(directory, "metrics.h5");
    ALD_CHECK_MEMORY(file->lines, strlen(directory));
    ALD_CHECK_MEMORY(file->hdf5, strlen(directory));
    ALD_TRY(ald_dir_make(directory));
    ALD_TRY(take_earlier_run(file, last_step));
    ALD_TRY(ald_events_open(directory, last_step, &file->events));
    *out = file;
    file = NULL;
done:
    ald_metrics_close(file);
    return status;
}

ald_status_t ald_metrics_append(ald_metrics_file_t *file, const ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_json_t *line = ald_json_new_object();
    assert(!isnan(ald_metrics_get(metrics, "step")));
    for (int i = 0; i < metrics->count; ++i) {
        const char *name = metrics->name[i];
        const double value = metrics->value[i];
        const bool integer = is_integer(name) && isfinite(value);
        ald_json_set(line, name,
                     integer ? ald_json_new_integer((int64_t)value) : ald_json_new_number(value));
        ALD_TRY(put_value(file, name, value));
    }
    ++file->steps;
    ALD_TRY(ald_json_dump(line, false, &text));
    const size_t length = strlen(text);
    text[length] = '\n'; /* the terminator's place */
    ALD_TRY(ald_file_append(file->lines, text, length + 1));
    ALD_TRY(ald_events_append(file->events, metrics));
done:
    ald_json_free(line);
    ald_free(text);
    return status;
}

/* Makes the groups "a" and "a/b" of the name "a/b/name". */
static ald_status_t make_groups(hid_t h5, const char *path, const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1, group = -1;
    char part[128];
    ALD_H5(list = ald_h5_group_properties(), path, name);
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
        htri_t there = H5Lexists(h5, part, H5P_DEFAULT);
        ALD_H5(there, path, part);
        if (there > 0)
            continue;
        ALD_H5(group = H5Gcreate2(h5, part, H5P_DEFAULT, list, H5P_DEFAULT), path, part);
        ALD_H5(H5Gclose(group), path, part);
    }
done:
    H5Pclose(list);
    return status;
}

/* Writes one series; HDF5 turns doubles into the integers of the file. */
static ald_status_t write_series(hid_t h5, const char *path, const series_t *series)
{
    ald_status_t status = ALD_STATUS_OK;
    const hsize_t rows = series->values.count, chunk = rows > 0 && rows < 4096 ? rows : 4096;
    const hsize_t most = H5S_UNLIMITED;
    hid_t space = -1, list = -1, dataset = -1;
    const hid_t type = is_integer(series->name) ? H5T_STD_I64LE : H5T_IEEE_F64LE;
    ALD_TRY(make_groups(h5, path, series->name));
    ALD_H5(space = H5Screate_simple(1, &rows, &most), path, series->name);
    ALD_H5(list = ald_h5_dataset_properties(), path, series->name);
    ALD_H5(H5Pset_chunk(list, 1, &chunk), path, series->name);
    ALD_H5(H5Pset_fletcher32(list), path, series->name);
    ALD_H5(dataset = H5Dcreate2(h5, series->name, type, space, H5P_DEFAULT, list, H5P_DEFAULT),
           path, series->name);
    if (rows > 0)
        ALD_H5(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                        series->values.data),
               path, series->name);
done:
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(path, series->name);
    H5Pclose(list);
    H5Sclose(space);
    return status;
}

static ald_status_t write_all(ald_metrics_file_t *file, hid_t h5)
{
    ald_status_t status = ALD_STATUS_OK;
    const double none = NAN;
    for (size_t i = 0; i < file->series.count; ++i) {
        series_t *series = &ALD_VEC_AT(&file->series, series_t, i);
        while (series->values.count < file->steps)
            ALD_TRY(ald_vec_push(&series->values, &none));
        ALD_TRY(write_series(h5, file->hdf5, series));
    }
    ALD_H5(H5Fflush(h5, H5F_SCOPE_GLOBAL), file->hdf5, "cannot write");
done:
    return status;
}

ald_status_t ald_metrics_flush(ald_metrics_file_t *file)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t h5 = -1;
    char *temporary = ald_path_temporary(file->hdf5);
    ALD_CHECK_MEMORY(temporary, strlen(file->hdf5));
    ald_h5_begin();
    ALD_TRY(ald_h5_create(temporary, ALD_H5_PAGE, &h5));
    status = write_all(file, h5);
    if (H5Fclose(h5) < 0 && status == ALD_STATUS_OK) /* closed once, also after a failure */
        status = ald_h5_raise(file->hdf5, "cannot write");
    ALD_TRY(status);
    ALD_TRY(ald_file_publish(temporary, file->hdf5));
done:
    if (status != ALD_STATUS_OK && temporary != NULL)
        unlink(temporary);
    ald_free(temporary);
    return status;
}

void ald_metrics_close(ald_metrics_file_t *file)
{
    if (file == NULL)
        return;
    for (size_t i = 0; i < file->series.count; ++i) {
        ald_free(ALD_VEC_AT(&file->series, series_t, i).name);
        ald_vec_reset(&ALD_VEC_AT(&file->series, series_t, i).values);
    }
    ald_vec_reset(&file->series);
    ald_events_close(file->events);
    ald_free(file->lines);
    ald_free(file->hdf5);
    ald_free(file);
}
