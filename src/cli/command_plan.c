/* plan: what a configuration will cost before it runs. The arithmetic is in src/plan; here are the
 * described nodes, where the rates come from, and which report is wanted. */
#include <stdlib.h>
#include <string.h>

#include "ald/base/log.h"
#include "ald/base/memory.h"
#include "ald/base/status.h"
#include "ald/bench/calibrate.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/plan/cost.h"
#include "ald/plan/stages.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"
#include "cli/plan_impl.h"
#include "cli/setup_impl.h"

#define SAMPLED 3e7 /* parameters of a model that answers in seconds */

/* The nodes that the options describe; what they leave out is as it is here. */
static ald_status_t read_site(const ald_options_t *options, int cores, ald_plan_site_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_plan_site_t){.nodes = options->nodes > 0 ? (int)options->nodes : 1,
                             .ranks = options->ranks > 0 ? (int)options->ranks : 1,
                             .cores = options->cores > 0 ? (int)options->cores : cores,
                             .memory = (double)ald_memory_available()};
    if (options->memory != NULL)
        out->memory = (double)ald_config_bytes(options->memory);
    ALD_CHECK(out->memory > 0.0, ALD_STATUS_USAGE,
              "--memory %s: expected a size, as in 256GB or 64GiB", options->memory);
    ALD_CHECK(out->ranks <= out->cores, ALD_STATUS_USAGE,
              "--ranks %d: expected at most the %d cores of a node", out->ranks, out->cores);
done:
    return status;
}

static ald_status_t read_hours(const char *text, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *end = NULL;
    *out = 1.0;
    if (text == NULL)
        return status;
    *out = strtod(text, &end);
    ALD_CHECK(end != text && *end == '\0' && *out >= 0.01 && *out <= 1e4, ALD_STATUS_USAGE,
              "--task-hours %s: expected a number from 0.01 to 10000", text);
done:
    return status;
}

/* Measures on this machine's threads; a rank that has more is taken to be faster by as much. */
static ald_status_t calibrate(ald_planning_t *p, int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_plan_t *plan = &p->plan;
    const double response = plan->train.chosen > 0.0
                                ? plan->train.chosen
                                : (double)plan->config->sampling.max_new_tokens;
    const ald_calibration_t what = {.shape = &plan->policy.params.config,
                                    .config = plan->config,
                                    .prompt = (int64_t)plan->train.prompt + 1,
                                    .response = (int64_t)response + 1};
    ALD_TRY(ald_calibrate(&what, &p->rates));
    const int wanted = plan->site.cores / plan->site.ranks;
    if (wanted > threads)
        ald_rates_scale(&p->rates, (double)threads / wanted);
done:
    return status;
}

/* Samples answers; where that fails, nothing is known of their lengths. */
static void sample_answers(ald_planning_t *p)
{
    ald_trial_answers_t *answers = &p->answers;
    if (ald_trial_answers(p->plan.config, answers) != ALD_STATUS_OK)
        ald_log_warn("%s: no answers are sampled", ald_status_message());
    p->plan.train.answer = p->plan.eval.answer = answers->tokens;
    p->plan.train.answer_text = p->plan.eval.answer_text = answers->text;
}

static ald_status_t make(const ald_options_t *options, ald_planning_t *p, int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_rows_given_t given = {options->rows, options->prompt_tokens,
                                    options->response_tokens};
    ald_plan_t *plan = &p->plan;
    ALD_TRY(read_hours(options->task_hours, &p->task_hours));
    p->tasks = options->tasks;
    ALD_TRY(ald_plan_open(plan, &given));
    const double tokens = plan->train.prompt + plan->train.chosen;
    ald_rates_assume(&plan->policy.params, plan->train.chosen / (tokens > 0.0 ? tokens : 1.0),
                     plan->site.cores / plan->site.ranks, &p->rates);
    if (options->calibrate)
        ALD_TRY(calibrate(p, threads));
    if (options->calibrate && (double)plan->policy.params.total <= SAMPLED)
        sample_answers(p);
    for (int s = 0; s < ALD_PLAN_STAGES; ++s)
        ALD_TRY(ald_plan_promise(plan, &p->rates, (ald_plan_stage_t)s));
    if (options->compare != NULL)
        ALD_TRY(ald_plan_compare(p, options->compare, options->json));
    else if (options->sbatch)
        ALD_TRY(ald_plan_sbatch(p));
    else if (options->json)
        ALD_TRY(ald_plan_print_json(p));
    else
        ald_plan_print(p);
done:
    return status;
}

/* As many ranks as the configured roles ask for, where nothing says how many there are. */
static void take_roles(const ald_options_t *options, const ald_config_t *config,
                       ald_plan_site_t *site)
{
    const int64_t roles = config->roles.trainers + config->roles.scorers + config->roles.generators;
    if (options->ranks == 0 && roles > site->nodes)
        site->ranks = (int)((roles + site->nodes - 1) / site->nodes);
    if (site->cores < site->ranks)
        site->cores = site->ranks;
}

static ald_status_t plan_alone(const ald_options_t *options, const ald_plan_site_t *site,
                               int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t config = {0};
    ald_planning_t p = {.plan = {.site = *site, .model_config = options->shape}};
    ALD_TRY(ald_config_load(options->config, options->settings.data, (int)options->settings.count,
                            &config));
    p.plan.config = &config;
    take_roles(options, &config, &p.plan.site);
    ALD_TRY(make(options, &p, threads));
done:
    ald_plan_close(&p.plan);
    ald_config_reset(&config);
    return status;
}

/* Rank 0 plans; others have nothing to do. */
static ald_status_t run_plan(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_plan_site_t site;
    int threads = 0;
    ALD_TRY(ald_comm_agree(world, read_site(options, ald_comm_cores(world), &site)));
    const int cores = ald_comm_cores(world), wanted = site.cores / site.ranks;
    ALD_TRY(ald_setup_threads(wanted < cores ? wanted : cores, world, &threads));
    if (world->rank == 0)
        status = plan_alone(options, &site, threads);
    ALD_TRY(ald_comm_agree(world, status));
done:
    return status;
}

const ald_command_t ald_command_plan = {
    .bit = ALD_FOR_PLAN,
    .name = "plan",
    .summary = "memory, storage and time of a configuration's stages before they run",
    .help =
        "Reads the configuration, the shapes of its models and the lengths of its rows, where "
        "they\n"
        "are there, and prints what each stage will take on the described nodes. No weights are\n"
        "needed: a config.json is enough, and of a model that a stage will write, that of the "
        "model\n"
        "that it begins with. What isn't known exactly is marked \"~\", and said at the end.\n",
    .run = run_plan,
};
