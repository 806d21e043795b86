/* The rows that an audit keeps and those that it takes out, in the order of the file and byte by
 * byte as they were. What is taken out is wrapped with its reasons, so that it can be looked at,
 * and put back. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "ald/data/audit_repeats.h"
#include "ald/data/row_file.h"
#include "pipeline/audit_impl.h"

int64_t ald_audit_place(const ald_audit_run_t *run, int64_t row)
{
    const ald_row_file_t *file = &run->audit.file;
    return ALD_VEC_AT(&file->rows, ald_raw_row_t, row).number + !file->array;
}

/* Appends the text of a row. An item of an array may be spread over lines, and is made one. */
static ald_status_t put_row(const ald_row_file_t *file, int64_t row, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_raw_row_t *raw = &ALD_VEC_AT(&file->rows, ald_raw_row_t, row);
    ald_json_t *json = NULL;
    char *text = NULL;
    if (memchr(raw->text, '\n', raw->length) == NULL)
        return ald_vec_append(line, raw->text, raw->length);
    ALD_TRY(ald_row_file_parse(file, raw, &json));
    ALD_TRY(ald_json_dump(json, false, &text));
    ALD_TRY(ald_vec_append(line, text, strlen(text)));
done:
    ald_free(text);
    ald_json_free(json);
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
    ALD_TRY(put_row(&run->audit.file, row, line));
    ALD_TRY(ald_vec_append(line, "}", 1));
done:
    return status;
}

static ald_status_t write_rows(const ald_audit_run_t *run, bool removed, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    ald_vec_t line;
    ald_vec_init(&line, 1);
    ALD_TRY(ald_writer_open(path, &writer));
    for (int64_t i = 0; i < run->count; ++i) {
        if (((run->rows[i].reasons & run->remove) != 0) != removed)
            continue;
        line.count = 0;
        ALD_TRY(removed ? put_removed(run, i, &line) : put_row(&run->audit.file, i, &line));
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
    static const char *const names[] = {"clean.jsonl", "removed.jsonl"};
    ald_status_t status = ALD_STATUS_OK;
    for (int k = 0; k < 2 && status == ALD_STATUS_OK; ++k) {
        char *path = ald_path_join(run->config->audit.output, names[k]);
        status = path == NULL ? ald_status_raise(ALD_STATUS_RESOURCE, "out of memory")
                              : write_rows(run, k == 1, path);
        ald_free(path);
    }
    return status;
}
