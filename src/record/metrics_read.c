/* Reads metrics back from either form, for `inspect` and the report of a sweep. The last line may
 * be half written, since a job can end at any moment. */
#include "ald/record/metrics_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/record/h5.h"

/* Limits for hostile files: ours have up to ALD_METRICS_MAX series, and far fewer steps. */
enum { SERIES_MAX = 4096 };
static const int64_t steps_max = (int64_t)1 << 32;

/* A new series of NaN at the end of the table. */
static ald_status_t add_series(ald_metrics_table_t *table, const char *name,
                               ald_metrics_series_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(table->count < SERIES_MAX, ALD_STATUS_INPUT, "more than %d series", SERIES_MAX);
    const size_t bytes = (size_t)(table->count + 1) * sizeof *table->series;
    ald_metrics_series_t *grown = ald_realloc(table->series, bytes);
    ALD_CHECK_MEMORY(grown, bytes);
    table->series = grown;
    *out = &grown[table->count];
    **out = (ald_metrics_series_t){ald_strdup(name),
                                   ald_alloc((size_t)(table->steps + 1) * sizeof(double))};
    ++table->count;
    ALD_CHECK_MEMORY((*out)->name, strlen(name));
    ALD_CHECK_MEMORY((*out)->values, (size_t)table->steps * sizeof(double));
    for (int64_t i = 0; i < table->steps; ++i)
        (*out)->values[i] = NAN;
done:
    return status;
}

static ald_status_t find_series(ald_metrics_table_t *table, const char *name,
                                ald_metrics_series_t **out)
{
    for (int64_t i = 0; i < table->count; ++i) {
        *out = &table->series[i];
        if (strcmp((*out)->name, name) == 0)
            return ALD_STATUS_OK;
    }
    return add_series(table, name, out);
}

static ald_status_t take_line(ald_metrics_table_t *table, const ald_json_t *line, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    while (ald_json_next(line, &iterator, &name, &value)) {
        ald_metrics_series_t *series = NULL;
        ALD_TRY(find_series(table, name, &series));
        series->values[step] = ald_json_number(value, NAN);
    }
done:
    return status;
}

static ald_status_t read_lines(const char *path, ald_metrics_table_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *line = NULL;
    char *text = NULL, name[512];
    size_t size = 0;
    ALD_TRY(ald_file_read(path, &text, &size));
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; ++at)
        ++out->steps;
    const char *begin = text;
    for (int64_t i = 0; i < out->steps; ++i) {
        const char *end = strchr(begin, '\n');
        snprintf(name, sizeof name, "%s:%lld", path, (long long)i + 1);
        ald_json_free(line);
        line = NULL;
        ALD_TRY(ald_json_parse(begin, (size_t)(end - begin), name, &line));
        ALD_CHECK(ald_json_is_object(line), ALD_STATUS_INPUT, "%s: expected an object, found %s",
                  name, ald_json_type_name(line));
        ALD_TRY(take_line(out, line, i));
        begin = end + 1;
    }
done:
    ald_json_free(line);
    ald_free(text);
    return status;
}

static ald_status_t read_series(const char *path, hid_t file, const char *name,
                                ald_metrics_table_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_metrics_series_t *series = NULL;
    hsize_t rows = 0;
    hid_t dataset = -1, space = -1;
    ALD_H5(dataset = H5Dopen2(file, name, H5P_DEFAULT), path, name);
    ALD_H5(space = H5Dget_space(dataset), path, name);
    ALD_CHECK(H5Sget_simple_extent_ndims(space) == 1, ALD_STATUS_INPUT,
              "%s: %s: expected one dimension", path, name);
    ALD_H5(H5Sget_simple_extent_dims(space, &rows, NULL), path, name);
    const hsize_t stored = H5Dget_storage_size(dataset);
    ALD_CHECK((int64_t)rows < steps_max && stored >= rows * sizeof(double) &&
                  (out->count == 0 || (int64_t)rows == out->steps),
              ALD_STATUS_INPUT, "%s: %s: %llu steps of which %llu bytes are stored", path, name,
              (unsigned long long)rows, (unsigned long long)stored);
    out->steps = (int64_t)rows;
    ALD_TRY(add_series(out, name, &series));
    ALD_H5(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, series->values), path,
           name);
done:
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

typedef struct {
    ald_vec_t names; /* char * */
    ald_status_t status;
} names_t;

static herr_t take_name(hid_t group, const char *name, const H5O_info_t *info, void *context)
{
    names_t *names = context;
    (void)group;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    char *copy = ald_strdup(name);
    if (copy != NULL)
        names->status = ald_vec_push(&names->names, &copy);
    return copy != NULL && names->status == ALD_STATUS_OK ? 0 : -1;
}

static ald_status_t read_hdf5(const char *path, ald_metrics_table_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t file = -1;
    names_t names = {.status = ALD_STATUS_OK};
    ald_vec_init(&names.names, sizeof(char *));
    ald_h5_begin();
    ALD_TRY(ald_h5_open(path, &file));
    ALD_H5(H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, take_name, &names, H5O_INFO_BASIC), path,
           "/");
    for (size_t i = 0; i < names.names.count; ++i)
        ALD_TRY(read_series(path, file, ALD_VEC_AT(&names.names, char *, i), out));
done:
    if (file >= 0)
        H5Fclose(file);
    ald_names_free(names.names.data, names.names.count);
    return status;
}

ald_status_t ald_metrics_read(const char *path, ald_metrics_table_t *out)
{
    const size_t length = strlen(path);
    *out = (ald_metrics_table_t){0};
    const bool hdf5 = length > 3 && strcmp(path + length - 3, ".h5") == 0;
    ald_status_t status = hdf5 ? read_hdf5(path, out) : read_lines(path, out);
    if (status != ALD_STATUS_OK)
        ald_metrics_table_reset(out);
    return status;
}

void ald_metrics_table_reset(ald_metrics_table_t *table)
{
    for (int64_t i = 0; i < table->count; ++i) {
        ald_free(table->series[i].name);
        ald_free(table->series[i].values);
    }
    ald_free(table->series);
    *table = (ald_metrics_table_t){0};
}
