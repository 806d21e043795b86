/* Results so far, of stages whose files are made at their end. Records are appended as they come,
 * so that a stage that is stopped, or killed, goes on from them. */
#include "pipeline/partial_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/train/finished.h"

/* The file is a line with the recipe, then records: a line "NAME BYTES SHA256", the bytes, and a
 * line's end. */
typedef struct {
    char name[128];
    const char *bytes;
    size_t count;
} record_t;

/* The length of the line at `at`, with its end; 0: it has none. */
static size_t line_at(const ald_vec_t *data, size_t at)
{
    const char *start = (const char *)data->data + at;
    const char *end = at < data->count ? memchr(start, '\n', data->count - at) : NULL;
    return end == NULL ? 0 : (size_t)(end - start) + 1;
}

/* Reads the record at *at and moves behind it; false at the end, and where it is damaged. */
static bool next_record(const ald_vec_t *data, size_t *at, record_t *out)
{
    char line[256], hex[ALD_SHA256_HEX], found[ALD_SHA256_HEX];
    const size_t length = line_at(data, *at);
    ald_sha256_t sha;
    if (length == 0 || length > sizeof line)
        return false;
    memcpy(line, (const char *)data->data + *at, length);
    line[length - 1] = '\0';
    if (sscanf(line, "%127s %zu %64s", out->name, &out->count, hex) != 3 ||
        out->count >= data->count - *at - length)
        return false;
    out->bytes = (const char *)data->data + *at + length;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, out->bytes, out->count);
    ald_sha256_final(&sha, found);
    if (strcmp(hex, found) != 0 || out->bytes[out->count] != '\n')
        return false;
    *at += length + out->count + 1;
    return true;
}

/* Writes the file anew, with the recipe alone. */
static ald_status_t write_head(const ald_partial_t *partial)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_vec_t line;
    ald_vec_init(&line, 1);
    ALD_TRY(ald_json_dump(partial->recipe, false, &text));
    ALD_TRY(ald_vec_printf(&line, "%s\n", text));
    ALD_TRY(ald_file_write(partial->path, line.data, line.count));
done:
    ald_vec_reset(&line);
    ald_free(text);
    return status;
}

/* USAGE unless the records are of this recipe. */
static ald_status_t check_head(const ald_partial_t *partial, size_t length)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *saved = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_json_parse(partial->data.data, length, partial->path, &saved));
    ALD_TRY(ald_recipe_differences(saved, partial->recipe, &text));
    ALD_CHECK(text.count == 0, ALD_STATUS_USAGE,
              "%s: a run that was stopped had another configuration or other inputs: %s; --force "
              "starts anew, another output leaves it",
              partial->path, (const char *)text.data);
done:
    ald_vec_reset(&text);
    ald_json_free(saved);
    return status;
}

/* Takes over the records that are whole, and cuts off what is behind them. */
static ald_status_t take_over(ald_partial_t *partial)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = line_at(&partial->data, 0);
    record_t record;
    ALD_TRY(check_head(partial, at));
    while (next_record(&partial->data, &at, &record))
        ;
    if (at < partial->data.count) {
        ald_log_warn("%s: damaged at byte %zu; what is behind it is made again", partial->path, at);
        partial->data.count = at;
        ALD_TRY(ald_file_write(partial->path, partial->data.data, at));
    }
    ald_log_info("%s: going on from %s", partial->made.stage, partial->path);
done:
    return status;
}

/* On root. */
static ald_status_t begin(ald_partial_t *partial, bool resume)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL, *folder = ald_path_folder(partial->path);
    size_t size = 0;
    ALD_CHECK_MEMORY(folder, strlen(partial->path));
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(ald_dir_sweep(folder));
    ALD_TRY(ald_dir_remove(partial->made.done));
    if (resume && ald_path_exists(partial->path)) {
        ALD_TRY(ald_file_read(partial->path, &text, &size));
        ALD_TRY(ald_vec_append(&partial->data, text, size));
        ALD_TRY(take_over(partial));
    } else {
        ALD_TRY(write_head(partial));
    }
    partial->open = true;
done:
    ald_free(text);
    ald_free(folder);
    return status;
}

ald_status_t ald_partial_begin(const ald_comm_t *comm, const ald_config_t *config,
                               const ald_made_t *made, const char *path, ald_json_t *recipe,
                               ald_partial_t *out, bool *finished)
{
    ald_status_t status = ALD_STATUS_OK;
    *out =
        (ald_partial_t){.comm = comm, .made = *made, .path = path, .prefix = "", .recipe = recipe};
    ald_vec_init(&out->data, 1);
    ALD_TRY(ald_finished(comm, config, made, recipe, finished));
    if (!*finished && comm->rank == 0)
        status = begin(out, config->checkpoint.resume);
    ALD_TRY(ald_comm_agree(comm, status));
done:
    return status;
}

ald_status_t ald_partial_find(const ald_partial_t *partial, const char *name, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = line_at(&partial->data, 0);
    char wanted[128];
    record_t record;
    snprintf(wanted, sizeof wanted, "%s%s", partial->prefix, name);
    while (next_record(&partial->data, &at, &record))
        if (strcmp(record.name, wanted) == 0)
            ALD_TRY(ald_vec_append(out, record.bytes, record.count));
done:
    return status;
}

ald_status_t ald_partial_add(const ald_partial_t *partial, const char *name, const void *bytes,
                             size_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_sha256_t sha;
    ald_vec_t record;
    ald_vec_init(&record, 1);
    if (count == 0)
        return status;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, bytes, count);
    ald_sha256_final(&sha, hex);
    ALD_TRY(ald_vec_printf(&record, "%s%s %zu %s\n", partial->prefix, name, count, hex));
    ALD_TRY(ald_vec_append(&record, bytes, count));
    ALD_TRY(ald_vec_append(&record, "\n", 1));
    ALD_TRY(ald_lock_check());
    ALD_TRY(ald_file_append(partial->path, record.data, record.count));
done:
    ald_vec_reset(&record);
    return status;
}

ald_status_t ald_partial_agree(const ald_partial_t *partial, ald_status_t status,
                               const ald_stop_work_t *work)
{
    int64_t left = work->left;
    ALD_TRY(ald_comm_agree(partial->comm, status));
    MPI_Bcast(&left, 1, MPI_INT64_T, 0, partial->comm->mpi);
    const ald_stop_t why = ald_stop_agree(partial->comm, ald_stop_due(left, 1));
    if (why != ALD_STOP_NO)
        ALD_TRY(ald_comm_agree(partial->comm, ald_stop_raise(why, work))); /* root's */
done:
    return status;
}

ald_status_t ald_partial_end(ald_partial_t *partial)
{
    ald_status_t status = ALD_STATUS_OK;
    if (partial->comm->rank == 0) {
        status = ald_finished_write(&partial->made, ald_json_new_object(), NULL, partial->recipe);
        if (status == ALD_STATUS_OK)
            status = ald_dir_remove(partial->path);
    }
    return ald_comm_agree(partial->comm, status);
}

void ald_partial_reset(ald_partial_t *partial, ald_status_t status)
{
    const bool kept =
        status == ALD_STATUS_OK || status == ALD_STATUS_STOPPED || status == ALD_STATUS_RESOURCE;
    if (partial->open && !kept)
        ald_dir_discard(partial->path);
    ald_json_free(partial->recipe);
    ald_vec_reset(&partial->data);
    *partial = (ald_partial_t){0};
}
