/* The stage that `distill --sweep` runs: several runs over one set of shards. They are taken
 * together, as many as memory allows, so that what is read is read once. */
#include "ald/pipeline/stage_sweep.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/memory.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/config/sweep.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/objective/distill.h"
#include "ald/objective/objective.h"
#include "ald/objective/guard.h"
#include "ald/objective/policy_gradient.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/plan/memory.h"
#include "ald/role/placement.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/expected.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"
#include "ald/train/finished.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"
#include "pipeline/corpus_feed_impl.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/sweep_table_impl.h"

/* What a run needs while it is in memory. */
typedef struct {
    const ald_sweep_run_t *run;
    ald_engine_t engine;
    ald_distiller_t distiller;
    ald_mix_t mix;
    bool open; /* in memory */
} lane_t;

typedef struct {
    const ald_config_t *config;
    const ald_sweep_t *sweep;
    ald_comm_t trainers;
    ald_corpus_t corpus;
    ald_json_t **recipes; /* [count] of the runs that haven't begun; root only */
    bool *kept;           /* [count] whether an earlier call has finished the run */
    lane_t *lanes;        /* [count] those of the runs that are taken together come first */
    ald_run_t *runs;      /* [count] the same runs as the loop takes them */
    ald_sweep_counts_t counts;
} sweep_t;

/* Finds the runs that are finished. Collective over the trainers. */
static ald_status_t look_at_runs(sweep_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < s->sweep->count && status == ALD_STATUS_OK; ++i) {
        const ald_sweep_run_t *run = &s->sweep->runs[i];
        const ald_made_t made = {.stage = run->name, .output = run->config.distill.output};
        ALD_TRY(ald_distill_recipe(&s->trainers, &run->config, &s->corpus, &s->recipes[i]));
        status = ald_finished(&s->trainers, &run->config, &made, s->recipes[i], &s->kept[i]);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "run %s", run->name);
    }
done:
    return status;
}

/* INPUT unless the shards, which were opened for the first run, fit a later one too. The data file
 * is the same for all. */
static ald_status_t fits_run(const sweep_t *s, const ald_sweep_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t expected;
    ald_config_t config = run->config; /* its texts stay owned by the run */
    config.data.train = "";
    ALD_TRY(ald_teacher_expected(&config, &expected));
    ALD_TRY(ald_shard_fits(s->corpus.set.paths[0], ald_shard_header(s->corpus.set.shards[0]),
                           &expected));
done:
    return status;
}

/* Opens the shards, and compares them with the configuration of every run. */
static ald_status_t open_corpus(sweep_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t expected;
    ALD_TRY(ald_teacher_expected(&s->sweep->runs[0].config, &expected));
    ALD_TRY(ald_corpus_open(s->config, &expected, &s->corpus));
    for (int64_t i = 0; i < s->sweep->count && status == ALD_STATUS_OK; ++i) {
        const ald_sweep_run_t *run = &s->sweep->runs[i];
        status = i == 0 ? ALD_STATUS_OK : fits_run(s, run);
        if (status == ALD_STATUS_OK)
            status = ald_distiller_fits(&run->config, &s->corpus.set);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "run %s", run->name);
    }
done:
    return status;
}

static ald_status_t sweep_alloc(sweep_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t count = (size_t)s->sweep->count;
    s->recipes = ald_calloc(count, sizeof *s->recipes);
    s->kept = ald_calloc(count, sizeof *s->kept);
    s->lanes = ald_calloc(count, sizeof *s->lanes);
    s->runs = ald_calloc(count, sizeof *s->runs);
    ALD_CHECK(s->recipes != NULL && s->kept != NULL && s->lanes != NULL && s->runs != NULL,
              ALD_STATUS_RESOURCE, "out of memory: %zu runs", count);
done:
    return status;
}

/* Collective over the trainers, as are all below. */
static ald_status_t sweep_init(sweep_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    status = sweep_alloc(s);
    if (status == ALD_STATUS_OK)
        status = open_corpus(s);
    if (status == ALD_STATUS_OK && s->trainers.rank == 0)
        status = ald_dir_make(s->config->distill.output);
    if (status == ALD_STATUS_OK && s->trainers.rank == 0)
        status = ald_dir_sweep(s->config->distill.output);
    ALD_TRY(ald_comm_agree(&s->trainers, status));
    ALD_TRY(look_at_runs(s));
    ald_corpus_report(&s->corpus);
    ald_positions_warn((const char *const *)&s->config->distill.policy, 1,
                       ald_longest_entry(&s->corpus.set));
done:
    return status;
}

static void sweep_reset(sweep_t *s)
{
    for (int64_t i = 0; i < s->sweep->count && s->recipes != NULL; ++i)
        ald_json_free(s->recipes[i]);
    ald_free(s->recipes);
    ald_free(s->kept);
    ald_free(s->lanes);
    ald_free(s->runs);
    ald_corpus_reset(&s->corpus);
    ald_comm_free(&s->trainers);
}

/* --- one group of runs, in memory together ---------------------------------------------------- */

static ald_status_t lane_open(sweep_t *s, lane_t *lane)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = &lane->run->config;
    lane->open = true;
    ALD_TRY(ald_engine_init(config, &s->trainers, "distill", config->distill.policy,
                            config->distill.output, &lane->engine));
    ald_distiller_init(&lane->engine, &lane->distiller);
    lane->distiller.set = &s->corpus.set;
    status = ald_corpus_mix(&s->corpus, config, &lane->mix);
    if (status == ALD_STATUS_OK)
        status = ald_distiller_vocabulary(&lane->distiller, &s->corpus.set);
    ALD_TRY(ald_comm_agree(&s->trainers, status));
    ald_json_t **recipe = &s->recipes[lane->run - s->sweep->runs];
    lane->engine.recipe = *recipe;
    *recipe = NULL;
    ALD_TRY(ald_engine_begin(&lane->engine, ald_total_steps(config, s->corpus.set.count)));
    lane->engine.progress.name = lane->run->name;
done:
    return status;
}

static void lane_close(lane_t *lane)
{
    if (!lane->open)
        return;
    ald_distiller_reset(&lane->distiller);
    ald_engine_reset(&lane->engine);
    ald_mix_reset(&lane->mix);
    lane->open = false;
}

/* Writes the results of a run that has taken its last step, and gives its memory back. */
static ald_status_t finish_run(void *context, ald_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    sweep_t *s = context;
    lane_t *lane = s->lanes;
    while (&lane->engine != run->engine)
        ++lane;
    run->engine = NULL;
    ALD_TRY(ald_engine_finish(&lane->engine, ald_distill_inputs(&lane->run->config)));
    lane_close(lane);
done:
    return status;
}

/* The largest batch_size of the runs. */
static int64_t most_items(const lane_t *lanes, int64_t n)
{
    int64_t most = 0;
    for (int64_t k = 0; k < n; ++k) {
        const int64_t batch = lanes[k].run->config.optimizer.batch_size;
        most = batch > most ? batch : most;
    }
    return most;
}

/* Trains runs that are in memory together over one feed; `later`: steps of those that follow. */
static ald_status_t run_group(sweep_t *s, int64_t n, int64_t later)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_corpus_feed_t feed = {0};
    ald_loop_t loop = {.name = "sweep",
                       .trainers = &s->trainers,
                       .runs = s->runs,
                       .count = n,
                       .later = later,
                       .finish = finish_run,
                       .context = s};
    for (int64_t k = 0; k < n; ++k) {
        ALD_TRY(lane_open(s, &s->lanes[k]));
        s->runs[k] = (ald_run_t){.objective = ald_objective(ALD_OBJECTIVE_DISTILL),
                                 .state = &s->lanes[k].distiller,
                                 .engine = &s->lanes[k].engine,
                                 .order = &s->lanes[k].mix};
    }
    status =
        ald_corpus_feed_init(&s->corpus, NULL, &s->trainers, false, most_items(s->lanes, n), &feed);
    ALD_TRY(ald_comm_agree(&s->trainers, status));
    loop.feed = ald_corpus_feed(&feed);
    status = ald_loop_run(&loop);
    s->counts.sequences_read += feed.reader.sequences_read;
    s->counts.sequences_used += s->trainers.rank == 0 ? feed.used : 0;
done:
    ald_loop_reset(&loop);
    ald_corpus_feed_reset(&feed);
    for (int64_t k = 0; k < n; ++k)
        lane_close(&s->lanes[k]);
    return status;
}

/* --- groups ----------------------------------------------------------------------------------- */

/* The bytes that a run holds on a rank. */
static ald_status_t run_bytes(const ald_config_t *config, int ranks, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ald_params_t params = {0};
    ALD_TRY(ald_model_config_read(config->distill.policy, &shape));
    ALD_TRY(ald_params_init(&shape, &params));
    *out = ald_memory_trained(params.total, ranks);
done:
    ald_params_reset(&params);
    return status;
}

/* The bytes that this rank may take for runs: its part of four fifths of what the node has left.
 * The last fifth is for what is read ahead, for the system and for an estimate that is too low. */
static double rank_budget(const sweep_t *s)
{
    ald_comm_t node;
    ald_comm_node(&s->trainers, &node);
    double budget = 0.8 * (double)ald_memory_available() / (double)node.size;
    ald_comm_free(&node);
    return budget;
}

/* How many of the runs `wanted` (indices) this rank can take together: as many as fit beside one
 * more, whose place activations and checkpoints take; at least one. */
static ald_status_t group_size(const sweep_t *s, const int64_t *wanted, int64_t count,
                               double budget, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double held = 0.0, bytes = 0.0;
    int64_t fits = 0;
    for (; fits < count; ++fits) {
        if (s->sweep->at_once > 0 && fits == s->sweep->at_once)
            break;
        ALD_TRY(run_bytes(&s->sweep->runs[wanted[fits]].config, s->trainers.size, &bytes));
        held += fits == 0 ? 2.0 * bytes : bytes;
        if (s->sweep->at_once == 0 && fits > 0 && held > budget)
            break;
    }
done:
    *out = fits;
    return status;
}

/* STOPPED when there is no time for a step of `size` more runs, or a signal came. Collective. */
static ald_status_t check_stop(const sweep_t *s, int64_t finished, int64_t size, int64_t count,
                               double begun)
{
    const ald_stop_work_t work = {.stage = "sweep",
                                  .unit = "run",
                                  .at = finished,
                                  .total = count,
                                  .left = count - finished,
                                  .done = finished,
                                  .seconds = ald_time() - begun};
    const ald_stop_t why = ald_stop_agree(&s->trainers, ald_stop_due(work.left, size));
    return why == ALD_STOP_NO ? ALD_STATUS_OK : ald_stop_raise(why, &work);
}

/* The steps of runs, as far as is known before they begin. */
static int64_t steps_of(const sweep_t *s, const int64_t *wanted, int64_t count)
{
    int64_t steps = 0;
    for (int64_t i = 0; i < count; ++i)
        steps += ald_total_steps(&s->sweep->runs[wanted[i]].config, s->corpus.set.count);
    return steps;
}

/* Trains the runs that aren't finished, group by group. */
static ald_status_t run_groups(sweep_t *s, const int64_t *wanted, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const double begun = ald_time();
    for (int64_t first = 0, size = 0; first < count; first += size) {
        double budget = rank_budget(s);
        status = group_size(s, wanted + first, count - first, budget, &size);
        ALD_TRY(ald_comm_agree(&s->trainers, status));
        MPI_Allreduce(MPI_IN_PLACE, &size, 1, MPI_INT64_T, MPI_MIN, s->trainers.mpi);
        if (first > 0)
            ALD_TRY(check_stop(s, first, size, count, begun));
        ald_log_info("sweep: runs %lld to %lld of %lld in memory together, of %.0f MiB for them on "
                     "rank 0",
                     (long long)first + 1, (long long)(first + size), (long long)count,
                     budget / 1048576.0);
        for (int64_t k = 0; k < size; ++k)
            s->lanes[k] = (lane_t){.run = &s->sweep->runs[wanted[first + k]]};
        const int64_t end = first + size;
        ALD_TRY(run_group(s, size, steps_of(s, wanted + end, count - end)));
    }
done:
    return status;
}

static ald_status_t sweep_run(sweep_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t count = 0, *wanted = ald_calloc((size_t)s->sweep->count, sizeof *wanted);
    if (wanted == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(&s->trainers, status));
    for (int64_t i = 0; i < s->sweep->count; ++i)
        if (!s->kept[i])
            wanted[count++] = i;
    ald_log_info("sweep: %lld runs, of which %lld are finished already", (long long)s->sweep->count,
                 (long long)(s->sweep->count - count));
    if (count > 0 && s->trainers.rank == 0)
        status = ald_sweep_table_remove(s->config->distill.output);
    ALD_TRY(ald_comm_agree(&s->trainers, status));
    ALD_TRY(run_groups(s, wanted, count));
    MPI_Allreduce(MPI_IN_PLACE, &s->counts.sequences_read, 1, MPI_INT64_T, MPI_SUM,
                  s->trainers.mpi);
    if (s->trainers.rank == 0)
        status = ald_sweep_table(s->config->distill.output, s->sweep, &s->counts);
    ALD_TRY(ald_comm_agree(&s->trainers, status));
done:
    ald_free(wanted);
    return status;
}

static ald_status_t check_signals(const ald_sweep_t *sweep)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < sweep->count && status == ALD_STATUS_OK; ++i) {
        status = ald_policy_gradient_check(&sweep->runs[i].config);
        if (status == ALD_STATUS_OK)
            status = ald_guard_check(&sweep->runs[i].config);
        if (status == ALD_STATUS_OK)
            status = ald_teacher_check(&sweep->runs[i].config);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "run %s", sweep->runs[i].name);
    }
    return status;
}

ald_status_t ald_stage_sweep(const ald_config_t *config, const ald_sweep_t *sweep,
                             const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    sweep_t s = {.config = config, .sweep = sweep, .trainers = {.mpi = MPI_COMM_NULL}};
    ald_placement_t place;
    ALD_CHECK(config->distill.policy[0] != '\0', ALD_STATUS_USAGE,
              "distill.policy: not set; expected a model directory");
    ALD_CHECK(config->distill.mode == ALD_MODE_OFF_POLICY, ALD_STATUS_USAGE,
              "--sweep: distill.mode is \"%s\"; expected \"off-policy\": all runs share one set of "
              "shards",
              ald_choice_name(ALD_CHOICES_MODES, config->distill.mode));
    ALD_TRY(check_signals(sweep));
    for (int64_t i = 0; i < sweep->count; ++i)
        ALD_TRY(ald_distill_claim(world, &sweep->runs[i].config, false));
    ALD_TRY(ald_placement_make(config, world->size, &place));
    ald_comm_subset(world, ald_ranks_have(&place.trainers, world->rank), &s.trainers);
    if (s.trainers.size > 0)
        status = sweep_init(&s);
    if (s.trainers.size > 0 && status == ALD_STATUS_OK)
        status = sweep_run(&s);
    ALD_TRY(ald_comm_agree(world, status));
done:
    sweep_reset(&s);
    return status;
}
