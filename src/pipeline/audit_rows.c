/* The rows that an audit keeps and those that it takes out, in the order of the file and byte by
 * byte as they were. What is taken out is wrapped with its reasons, so that it can be looked at,
 * and put back; rows whose answers are exchanged are kept as they were in a file of their own. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "ald/data/audit_repeats.h"
#include "ald/data/labels.h"
#include "ald/data/row_file.h"
#include "pipeline/audit_impl.h"

int64_t ald_audit_place(const ald_audit_run_t *run, int64_t row)
{
    const ald_row_file_t *file = &run->audit.file;
    return ALD_VEC_AT(&file->rows, ald_raw_row_t, row).number + !file->array;
}

/* Makes what was appended from `begin` on one line. JSON has ends of lines between its words alone.
 */
static void join_lines(ald_vec_t *line, size_t begin)
{
    char *text = line->data;
    while (line->count > begin && strchr(" \t\r\n", text[line->count - 1]) != NULL)
        --line->count;
    for (size_t i = begin; i < line->count; ++i)
        if (text[i] == '\n' || text[i] == '\r')
            text[i] = ' ';
}

/* Appends the text of a row: a line as it is; an item of an array may be spread over several. */
static ald_status_t put_row(const ald_row_file_t *file, int64_t row, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_raw_row_t *raw = &ALD_VEC_AT(&file->rows, ald_raw_row_t, row);
    const size_t begin = line->count;
    ALD_TRY(ald_vec_append(line, raw->text, raw->length));
    if (file->array)
        join_lines(line, begin);
done:
    return status;
}

/* Appends "KEY": ["name", ...] for bits of reasons. */
static ald_status_t put_reasons(const char *key, uint32_t reasons, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *before = "";
    ALD_TRY(ald_vec_printf(line, "\"%s\": [", key));
    for (int r = 0; r < ALD_REASON_COUNT; ++r) {
        if ((reasons >> r & 1) == 0)
            continue;
        ALD_TRY(ald_vec_printf(line, "%s\"%s\"", before, ald_reason_name((ald_reason_t)r)));
        before = ", ";
    }
    ALD_TRY(ald_vec_printf(line, "], "));
done:
    return status;
}

/* Appends "others": {"name": place, ...} for the reasons that name another row. */
static ald_status_t put_others(const ald_audit_run_t *run, int64_t row, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *before = "\"others\": {";
    for (int r = 0; r < ALD_REASON_OTHERS; ++r) {
        const uint32_t other = run->others[r][row];
        if (other == ALD_AUDIT_NO_OTHER)
            continue;
        ALD_TRY(ald_vec_printf(line, "%s\"%s\": %lld", before, ald_reason_name((ald_reason_t)r),
                               (long long)ald_audit_place(run, other)));
        before = ", ";
    }
    if (before[0] == ',')
        ALD_TRY(ald_vec_printf(line, "}, "));
done:
    return status;
}

static ald_status_t put_removed(const ald_audit_run_t *run, int64_t row, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint32_t reasons = run->rows[row].reasons;
    ALD_TRY(ald_vec_printf(line, "{\"%s\": %lld, ", run->audit.file.array ? "item" : "line",
                           (long long)ald_audit_place(run, row)));
    ALD_TRY(put_reasons("reasons", reasons & run->remove, line));
    if ((reasons & ~run->remove) != 0)
        ALD_TRY(put_reasons("also", reasons & ~run->remove, line));
    ALD_TRY(put_others(run, row, line));
    ALD_TRY(ald_vec_printf(line, "\"row\": "));
    const size_t begin = line->count;
    ALD_TRY(put_row(&run->audit.file, row, line));
    join_lines(line, begin);
    ALD_TRY(ald_vec_append(line, "}", 1));
done:
    return status;
}

bool ald_audit_exchanges(const ald_audit_run_t *run, int64_t row)
{
    const uint32_t reasons = run->rows[row].reasons;
    return run->config->audit.flip && (reasons & run->remove) == 0 &&
           (reasons >> ALD_REASON_FLIPPED & 1) != 0;
}

/* Appends a row with its answers exchanged, which it was looked at for before. */
static ald_status_t put_exchanged(const ald_row_file_t *file, int64_t row, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL, *exchanged = NULL;
    char *text = NULL;
    ALD_TRY(ald_row_file_parse(file, &ALD_VEC_AT(&file->rows, ald_raw_row_t, row), &json));
    ALD_TRY(ald_labels_exchange(json, &exchanged));
    ALD_TRY(ald_json_dump(exchanged, false, &text));
    ALD_TRY(ald_vec_append(line, text, strlen(text)));
done:
    ald_free(text);
    ald_json_free(exchanged);
    ald_json_free(json);
    return status;
}

static bool is_removed(const ald_audit_run_t *run, int64_t row)
{
    return (run->rows[row].reasons & run->remove) != 0;
}

static bool is_clean(const ald_audit_run_t *run, int64_t row)
{
    return !is_removed(run, row);
}

static ald_status_t put_clean(const ald_audit_run_t *run, int64_t row, ald_vec_t *line)
{
    return ald_audit_exchanges(run, row) ? put_exchanged(&run->audit.file, row, line)
                                         : put_row(&run->audit.file, row, line);
}

static ald_status_t put_as_it_was(const ald_audit_run_t *run, int64_t row, ald_vec_t *line)
{
    return put_row(&run->audit.file, row, line);
}

/* A file of rows: which they are, and how they are written. */
typedef struct {
    const char *name;
    bool (*has)(const ald_audit_run_t *run, int64_t row);
    ald_status_t (*put)(const ald_audit_run_t *run, int64_t row, ald_vec_t *line);
} rows_of_t;

static ald_status_t write_rows(const ald_audit_run_t *run, const rows_of_t *of, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    ald_vec_t line;
    ald_vec_init(&line, 1);
    ALD_TRY(ald_writer_open(path, &writer));
    for (int64_t i = 0; i < run->count; ++i) {
        if (!of->has(run, i))
            continue;
        line.count = 0;
        ALD_TRY(of->put(run, i, &line));
        ALD_TRY(ald_vec_append(&line, "\n", 1));
        ALD_TRY(ald_writer_write(writer, line.data, line.count));
    }
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    ald_vec_reset(&line);
    return status;
}

ald_status_t ald_audit_write_rows(const ald_audit_run_t *run)
{
    static const rows_of_t files[] = {{"clean.jsonl", is_clean, put_clean},
                                      {"removed.jsonl", is_removed, put_removed},
                                      {"flipped.jsonl", ald_audit_exchanges, put_as_it_was}};
    ald_status_t status = ALD_STATUS_OK;
    const int count = run->config->audit.flip ? 3 : 2;
    if (count == 2) /* that of an earlier audit */
        status = ald_dir_remove_in(run->config->audit.output, files[2].name);
    for (int k = 0; k < count && status == ALD_STATUS_OK; ++k) {
        char *path = ald_path_join(run->config->audit.output, files[k].name);
        status = path == NULL ? ald_status_raise(ALD_STATUS_RESOURCE, "out of memory")
                              : write_rows(run, &files[k], path);
        ald_free(path);
    }
    return status;
}
