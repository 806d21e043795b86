/* Promises beside what stages took. Each stage is promised anew for the ranks that it ran on, so
 * that the comparison is of the arithmetic, not of two machines. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/plan/stages.h"
#include "ald/record/measured.h"
#include "ald/role/placement.h"
#include "cli/plan_impl.h"

enum { MEMORY, STORAGE, FILES, SECONDS, QUANTITIES };
static const char *const quantities[QUANTITIES] = {"memory", "storage", "files", "seconds"};

typedef struct {
    double promised[QUANTITIES], measured[QUANTITIES];
    bool stopped; /* before the stage was finished, for which the promise is */
} pair_t;

static double number(const ald_json_t *json, const char *key)
{
    return ald_json_number(ald_json_get(json, key), 0.0);
}

/* The peak of the largest rank of all roles. */
static double peak_of(const ald_json_t *json)
{
    const ald_json_t *roles = ald_json_get(json, "roles"), *role;
    void *at = NULL;
    const char *name;
    double peak = 0.0;
    while (roles != NULL && ald_json_next(roles, &at, &name, &role))
        peak = number(role, "peak_bytes") > peak ? number(role, "peak_bytes") : peak;
    return peak;
}

static int ranks_of(const ald_json_t *json, const char *role)
{
    return (int)number(ald_json_get(ald_json_get(json, "roles"), role), "ranks");
}

ald_status_t ald_plan_scored_tasks(const char *run, ald_scored_tasks_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *folder = ald_path_join(run, "measured"), *path = NULL;
    size_t count = 0;
    ald_json_t *json = NULL;
    *out = (ald_scored_tasks_t){.tasks = 0};
    ALD_CHECK_MEMORY(folder, strlen(run));
    if (!ald_path_is_directory(folder))
        goto done;
    ALD_TRY(ald_dir_list(folder, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (strncmp(names[i], "score-", 6) != 0)
            continue;
        ald_free(path);
        ald_json_free(json);
        json = NULL;
        path = ald_path_join(folder, names[i]);
        ALD_CHECK_MEMORY(path, strlen(folder));
        ALD_TRY(ald_json_read(path, &json));
        out->tasks += 1;
        out->stopped = out->stopped || !ald_json_bool(ald_json_get(json, "finished"), true);
        out->seconds += number(json, "seconds");
        out->sequences += number(json, "sequences");
        out->bytes += number(json, "bytes");
        out->files += number(json, "files");
        out->peak = peak_of(json) > out->peak ? peak_of(json) : out->peak;
        out->ranks = (int)number(json, "ranks");
        out->nodes = (int)number(json, "nodes");
        out->threads = (int)number(json, "threads");
    }
done:
    ald_json_free(json);
    ald_free(path);
    ald_free(folder);
    ald_names_free(names, count);
    return status;
}

/* The ranks that a stage ran on, how many had each role (none is known of: 0), and each one's
 * threads. */
typedef struct {
    int nodes, ranks, threads;
    int trainers, scorers, generators;
} run_t;

/* Sets roles.* so that they give the run's ranks their roles, which a calibration may have chosen.
 */
static void take_roles(const run_t *run, ald_config_t *config)
{
    const int trainers = run->trainers, scorers = run->scorers, generators = run->generators;
    ald_placement_t place;
    for (int mask = 0; mask < 8 && trainers > 0; ++mask) {
        config->roles.trainers = mask & 1 ? trainers : 0;
        config->roles.scorers = mask & 2 ? scorers : 0;
        config->roles.generators = mask & 4 ? generators : 0;
        if (config->roles.trainers + config->roles.scorers + config->roles.generators <=
                run->ranks &&
            ald_placement_make(config, run->ranks, &place) == ALD_STATUS_OK &&
            place.trainers.count == trainers && place.scorers.count == scorers &&
            place.generators.count == generators)
            return;
    }
}

/* Promises the stage for such a run. */
static ald_status_t promise(ald_planning_t *p, int s, const run_t *run, pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_plan_t *plan = &p->plan;
    ald_promise_t *made = &plan->promise[s];
    const ald_plan_site_t site = plan->site;
    const ald_config_t *config = plan->config;
    ald_config_t as_run = *config; /* its texts stay the caller's */
    take_roles(run, &as_run);
    ALD_CHECK(run->nodes > 0 && run->ranks >= run->nodes && run->threads > 0, ALD_STATUS_INPUT,
              "measured/%s: %d ranks on %d nodes: expected what a stage writes", made->stage,
              run->ranks, run->nodes);
    plan->site.nodes = run->nodes;
    plan->site.ranks = run->ranks / run->nodes;
    plan->site.cores = run->threads * plan->site.ranks;
    plan->config = &as_run;
    plan->as_run = true;
    ALD_TRY(ald_plan_promise(plan, &p->rates, (ald_plan_stage_t)s));
    for (int r = 0; r < made->roles; ++r)
        out->promised[MEMORY] =
            made->role[r].peak > out->promised[MEMORY] ? made->role[r].peak : out->promised[MEMORY];
    out->promised[STORAGE] = made->storage.bytes;
    out->promised[FILES] = made->storage.files;
    out->promised[SECONDS] = made->seconds;
done:
    plan->site = site;
    plan->config = config;
    plan->as_run = false;
    return status;
}

/* All tasks of the array together, and what one would take that had their work. */
static ald_status_t compare_score(ald_planning_t *p, const char *run, pair_t *out, bool *there)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_tasks_t tasks;
    ALD_TRY(ald_plan_scored_tasks(run, &tasks));
    *there = tasks.tasks > 0;
    if (!*there)
        goto done;
    const double all = (double)p->plan.promise[ALD_PLAN_SCORE].sequences;
    ALD_TRY(promise(p, ALD_PLAN_SCORE,
                    &(run_t){.nodes = tasks.nodes, .ranks = tasks.ranks, .threads = tasks.threads},
                    out));
    for (int q = STORAGE; q < QUANTITIES && tasks.sequences < all; ++q)
        out->promised[q] *= tasks.sequences / all;
    out->stopped = tasks.stopped;
    out->measured[MEMORY] = tasks.peak;
    out->measured[STORAGE] = tasks.bytes;
    out->measured[FILES] = tasks.files;
    out->measured[SECONDS] = tasks.seconds;
done:
    return status;
}

static ald_status_t compare_stage(ald_planning_t *p, const char *run, int s, pair_t *out,
                                  bool *there)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    char *name = NULL, *path = NULL;
    if (s == ALD_PLAN_SCORE)
        return compare_score(p, run, out, there);
    name = ald_measured_name(p->plan.config->output, p->plan.promise[s].output);
    ALD_CHECK_MEMORY(name, strlen(run));
    path = ald_measured_path(run, name);
    ALD_CHECK_MEMORY(path, strlen(run));
    if (s == ALD_PLAN_EVAL &&
        !ald_path_exists(path)) { /* the chain of jobs evaluates three models */
        ald_free(path);
        path = ald_measured_path(run, "eval-aligned");
        ALD_CHECK_MEMORY(path, strlen(run));
    }
    *there = ald_path_exists(path);
    if (!*there)
        goto done;
    ALD_TRY(ald_json_read(path, &json));
    const run_t ran = {.nodes = (int)number(json, "nodes"),
                       .ranks = (int)number(json, "ranks"),
                       .threads = (int)number(json, "threads"),
                       .trainers = ranks_of(json, "trainer"),
                       .scorers = ranks_of(json, "scorer"),
                       .generators = ranks_of(json, "generator")};
    out->stopped = !ald_json_bool(ald_json_get(json, "finished"), true);
    out->measured[MEMORY] = peak_of(json);
    out->measured[STORAGE] = number(json, "bytes");
    out->measured[FILES] = number(json, "files");
    out->measured[SECONDS] = number(json, "seconds");
    ALD_TRY(promise(p, s, &ran, out));
done:
    ald_json_free(json);
    ald_free(name);
    ald_free(path);
    return status;
}

static ald_json_t *amount(int quantity, double value)
{
    return quantity == SECONDS ? ald_json_new_number(value) : ald_json_new_integer(llround(value));
}

static ald_json_t *pair_json(const pair_t *pair)
{
    ald_json_t *out = ald_json_new_object();
    for (int q = 0; q < QUANTITIES; ++q) {
        ald_json_t *one = ald_json_new_object();
        ald_json_set(one, "promised", amount(q, pair->promised[q]));
        ald_json_set(one, "measured", amount(q, pair->measured[q]));
        ald_json_set(one, "ratio", ald_json_new_number(pair->promised[q] / pair->measured[q]));
        ald_json_set(out, quantities[q], one);
    }
    ald_json_set(out, "finished", ald_json_new_bool(!pair->stopped));
    return out;
}

static void print_pair(const char *stage, const pair_t *pair)
{
    char a[32], b[32];
    for (int q = 0; q < QUANTITIES; ++q) {
        if (q == FILES)
            snprintf(a, sizeof a, "%.0f", pair->promised[q]),
                snprintf(b, sizeof b, "%.0f", pair->measured[q]);
        else if (q == SECONDS)
            ald_plan_time(pair->promised[q], a), ald_plan_time(pair->measured[q], b);
        else
            ald_plan_bytes(pair->promised[q], a), ald_plan_bytes(pair->measured[q], b);
        printf("%-8s %-8s %12s %12s %8.3f\n", q == 0 ? stage : "", quantities[q], a, b,
               pair->promised[q] / pair->measured[q]);
    }
    if (pair->stopped)
        printf("%-8s isn't finished: promised is the whole, measured what was done\n", stage);
}

ald_status_t ald_plan_compare(ald_planning_t *p, const char *run, bool json)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *all = ald_json_new_object();
    char *text = NULL;
    int found = 0;
    if (!json)
        printf("%-8s %-8s %12s %12s %8s\n", "stage", "", "promised", "measured", "ratio");
    for (int s = 0; s < ALD_PLAN_STAGES; ++s) {
        const char *stage = p->plan.promise[s].stage;
        pair_t pair = {.stopped = false};
        bool there = false;
        if (stage == NULL)
            continue;
        ALD_TRY(compare_stage(p, run, s, &pair, &there));
        if (!there)
            continue;
        found += 1;
        if (json)
            ald_json_set(all, stage, pair_json(&pair));
        else
            print_pair(stage, &pair);
    }
    ALD_CHECK(found > 0, ALD_STATUS_INPUT,
              "%s/measured: nothing there of the stages of this configuration; expected an output "
              "folder in which stages have run",
              run);
    if (!json)
        goto done;
    ALD_TRY(ald_json_dump(all, true, &text));
    puts(text);
done:
    ald_json_free(all);
    ald_free(text);
    return status;
}
