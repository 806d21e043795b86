/* On-policy and mixed distillation. Each rank does what it is ready for: its blocks are scored, its
 * batch is sampled, and trainers go through the training loop, whose steps wait here for their
 * shards. The batch of a step is sampled from the version of the policy max_staleness steps before,
 * which bounds how far the roles come apart, and makes the result the same at any pace. */
#include "ald/role/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/objective/distill.h"
#include "ald/objective/objective.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/record/metrics.h"
#include "ald/role/folder.h"
#include "ald/role/reader.h"
#include "ald/role/monitor.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/expected.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"
#include "role/account_impl.h"
#include "role/blocks_impl.h"
#include "role/generating_impl.h"
#include "role/weights_impl.h"
#include "role/work_impl.h"

/* A batch on a trainer: its shards that have come. */
typedef struct {
    int64_t step, count, scorers; /* -1: none; number of paths; of scorers that have finished */
    char **paths;                 /* [batch_size] */
    ald_shift_t generators, scorer;
} shelf_t;

typedef struct {
    ald_roles_t *roles;
    ald_work_t work;
    ald_weights_t weights;
    ald_generating_t generating; /* generators */
    ald_blocks_t blocks;         /* scorers */
    /* What follows is of trainers. */
    ald_loop_t *loop;
    ald_monitor_t *monitor; /* of trainers; NULL: none */
    shelf_t *shelves;       /* a ring */
    ald_vec_t inbox;
    int64_t whole; /* the first step whose shards aren't all there */
    /* Of the step at hand. */
    ald_shardset_t set;
    ald_reader_t reader;
    int64_t *entries; /* owned */
    ald_shift_t training;
    double begun, queued; /* when it began; batches that were there beside it */
    ald_account_t account;
} state_t;

static int64_t lag_of(const state_t *s)
{
    return s->roles->config->distill.max_staleness;
}

/* Those of the steps up to max_staleness ahead, of the step at hand, and of the one that is just
 * being recorded while its update has gone to the generators. */
static int64_t shelves_of(const state_t *s)
{
    return lag_of(s) + 2;
}

static shelf_t *shelf_of(const state_t *s, int64_t step)
{
    return &s->shelves[step % shelves_of(s)];
}

/* --- what a rank does ------------------------------------------------------------------------- */

/* Puts a shard that a scorer has finished on its shelf. */
static ald_status_t put(state_t *s, const ald_vec_t *message)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_step_t head;
    memcpy(&head, message->data, sizeof head);
    const char *path = (const char *)message->data + sizeof head;
    shelf_t *shelf = shelf_of(s, head.step);
    if (shelf->step < 0)
        *shelf = (shelf_t){.step = head.step, .paths = shelf->paths};
    ALD_CHECK(shelf->step == head.step, ALD_STATUS_INTERNAL,
              "a shard of step %lld came before that of step %lld was used",
              (long long)head.step + 1, (long long)shelf->step + 1);
    ald_shift_join(&shelf->scorer, &head.scorer);
    shelf->generators = head.generators;
    shelf->scorers += 1;
    if (path[0] == '\0')
        goto done;
    shelf->paths[shelf->count] = ald_strdup(path);
    ALD_CHECK(shelf->paths[shelf->count++] != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    return status;
}

static ald_status_t take_shards(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *world = s->roles->world;
    int from;
    while (ald_message_there(world, MPI_ANY_SOURCE, ALD_TAG_SHARD, &from)) {
        ALD_TRY(ald_message_receive(world, from, ALD_TAG_SHARD, &s->inbox));
        ALD_TRY(put(s, &s->inbox));
    }
    while (s->whole < s->work.steps && shelf_of(s, s->whole)->step == s->whole &&
           shelf_of(s, s->whole)->scorers == s->roles->place.scorers.count)
        s->whole += 1;
done:
    return status;
}

static ald_status_t look(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_work_look(&s->work));
    if (s->roles->scores)
        ALD_TRY(ald_blocks_look(&s->blocks));
    if (s->roles->trains)
        ALD_TRY(take_shards(s));
done:
    return status;
}

/* Whom this rank waits for when it has nothing to do. */
static void idle(const state_t *s, double since, int *looks)
{
    const ald_placement_t *place = &s->roles->place;
    const ald_ranks_t *peers = s->roles->trains   ? &place->scorers
                               : s->roles->scores ? &place->generators
                                                  : &place->trainers;
    const int tag = s->roles->trains   ? ALD_TAG_SHARD
                    : s->roles->scores ? ALD_TAG_SAMPLES
                                       : ALD_TAG_WEIGHTS;
    char whom[48], what[32];
    snprintf(whom, sizeof whom, peers->count == 1 ? "rank %d" : "ranks %d to %d", peers->first,
             peers->first + peers->count - 1);
    snprintf(what, sizeof what, "a message of tag %d", tag);
    ald_comm_idle(since, looks, whom, what);
}

/* Does what this rank's roles are ready for until `is_done` says so of `step`. A failure is told to
 * the other ranks. */
static ald_status_t serve(state_t *s, bool (*is_done)(const state_t *, int64_t), int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = s->roles;
    double since = 0.0; /* since when there is nothing to do; 0: there is */
    int looks = 0;
    for (;;) {
        ALD_TRY(look(s));
        const bool over = is_done(s, step), scores = roles->scores && ald_blocks_ready(&s->blocks);
        const bool works =
            over || scores || (roles->generates && ald_generating_ready(&s->generating));
        if (!works) {
            since = since == 0.0 ? ald_time() : since;
            idle(s, since, &looks);
            continue;
        }
        s->work.idle += since == 0.0 ? 0.0 : ald_time() - since;
        since = 0.0;
        looks = 0;
        if (over)
            break;
        ALD_TRY(scores ? ald_blocks_step(&s->blocks) : ald_generating_step(&s->generating));
    }
done:
    if (status != ALD_STATUS_OK)
        ald_work_tell(&s->work, status);
    return status;
}

/* A trainer's step can be taken: its shards are there, and this rank has sampled all that needs the
 * weights as they are. */
static bool may_train(const state_t *s, int64_t step)
{
    const int64_t needs = step + lag_of(s) + 1, end = needs < s->work.steps ? needs : s->work.steps;
    return s->whole > step && (!s->roles->generates || s->generating.next >= end);
}

/* All batches are there that versions before this one are needed for. */
static bool may_forget(const state_t *s, int64_t version)
{
    const int64_t needs = version + lag_of(s);
    return s->whole >= (needs < s->work.steps ? needs : s->work.steps);
}

static bool is_over(const state_t *s, int64_t step)
{
    (void)step;
    return s->work.ended;
}

/* --- the feed of the training loop ------------------------------------------------------------ */

/* By the numbers in the names, which are of one folder. */
static int compare_paths(const void *a, const void *b)
{
    const char *one = *(const char *const *)a, *two = *(const char *const *)b;
    const size_t m = strlen(one), n = strlen(two);
    return m != n ? (m > n) - (m < n) : strcmp(one, two);
}

/* Opens the shards of a step, all of whose sequences are its items. They came in any order: that of
 * the items decides where sequences have the same row and source. */
static ald_status_t open_step(state_t *s, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    shelf_t *shelf = shelf_of(s, step);
    const ald_shard_header_t expected = {.encoding = ALD_ENCODING_ANY,
                                         .contrast = roles->config->teacher.contrast};
    if (step < s->work.kept)
        ALD_TRY(ald_folder_find(roles->config, step, shelf->paths, &shelf->count));
    qsort(shelf->paths, (size_t)shelf->count, sizeof *shelf->paths, compare_paths);
    ALD_TRY(ald_shardset_open((const char *const *)shelf->paths, shelf->count, &expected, &s->set));
    s->entries = ald_alloc(sizeof *s->entries * (size_t)(s->set.count + 1));
    ALD_CHECK(s->entries != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < s->set.count; ++i)
        s->entries[i] = i;
    roles->distiller.set = &s->set;
    roles->distiller.policy_step = ald_shard_header(s->set.shards[0])->policy_step;
    ALD_TRY(ald_distiller_look(&roles->distiller));
    ALD_TRY(ald_reader_open(&roles->trainers, &s->set, &s->reader));
    ALD_TRY(ald_reader_plan(&s->reader, roles->config, s->entries, s->set.count));
done:
    return status;
}

static void close_step(state_t *s)
{
    ald_reader_close(&s->reader);
    ald_shardset_reset(&s->set);
    ald_free(s->entries);
    s->entries = NULL;
}

static ald_status_t ready(void *context, ald_run_t *run, int64_t step, ald_items_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    state_t *s = context;
    (void)run;
    ALD_TRY(serve(s, may_train, step));
    s->loop->stop = s->loop->stop || s->work.stopped;
    s->training = (ald_shift_t){.wait = ald_work_idle(&s->work)};
    s->queued = (double)(s->whole - step - 1);
    s->begun = ald_time();
    ALD_TRY(open_step(s, step));
    const int64_t per_epoch = ald_epoch_steps(s->roles->config, s->roles->data.pairs.count);
    *out = (ald_items_t){.step = step,
                         .item = s->entries,
                         .count = s->set.count,
                         .epoch = (double)(step + 1) / (double)per_epoch};
done:
    if (status != ALD_STATUS_OK)
        ald_work_tell(&s->work, status);
    return status;
}

/* Between two micro-batches MPI gets its turn to move what this rank has sent. */
static ald_status_t read_items(void *context, const ald_items_t *items, int64_t first,
                               int64_t count, ald_arena_t *arena, const void **out)
{
    state_t *s = context;
    ald_post_look(&s->work.post);
    return ald_reader_read(&s->reader, items, first, count, arena, out);
}

static void update(void *context)
{
    state_t *s = context;
    ald_weights_sent(&s->weights);
}

static void updated(void *context, int64_t version)
{
    state_t *s = context;
    ald_weights_send(&s->weights, version);
    s->training.work = ald_time() - s->begun;
}

static ald_status_t hold(void *context, int64_t version)
{
    return serve(context, may_forget, version);
}

/* Sets the longest work and wait of each role for this step, and how much waited to be worked on.
 */
static ald_status_t metrics(void *context, ald_run_t *run, const ald_items_t *items,
                            ald_metrics_t *out)
{
    state_t *s = context;
    const shelf_t *shelf = shelf_of(s, items->step);
    double trainer[] = {s->training.work, s->training.wait, s->queued};
    (void)run;
    MPI_Allreduce(MPI_IN_PLACE, trainer, 3, MPI_DOUBLE, MPI_MAX, s->roles->trainers.mpi);
    const ald_shift_t shifts[ALD_ROLE_COUNT] = {
        [ALD_ROLE_GENERATOR] = shelf->generators,
        [ALD_ROLE_SCORER] = shelf->scorer,
        [ALD_ROLE_TRAINER] = {.work = trainer[0], .wait = trainer[1]}};
    ald_account_add(&s->account, shifts, out);
    ald_metrics_set(out, "queue/batches", trainer[2]);
    if (items->step == 0)
        ald_dataset_metrics(&s->roles->data, out);
    return ALD_STATUS_OK;
}

static void clear(shelf_t *shelf)
{
    for (int64_t i = 0; i < shelf->count; ++i)
        ald_free(shelf->paths[i]);
    shelf->count = 0;
    shelf->step = -1;
}

/* Removes shards that aren't to be kept, except those that a run needs which goes on from the
 * newest checkpoint. Root only. */
static ald_status_t forget_shards(const state_t *s)
{
    const ald_config_t *config = s->roles->config;
    const ald_engine_t *engine = &s->roles->engine;
    const bool over = engine->step >= engine->steps || config->checkpoint.every_steps == 0;
    const int64_t before = (over ? engine->step : engine->saved) - config->shards.keep;
    return config->shards.keep == ALD_KEEP_ALL || before <= 0 ? ALD_STATUS_OK
                                                              : ald_folder_forget(config, before);
}

static void taken(void *context, int64_t step, ald_status_t status)
{
    state_t *s = context;
    close_step(s);
    clear(shelf_of(s, step));
    if (status == ALD_STATUS_OK && s->roles->world->rank == 0 && forget_shards(s) != ALD_STATUS_OK)
        ald_log_warn("%s", ald_status_message());
}

/* --- begin and end ---------------------------------------------------------------------------- */

/* Allocates what this rank needs for its roles. Local. */
static ald_status_t prepare(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    ALD_TRY(ald_work_init(roles, &s->work));
    ALD_TRY(ald_weights_init(roles, &s->weights));
    if (roles->generates)
        ALD_TRY(ald_generating_init(&s->work, &s->weights, &s->generating));
    if (roles->scores) {
        strcpy(roles->scorer.header.sha256_data, roles->data.pairs.sha256);
        strcpy(roles->scorer.header.chat_format, roles->data.chat.name);
        ALD_TRY(ald_blocks_init(&s->work, &s->blocks));
    }
    if (!roles->trains)
        goto done;
    s->shelves = ald_calloc((size_t)shelves_of(s), sizeof *s->shelves);
    ALD_CHECK(s->shelves != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < shelves_of(s); ++i) {
        s->shelves[i].step = -1;
        s->shelves[i].paths =
            ald_calloc((size_t)roles->config->optimizer.batch_size, sizeof(char *));
        ALD_CHECK(s->shelves[i].paths != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
    if (roles->world->rank == 0)
        ALD_TRY(ald_folder_clear(roles->config, INT64_MAX));
done:
    return status;
}

/* Counts the batches that a stopped run has made and this one hasn't trained on yet. Root only. */
static ald_status_t count_batches(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = s->roles->config;
    ald_work_t *work = &s->work;
    ald_shard_header_t expected;
    ald_draw_t draw;
    bool whole = true;
    ALD_TRY(ald_draw_init(s->roles, work->order, &draw));
    ALD_TRY(ald_teacher_expected(config, &expected));
    while (whole && work->kept < work->steps) {
        const int64_t version = work->kept - lag_of(s);
        expected.policy_step = version > 0 ? version : 0;
        ald_draw_step(&draw, work->kept);
        ALD_TRY(ald_folder_has(config, work->kept, draw.count, &expected, &whole));
        work->kept += whole;
    }
done:
    ald_draw_reset(&draw);
    return status;
}

/* Takes over those batches, so that going on gives what never stopping gives, and none of them is
 * sampled twice; removes all other shards to come. Root only. */
static ald_status_t keep_batches(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = s->roles->config;
    const ald_json_t *recipe = s->roles->engine.recipe;
    ald_work_t *work = &s->work;
    const int64_t begin = work->begin, lag = lag_of(s);
    work->kept = begin;
    if (config->checkpoint.resume && ald_folder_is_of(config, recipe, begin > 0))
        ALD_TRY(count_batches(s));
    ALD_TRY(ald_folder_clear(config, work->kept * config->optimizer.batch_size));
    ALD_TRY(ald_folder_claim(config, recipe));
    if (work->kept > begin)
        ald_log_info("distill: batches of steps %lld to %lld are there already",
                     (long long)begin + 1, (long long)work->kept);
    const int64_t needed = begin + lag < work->steps ? begin + lag : work->steps;
    if (begin > 0 && work->kept < needed)
        ald_log_warn("%s: the shards of steps %lld to %lld, which the stopped run had made, are "
                     "gone: they are made again, from the policy after step %lld",
                     config->shards.directory, (long long)work->kept + 1, (long long)needed,
                     (long long)begin);
done:
    return status;
}

/* Finds the step that this run goes on from, and the batches that are there. Collective over the
 * world. */
static ald_status_t begin(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    ald_work_t *work = &s->work;
    if (roles->trains)
        status = ald_engine_begin(&roles->engine,
                                  ald_total_steps(roles->config, roles->data.pairs.count));
    if (roles->trains && status == ALD_STATUS_OK)
        status = ald_monitor_open(&roles->engine, &s->monitor);
    s->loop->watch = s->monitor != NULL ? ald_monitor_watch : NULL;
    s->loop->watcher = s->monitor;
    ALD_TRY(ald_comm_agree(roles->world, status));
    work->begin = roles->engine.step;
    work->steps = roles->engine.steps;
    MPI_Bcast(&work->begin, 1, MPI_INT64_T, 0, roles->world->mpi);
    MPI_Bcast(&work->steps, 1, MPI_INT64_T, 0, roles->world->mpi);
    if (roles->world->rank == 0)
        status = keep_batches(s);
    ALD_TRY(ald_comm_agree(roles->world, status));
    MPI_Bcast(&work->kept, 1, MPI_INT64_T, 0, roles->world->mpi);
    s->whole = s->generating.next = s->blocks.next = work->kept;
    if (work->kept < work->steps) {
        s->weights.first = ald_work_version(work, work->kept);
        s->weights.last = ald_work_version(work, work->steps - 1);
    }
    if (roles->trains)
        ald_weights_send(&s->weights, work->begin);
done:
    return status;
}

/* Collective over the world. */
static void reset(state_t *s)
{
    close_step(s);
    ald_monitor_close(s->monitor);
    ald_weights_reset(&s->weights);
    if (s->roles->generates)
        ald_generating_reset(&s->generating);
    if (s->roles->scores)
        ald_blocks_reset(&s->blocks);
    ald_work_end(&s->work);
    for (int64_t i = 0; s->shelves != NULL && i < shelves_of(s); ++i) {
        clear(&s->shelves[i]);
        ald_free(s->shelves[i].paths);
    }
    ald_free(s->shelves);
    ald_vec_reset(&s->inbox);
}

ald_status_t ald_roles_run(ald_roles_t *roles, ald_status_t (*say)(const ald_roles_t *roles))
{
    ald_status_t status = ALD_STATUS_OK;
    state_t s = {.roles = roles};
    ald_run_t run = {.objective = ald_objective(ALD_OBJECTIVE_DISTILL),
                     .state = &roles->distiller,
                     .engine = &roles->engine};
    ald_loop_t loop = {.name = "distill",
                       .trainers = &roles->trainers,
                       .feed = {&s, ready, read_items, update, updated, hold, metrics, taken},
                       .runs = &run,
                       .count = 1};
    s.loop = &loop;
    ald_vec_init(&s.inbox, 1);
    ALD_TRY(ald_comm_agree(roles->world, prepare(&s)));
    ALD_TRY(begin(&s));
    ALD_TRY(ald_comm_agree(roles->world, say(roles)));
    status = roles->trains ? ald_loop_run(&loop) : serve(&s, is_over, 0);
    if (roles->world->rank == 0)
        ald_work_tell(&s.work, status);
    if (roles->world->rank == 0)
        ald_account_say(&s.account, &roles->place, lag_of(&s), ald_time() - roles->engine.started);
done:
    ald_loop_reset(&loop);
    reset(&s);
    return ald_comm_agree(roles->world, status);
}
