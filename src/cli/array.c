/* Slurm arrays: which part of the work a task has. Slurm tells a task its own number, the least and
 * the largest one and how many there are, but not which numbers lie between. */
#include "cli/array_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "cli/parse_impl.h"

typedef struct {
    int64_t id, count, min, max, step; /* of SLURM_ARRAY_TASK_ID, ... */
    const char *job;
} array_t;

static bool parse(const char *name, int64_t otherwise, int64_t *out)
{
    const char *text = getenv(name);
    *out = otherwise;
    return text == NULL ? otherwise >= 0 : ald_parse_integer(text, 0, INT64_MAX, out);
}

static ald_status_t read_array(array_t *a)
{
    ald_status_t status = ALD_STATUS_OK;
    a->job = getenv("SLURM_ARRAY_JOB_ID");
    const bool whole = parse("SLURM_ARRAY_TASK_ID", -1, &a->id) &&
                       parse("SLURM_ARRAY_TASK_COUNT", -1, &a->count) &&
                       parse("SLURM_ARRAY_TASK_MIN", 0, &a->min) &&
                       parse("SLURM_ARRAY_TASK_STEP", 1, &a->step);
    ALD_CHECK(whole && parse("SLURM_ARRAY_TASK_MAX", a->min, &a->max) && a->count > 0 &&
                  a->step > 0 && a->id >= a->min,
              ALD_STATUS_USAGE,
              "SLURM_ARRAY_TASK_ID=%s, _COUNT=%s, _MIN=%s, _MAX=%s, _STEP=%s: not those of a "
              "task of an array",
              getenv("SLURM_ARRAY_TASK_ID"), getenv("SLURM_ARRAY_TASK_COUNT"),
              getenv("SLURM_ARRAY_TASK_MIN"), getenv("SLURM_ARRAY_TASK_MAX"),
              getenv("SLURM_ARRAY_TASK_STEP"));
done:
    return status;
}

/* Whether all of MIN, MIN + 1, ..., MAX are there, so that a task's place is told by its number. A
 * STEP is that of the last range of several, as in "1,2-8:3", and says nothing of the others. */
static bool is_whole(const array_t *a)
{
    return a->max - a->min + 1 == a->count && a->id <= a->max;
}

/* Whether a caller that isn't Slurm, as it names no array, has counted in steps. */
static bool is_counted(const array_t *a)
{
    return a->job == NULL && (a->id - a->min) % a->step == 0 &&
           (a->id - a->min) / a->step < a->count;
}

/* Takes this task's place in an array with gaps, or finds it. */
static ald_status_t take_place(const char *output, const array_t *a, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char id[32], found[32];
    ald_vec_t path;
    ald_vec_init(&path, 1);
    snprintf(id, sizeof id, "%" PRId64, a->id);
    ALD_CHECK(a->job != NULL && strspn(a->job, "0123456789") == strlen(a->job), ALD_STATUS_USAGE,
              "SLURM_ARRAY_JOB_ID=%s: expected the number of the array, which has gaps",
              a->job == NULL ? "" : a->job);
    ALD_TRY(ald_vec_printf(&path, "%s/jobs/array-%s", output, a->job));
    ALD_TRY(ald_dir_make(path.data));
    const size_t folder = path.count;
    for (*out = 0; *out < a->count; ++*out) {
        path.count = folder;
        ALD_TRY(ald_vec_printf(&path, "/%" PRId64, *out));
        if (symlink(id, path.data) == 0)
            goto done;
        ALD_CHECK(errno == EEXIST, ald_status_of_errno(errno), "%s: cannot make the link: %s",
                  (const char *)path.data, strerror(errno));
        const ssize_t length = readlink(path.data, found, sizeof found - 1);
        if (length == (ssize_t)strlen(id) && memcmp(found, id, (size_t)length) == 0)
            goto done;
    }
    status = ald_status_raise(ALD_STATUS_USAGE,
                              "%s/jobs/array-%s: all %" PRId64 " places of the array are taken by "
                              "other tasks than %" PRId64,
                              output, a->job, a->count, a->id);
done:
    ald_vec_reset(&path);
    return status;
}

static ald_status_t find_place(const char *output, const array_t *array, int64_t *place)
{
    ald_status_t status = ALD_STATUS_OK;
    if (is_whole(array) || is_counted(array)) {
        *place = is_whole(array) ? array->id - array->min : (array->id - array->min) / array->step;
        return status;
    }
    ALD_TRY(take_place(output, array, place));
    ald_log_info("task %" PRId64 " of an array with gaps: part %" PRId64 " of %" PRId64, array->id,
                 *place, array->count);
done:
    return status;
}

ald_status_t ald_array_part(const char *output, const ald_comm_t *world, int64_t *part,
                            int64_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    array_t array;
    int64_t found[2] = {0, 1};
    if (world->rank == 0 && getenv("SLURM_ARRAY_TASK_ID") != NULL &&
        getenv("SLURM_ARRAY_TASK_COUNT") != NULL) {
        status = read_array(&array);
        found[1] = array.count;
        if (status == ALD_STATUS_OK)
            status = find_place(output, &array, &found[0]);
    }
    ALD_TRY(ald_comm_agree(world, status));
    MPI_Bcast(found, 2, MPI_INT64_T, 0, world->mpi);
    *part = found[0];
    *parts = found[1];
done:
    return status;
}
