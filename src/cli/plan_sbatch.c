/* Sizes of jobs. A job that asks for too little is killed hours later, so each number has a margin,
 * and what doesn't fit is said before anything is submitted. */
#include <math.h>
#include <stdio.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/plan/cost.h"
#include "ald/plan/stages.h"
#include "cli/plan_impl.h"

#define MEMORY_MARGIN 1.15
#define TIME_MARGIN   1.5
enum { LEAST_MINUTES = 10, EVALUATIONS = 3, NODES_MOST = 1024 };

/* Gigabytes as Slurm counts them. */
static double gibibytes(double bytes)
{
    return ceil(MEMORY_MARGIN * bytes / 1073741824.0);
}

static void print_size(const char *name, const ald_plan_site_t *site, int nodes, double bytes,
                       double seconds)
{
    const double minutes = fmax(ceil(TIME_MARGIN * seconds / 60.0), LEAST_MINUTES);
    printf("%s=\"--nodes=%d --ntasks-per-node=%d --cpus-per-task=%d --mem=%.0fG "
           "--time=%02.0f:%02.0f:00\"\n",
           name, nodes, site->ranks, site->cores / site->ranks, gibibytes(bytes),
           floor(minutes / 60.0), fmod(minutes, 60.0));
}

/* The fewest nodes, of those that are there or twice as many again and again, that the stage fits
 * into; 0: none. */
static ald_status_t nodes_for(ald_planning_t *p, int s, bool recompute, int *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_plan_t *plan = &p->plan;
    const ald_plan_site_t site = plan->site;
    const ald_config_t *config = plan->config;
    ald_config_t changed = *config; /* its texts stay the plan's */
    changed.runtime.recompute = recompute;
    plan->config = &changed;
    *out = 0;
    for (int nodes = site.nodes; nodes <= NODES_MOST && *out == 0; nodes *= 2) {
        plan->site.nodes = nodes;
        ALD_TRY(ald_plan_promise(plan, &p->rates, (ald_plan_stage_t)s));
        if (MEMORY_MARGIN * plan->promise[s].node <= site.memory)
            *out = nodes;
    }
done:
    plan->site = site;
    plan->config = config;
    return status;
}

/* What a stage would take on one node, on which its job is. */
static ald_status_t on_one_node(ald_planning_t *p, ald_plan_stage_t s, ald_promise_t *out)
{
    ald_plan_t *plan = &p->plan;
    const ald_plan_site_t site = plan->site;
    const ald_promise_t whole = plan->promise[s];
    plan->site.nodes = 1;
    const ald_status_t status = ald_plan_promise(plan, &p->rates, s);
    *out = plan->promise[s];
    plan->promise[s] = whole;
    plan->site = site;
    return status;
}

/* RESOURCE unless the stage's nodes have the memory. */
static ald_status_t check(ald_planning_t *p, int s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_promise_t promise = p->plan.promise[s];
    const ald_plan_site_t *site = &p->plan.site;
    char needs[32], has[32], more[80] = "";
    int plain = 0, recomputed = 0;
    if (promise.stage == NULL || MEMORY_MARGIN * promise.node <= site->memory)
        return status;
    ALD_TRY(nodes_for(p, s, p->plan.config->runtime.recompute, &plain));
    ALD_TRY(nodes_for(p, s, true, &recomputed));
    if (plain > 0)
        snprintf(more, sizeof more, ", or %d such nodes", plain);
    if (recomputed > 0 && (plain == 0 || recomputed < plain))
        snprintf(more, sizeof more, ", or runtime.recompute=true on %d such nodes", recomputed);
    ald_plan_bytes(MEMORY_MARGIN * promise.node, needs);
    ALD_CHECK(
        false, ALD_STATUS_RESOURCE,
        "plan: %s takes %s on a node, a margin of %g included, but a node has %s; nodes of %s%s "
        "would do",
        promise.stage, needs, MEMORY_MARGIN, ald_plan_bytes(site->memory, has), needs, more);
done:
    return status;
}

/* Tasks of the score array: those that were asked for, else as many as take about p->task_hours;
 * *seconds: one of them. */
static ald_status_t choose_tasks(ald_planning_t *p, const ald_promise_t *score, int *tasks,
                                 double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_plan_t *plan = &p->plan;
    const double start = p->rates.start, hours = p->task_hours * 3600.0;
    const int64_t per_shard = plan->config->shards.sequences_per_shard;
    const double shards = ceil((double)score->sequences / (double)per_shard);
    ald_scored_tasks_t measured;
    double all = score->seconds;
    ALD_TRY(ald_plan_scored_tasks(plan->config->output, &measured));
    if (measured.sequences > 0.0)
        all = measured.seconds / measured.sequences * (double)score->sequences;
    printf("# %s: by %s\n", p->tasks > 0 ? "SCORE_SIZE" : "SCORE_TASKS",
           measured.sequences > 0.0 ? "the seconds of measured/score-*.json"
                                    : "the rates of this plan");
    if ((double)p->tasks > shards)
        printf("# SCORE_TASKS: %lld tasks find nothing to do, as there are %.0f shards\n",
               (long long)((double)p->tasks - shards), shards);
    *tasks = p->tasks > 0 ? (int)p->tasks : (int)fmin(fmax(ceil(all / hours), 1.0), shards);
    *seconds = start + all * ceil(shards / *tasks) / shards;
done:
    return status;
}

/* Behind what the site has the roles be, such as on-policy. */
static void print_roles(const ald_plan_t *plan)
{
    const ald_split_t *split = &plan->split;
    if (split->seconds == 0.0 || split->trainers == 0 || plan->split_is_set)
        puts("DISTILL_ROLES=\"${DISTILL_ROLES-}\"");
    else
        printf("# a role of 0 ranks shares those that no other role has\n"
               "DISTILL_ROLES=\"${DISTILL_ROLES-} roles.trainers=%d roles.scorers=%d "
               "roles.generators=%d\"\n",
               split->trainers, split->scorers, split->generators);
}

ald_status_t ald_plan_sbatch(ald_planning_t *p)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_plan_t *plan = &p->plan;
    const ald_promise_t *promise = plan->promise;
    const ald_plan_site_t *site = &plan->site;
    ald_promise_t alone;
    for (int s = 0; s < ALD_PLAN_STAGES; ++s)
        ALD_TRY(check(p, s));
    printf("# aligndistil plan --sbatch: memory x %g, time x %g and %d minutes at least%s\n",
           MEMORY_MARGIN, TIME_MARGIN, LEAST_MINUTES,
           ald_plan_is_rough(p, true) ? "; time is assumed or extrapolated" : "");
    ald_plan_print_idle(plan, '#');
    if (promise[ALD_PLAN_SFT].stage != NULL)
        print_size("SFT_SIZE", site, site->nodes, promise[ALD_PLAN_SFT].node,
                   promise[ALD_PLAN_SFT].seconds);
    if (promise[ALD_PLAN_DPO].stage != NULL)
        print_size("DPO_SIZE", site, site->nodes, promise[ALD_PLAN_DPO].node,
                   promise[ALD_PLAN_DPO].seconds);
    if (promise[ALD_PLAN_SCORE].stage != NULL) {
        int tasks;
        double seconds;
        ALD_TRY(on_one_node(p, ALD_PLAN_SCORE, &alone));
        ALD_TRY(choose_tasks(p, &alone, &tasks, &seconds));
        print_size("SCORE_SIZE", site, 1, alone.node, seconds);
        printf("SCORE_TASKS=%d\n", tasks);
    }
    if (promise[ALD_PLAN_DISTILL].stage != NULL) {
        print_size("DISTILL_SIZE", site, site->nodes, promise[ALD_PLAN_DISTILL].node,
                   promise[ALD_PLAN_DISTILL].seconds);
        print_roles(plan);
    }
    if (promise[ALD_PLAN_EVAL].stage != NULL) {
        printf("# EVAL_SIZE: its job evaluates %d models one after the other, on one node\n",
               EVALUATIONS);
        ALD_TRY(on_one_node(p, ALD_PLAN_EVAL, &alone));
        print_size("EVAL_SIZE", site, 1, alone.node, EVALUATIONS * alone.seconds);
    }
done:
    return status;
}
