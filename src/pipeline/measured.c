/* What a stage took on all its ranks. It is written once the stage has ended or was stopped, by the
 * command that ran it: a stage's own files don't know of it. */
#include "ald/pipeline/measured.h"

#include <omp.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/record/measured.h"

enum { SUMS = 5 };

/* The numbers of all ranks, on each of them. */
typedef struct {
    int64_t sums[SUMS]; /* of ald_work_done_t */
    int64_t nodes;
    int64_t ranks[ALD_MEASURED_ROLES], peak[ALD_MEASURED_ROLES];
} all_t;

static void gather(const ald_comm_t *world, unsigned roles, all_t *out)
{
    const ald_work_done_t *mine = ald_measured_noted();
    ald_comm_t node;
    *out = (all_t){.sums = {mine->steps, mine->sequences, mine->tokens, mine->bytes, mine->files}};
    ald_comm_node(world, &node);
    out->nodes = node.rank == 0;
    ald_comm_free(&node);
    for (int r = 0; r < ALD_MEASURED_ROLES; ++r) {
        const bool has = roles >> r & 1;
        out->ranks[r] = has;
        out->peak[r] = has ? (int64_t)ald_memory_peak_rss() : 0;
    }
    ald_comm_sum(world, out->sums, SUMS);
    ald_comm_sum(world, &out->nodes, 1);
    ald_comm_sum(world, out->ranks, ALD_MEASURED_ROLES);
    MPI_Allreduce(MPI_IN_PLACE, out->peak, ALD_MEASURED_ROLES, MPI_INT64_T, MPI_MAX, world->mpi);
}

static ald_json_t *roles_of(const all_t *all)
{
    ald_json_t *roles = ald_json_new_object();
    for (int r = 0; r < ALD_MEASURED_ROLES; ++r) {
        if (all->ranks[r] == 0)
            continue;
        ald_json_t *role = ald_json_new_object();
        ald_json_set(role, "ranks", ald_json_new_integer(all->ranks[r]));
        ald_json_set(role, "peak_bytes", ald_json_new_integer(all->peak[r]));
        ald_json_set(roles, ald_choice_name(ALD_CHOICES_ROLES, (unsigned)r), role);
    }
    return roles;
}

static ald_json_t *report_of(const ald_stage_run_t *run, const all_t *all, int ranks, bool finished)
{
    static const char *const names[SUMS] = {"steps", "sequences", "tokens", "noted_bytes",
                                            "noted_files"};
    ald_json_t *report = ald_json_new_object();
    ald_json_set(report, "stage", ald_json_new_string(run->stage));
    ald_json_set(report, "finished", ald_json_new_bool(finished));
    ald_json_set(report, "tool_version", ald_json_new_string(ALD_VERSION));
    if (run->parts > 0) {
        ald_json_set(report, "part", ald_json_new_integer(run->part));
        ald_json_set(report, "parts", ald_json_new_integer(run->parts));
    }
    ald_json_set(report, "ranks", ald_json_new_integer(ranks));
    ald_json_set(report, "threads", ald_json_new_integer(omp_get_max_threads()));
    ald_json_set(report, "nodes", ald_json_new_integer(all->nodes));
    ald_json_set(report, "roles", roles_of(all));
    ald_json_set(report, "runs", ald_json_new_integer(1));
    ald_json_set(report, "seconds", ald_json_new_number(ald_time() - run->begun));
    for (int i = 0; i < SUMS; ++i)
        ald_json_set(report, names[i], ald_json_new_integer(all->sums[i]));
    return report;
}

/* Root: sums with earlier runs, weighs what is there, and writes. */
static ald_status_t write(const ald_config_t *config, const ald_stage_run_t *run,
                          ald_json_t *report)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_measured_path(config->output, run->name), *folder = NULL;
    int64_t bytes = 0, files = 0;
    ALD_CHECK_MEMORY(path, strlen(config->output));
    folder = ald_path_folder(path);
    ALD_CHECK_MEMORY(folder, strlen(config->output));
    if (config->checkpoint.resume)
        ald_measured_add_earlier(path, report);
    for (int i = 0; i < 2; ++i)
        if (run->outputs[i] != NULL)
            ALD_TRY(ald_measured_weigh(run->outputs[i], &bytes, &files));
    bytes += ald_json_integer(ald_json_get(report, "noted_bytes"), 0);
    files += ald_json_integer(ald_json_get(report, "noted_files"), 0);
    ald_json_set(report, "bytes", ald_json_new_integer(bytes));
    ald_json_set(report, "files", ald_json_new_integer(files));
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(ald_json_write(report, path));
done:
    ald_free(path);
    ald_free(folder);
    return status;
}

void ald_measured_write(const ald_config_t *config, const ald_comm_t *world,
                        const ald_stage_run_t *run, ald_status_t ended)
{
    all_t all;
    if (ended != ALD_STATUS_OK && ended != ALD_STATUS_STOPPED)
        return;
    gather(world, run->roles, &all);
    if (world->rank != 0 || all.sums[0] + all.sums[1] == 0)
        return; /* it was finished before */
    char message[1024];
    strcpy(message, ald_status_message()); /* of the stop */
    ald_json_t *report = report_of(run, &all, world->size, ended == ALD_STATUS_OK);
    if (write(config, run, report) != ALD_STATUS_OK)
        ald_log_warn("%s: what this took isn't kept for `plan --compare`", ald_status_message());
    if (ended != ALD_STATUS_OK)
        ald_status_raise(ended, "%s", message);
    ald_json_free(report);
}
