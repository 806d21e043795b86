/* On-policy and mixed distillation. The batch of step s + max_staleness is made when step s is due,
 * from the policy as it is then; all ranks agree at the end of every step. */
#include "ald/role/loop.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/objective/distill.h"
#include "ald/objective/objective.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/role/batch.h"
#include "ald/role/folder.h"
#include "ald/role/generator.h"
#include "ald/role/reader.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/expected.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"

/* Batches that are made and not yet trained on wait in a ring. */
typedef struct {
    char **paths;   /* [batch_size] */
    int64_t shards; /* number of paths that are set */
} slot_t;

typedef struct {
    ald_roles_t *roles;
    ald_batch_maker_t maker;
    ald_comm_t weights;        /* rank 0 of the trainers and the generators that don't train */
    int64_t made, kept, steps; /* the first batch that isn't made yet; the first that wasn't there
                                  at the start; number of all steps */
    slot_t *ring;              /* [max_staleness + 1] */
    /* What follows is of the step at hand, on trainers. */
    ald_shardset_t set;
    ald_reader_t reader;
    int64_t *entries; /* owned */
} state_t;

static slot_t *slot_of(const state_t *s, int64_t step)
{
    return &s->ring[step % (s->roles->config->distill.max_staleness + 1)];
}

/* Sends the policy of the trainers to the generators that don't train. */
static void share_weights(state_t *s)
{
    ald_roles_t *roles = s->roles;
    const double begun = ald_time();
    if (s->weights.size > 1) {
        float *values = roles->trains ? roles->engine.values : roles->policy;
        const int64_t total =
            roles->trains ? roles->engine.params.total : roles->policy_params.total;
        ald_comm_broadcast(&s->weights, values, sizeof(float) * (size_t)total, 0);
    }
    if (roles->generates && !roles->trains)
        s->maker.waits.generate += ald_time() - begun;
}

/* Ends the work of a batch or a step on all ranks. A generator that doesn't train has nothing to
 * do from its last sample on until the trainers have stepped. */
static ald_status_t settle(void *context, ald_status_t status)
{
    state_t *s = context;
    const double begun = ald_time();
    ald_batch_sent(&s->maker);
    status = ald_comm_agree(s->roles->world, status);
    if (s->roles->generates && !s->roles->trains)
        s->maker.waits.generate += ald_time() - begun;
    return status;
}

/* Makes the next batch, or takes over that of the run that was stopped. */
static ald_status_t next_batch(state_t *s)
{
    const int64_t step = s->made++;
    slot_t *slot = slot_of(s, step);
    if (step >= s->kept)
        return ald_batch_make(&s->maker, step, slot->paths, &slot->shards);
    return s->roles->trains ? ald_folder_find(s->roles->config, step, slot->paths, &slot->shards)
                            : ALD_STATUS_OK;
}

/* Opens the shards of a step, all of whose sequences are its items. */
static ald_status_t open_step(state_t *s, const slot_t *slot)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    const ald_shard_header_t expected = {.encoding = ALD_ENCODING_ANY,
                                         .contrast = roles->config->teacher.contrast};
    ALD_TRY(ald_shardset_open((const char *const *)slot->paths, slot->shards, &expected, &s->set));
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

/* Makes all batches that may be made now. The last one is settled together with the step, the
 * others here. */
static ald_status_t ready(void *context, ald_run_t *run, int64_t step, ald_items_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    state_t *s = context;
    const ald_config_t *config = s->roles->config;
    const int64_t wanted = step + config->distill.max_staleness + 1;
    const int64_t end = wanted < s->steps ? wanted : s->steps;
    while (s->made < end) {
        status = next_batch(s);
        if (s->made < end)
            status = settle(s, status);
        ALD_TRY(status);
    }
    if (run == NULL)
        goto done;
    ALD_TRY(open_step(s, slot_of(s, step)));
    const int64_t per_epoch = ald_epoch_steps(config, s->roles->data.pairs.count);
    *out = (ald_items_t){.step = step,
                         .item = s->entries,
                         .count = s->set.count,
                         .epoch = (double)(step + 1) / (double)per_epoch};
done:
    return status;
}

static ald_status_t read_items(void *context, const ald_items_t *items, int64_t first,
                               int64_t count, ald_arena_t *arena, const void **out)
{
    state_t *s = context;
    return ald_reader_read(&s->reader, items, first, count, arena, out);
}

/* Sets the longest wait of each role since the metrics of the step before. */
static ald_status_t metrics(void *context, ald_run_t *run, const ald_items_t *items,
                            ald_metrics_t *out)
{
    state_t *s = context;
    ald_waits_t *waits = &s->maker.waits;
    double longest[] = {waits->generate, waits->score, waits->train};
    MPI_Allreduce(MPI_IN_PLACE, longest, 3, MPI_DOUBLE, MPI_MAX, s->roles->world->mpi);
    *waits = (ald_waits_t){0};
    ald_metrics_set(out, "wait/generate", longest[0]);
    ald_metrics_set(out, "wait/score", longest[1]);
    ald_metrics_set(out, "wait/train", longest[2]);
    if (run != NULL && items->step == 0)
        ald_dataset_metrics(&s->roles->data, out);
    return ALD_STATUS_OK;
}

static void empty_slot(slot_t *slot, bool remove)
{
    for (int64_t i = 0; i < slot->shards; ++i) {
        if (remove)
            ald_dir_remove(slot->paths[i]);
        ald_free(slot->paths[i]);
    }
    slot->shards = 0;
}

static void taken(void *context, int64_t step, ald_status_t status)
{
    state_t *s = context;
    const ald_roles_t *roles = s->roles;
    close_step(s);
    empty_slot(slot_of(s, step),
               roles->world->rank == 0 && roles->config->shards.keep == ALD_KEEP_NONE);
    if (status == ALD_STATUS_OK)
        share_weights(s);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static ald_status_t alloc(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = s->roles->config;
    const int64_t slots = config->distill.max_staleness + 1;
    s->ring = ald_calloc((size_t)slots, sizeof *s->ring);
    ALD_CHECK(s->ring != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < slots; ++i) {
        s->ring[i].paths = ald_calloc((size_t)config->optimizer.batch_size, sizeof(char *));
        ALD_CHECK(s->ring[i].paths != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
    ALD_TRY(ald_batch_maker_init(s->roles, &s->maker));
done:
    return status;
}

/* Allocates and loads what this rank needs for its roles. Local. */
static ald_status_t prepare(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    ALD_TRY(alloc(s));
    if (roles->generates && !roles->trains) {
        ald_model_config_t shape;
        ALD_TRY(ald_model_config_read(roles->config->distill.policy, &shape));
        ALD_TRY(ald_params_init(&shape, &roles->policy_params));
        const size_t bytes = sizeof(float) * (size_t)roles->policy_params.total;
        roles->policy = ald_alloc(bytes);
        ALD_CHECK_MEMORY(roles->policy, bytes);
    }
    if (roles->world->rank == 0)
        ALD_TRY(ald_folder_clear(roles->config, INT64_MAX));
    if (roles->scores) {
        strcpy(roles->scorer.header.sha256_data, roles->data.pairs.sha256);
        strcpy(roles->scorer.header.chat_format, roles->data.chat.name);
    }
done:
    return status;
}

/* Takes over the batches that the stopped run had made and not trained on, so that going on gives
 * what never stopping gives; removes all later shards. Root only. */
static ald_status_t keep_batches(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = s->roles->config;
    const int64_t begin = s->maker.begin, lag = config->distill.max_staleness;
    ald_shard_header_t expected;
    bool whole = lag > 0 && begin > 0;
    if (whole)
        ALD_TRY(ald_teacher_expected(config, &expected));
    s->kept = begin;
    while (whole && s->kept < begin + lag && s->kept < s->steps) {
        const int64_t count = ald_step_items(config, s->roles->data.pairs.count, s->kept,
                                             s->maker.order, s->maker.items);
        ALD_TRY(ald_folder_has(config, s->kept, count, &expected, &whole));
        s->kept += whole;
    }
    ALD_TRY(ald_folder_clear(config, s->kept * config->optimizer.batch_size));
    if (s->kept > begin)
        ald_log_info("distill: batches of steps %lld to %lld are there already",
                     (long long)begin + 1, (long long)s->kept);
done:
    return status;
}

/* Finds the step that this run goes on from, and the batches that are there. Collective over the
 * world. */
static ald_status_t begin(state_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = s->roles;
    if (roles->trains)
        status = ald_engine_begin(&roles->engine, s->steps);
    ALD_TRY(ald_comm_agree(roles->world, status));
    s->maker.begin = roles->trains ? roles->engine.step : 0;
    MPI_Bcast(&s->maker.begin, 1, MPI_INT64_T, 0, roles->world->mpi);
    if (roles->world->rank == 0)
        status = keep_batches(s);
    ALD_TRY(ald_comm_agree(roles->world, status));
    MPI_Bcast(&s->kept, 1, MPI_INT64_T, 0, roles->world->mpi);
    s->made = s->maker.begin;
    if (roles->generates) {
        ald_model_t policy = ald_model_of(&roles->policy_params, roles->policy);
        if (roles->trains)
            policy = ald_engine_model(&roles->engine);
        ald_generator_init(roles->config, &policy, &roles->data, &s->maker.generator);
    }
    share_weights(s);
done:
    return status;
}

static void reset(state_t *s)
{
    const int64_t slots = s->roles->config->distill.max_staleness + 1;
    close_step(s);
    for (int64_t i = 0; s->ring != NULL && i < slots; ++i) {
        if (s->ring[i].paths != NULL)
            empty_slot(&s->ring[i], false);
        ald_free(s->ring[i].paths);
    }
    ald_free(s->ring);
    if (s->maker.roles != NULL)
        ald_batch_maker_reset(&s->maker);
    ald_comm_free(&s->weights);
}

ald_status_t ald_roles_run(ald_roles_t *roles, ald_status_t (*say)(const ald_roles_t *roles))
{
    ald_status_t status = ALD_STATUS_OK;
    state_t s = {.roles = roles, .steps = ald_total_steps(roles->config, roles->data.pairs.count)};
    ald_run_t run = {.objective = ald_objective(ALD_OBJECTIVE_DISTILL),
                     .state = &roles->distiller,
                     .engine = &roles->engine};
    ald_loop_t loop = {.name = "distill",
                       .comm = roles->world,
                       .trainers = &roles->trainers,
                       .feed = {&s, ready, read_items, settle, metrics, taken},
                       .runs = &run,
                       .count = roles->trains,
                       .steps = s.steps};
    ald_comm_subset(roles->world, roles->world->rank == 0 || (roles->generates && !roles->trains),
                    &s.weights);
    ALD_TRY(ald_comm_agree(roles->world, prepare(&s)));
    ALD_TRY(begin(&s));
    loop.step = s.maker.begin;
    ALD_TRY(ald_comm_agree(roles->world, say(roles)));
    ALD_TRY(ald_loop_run(&loop));
done:
    ald_loop_reset(&loop);
    reset(&s);
    return status;
}
