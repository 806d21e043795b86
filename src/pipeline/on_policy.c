/* On-policy and mixed distillation. All ranks go through the same iterations; iteration j makes the
 * batch of step j (generators, then scorers) and takes the step j - max_staleness (trainers), so
 * that with a staleness the roles work at the same time. A role that fails tells whoever waits for
 * its result, and all agree at the iteration's end: no rank is left waiting. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/pipeline/placement.h"
#include "ald/record/metrics.h"
#include "ald/role/generator.h"
#include "ald/role/scorer.h"
#include "ald/role/scorer_run.h"
#include "ald/role/trainer_step.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/train/engine.h"
#include "pipeline/distill_impl.h"

#define DEADLINE   36000.0 /* seconds that a rank waits for another role's work */
#define PATH_BYTES 4096

/* Streams of random numbers beside those of samples. */
enum { STREAM_MIXED = 0x6d69786564, STREAM_BOTH = 0x626f7468 };

typedef struct {
    ald_distill_t *d;
    ald_comm_t weights; /* rank 0 of the trainers and the generators that don't train */
    ald_generator_t generator;
    ald_arena_t arena;
    int64_t begin, kept, steps;    /* the step this run goes on from, the first one whose batch is
                                      not there yet, and all of them */
    int64_t *order, *items, count; /* rows of the batch at hand */
    ald_vec_t *inbox;              /* one per generator */
    ald_sending_t *sending;
    int sends;
    double wait[3]; /* seconds since the last metrics: generators for the trainers' step and its
                       weights, scorers for samples, trainers for shards */
} loop_t;

/* The version of the policy that batch `step` is sampled with: after that many steps. */
static int64_t version_of(const loop_t *loop, int64_t step)
{
    int64_t version = step - loop->d->config->distill.max_staleness;
    return version > loop->begin ? version : loop->begin;
}

/* Whether item i of a batch is sampled, or comes from the dataset. A draw that depends on seed,
 * step and item only. */
static bool is_sampled(const ald_config_t *config, int64_t step, int64_t i)
{
    if (config->distill.mode != ALD_MODE_MIXED)
        return true;
    double u = ald_rng_uniform((uint64_t)config->seed, ald_rng_mix(STREAM_MIXED, (uint64_t)step),
                               (uint64_t)i);
    return u < config->distill.on_policy_fraction;
}

/* Items of scorer s: a run of the batch. */
static int64_t scorer_first(const loop_t *loop, int64_t s)
{
    return loop->count * s / loop->d->place.scorers.count;
}

static void send(loop_t *loop, int to, ald_tag_t tag, ald_status_t code, const void *data,
                 int64_t bytes)
{
    ald_message_send(loop->d->world, to, tag, code, data, bytes, &loop->sending[loop->sends++]);
}

/* Generator g samples the items i with i mod G = g, and sends each scorer its own. */
static ald_status_t generate(loop_t *loop, int64_t step, ald_vec_t *outbox)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_distill_t *d = loop->d;
    int64_t G = d->place.generators.count, S = d->place.scorers.count;
    int64_t g = d->world->rank - d->place.generators.first;
    ald_request_t *requests = ald_calloc((size_t)loop->count + 1, sizeof *requests);
    int64_t *item = ald_calloc((size_t)loop->count + 1, sizeof *item);
    ald_vec_t records;
    ald_vec_init(&records, 1);
    for (int64_t s = 0; s < S; ++s)
        outbox[s].count = 0;
    ALD_CHECK(requests != NULL && item != NULL, ALD_STATUS_RESOURCE, "out of memory: requests");
    for (int64_t s = 0; s < S; ++s) {
        int64_t mine = 0;
        for (int64_t i = scorer_first(loop, s); i < scorer_first(loop, s + 1); ++i) {
            if (i % G != g || !is_sampled(d->config, step, i))
                continue;
            item[mine] = i;
            requests[mine++] = (ald_request_t){loop->items[i], 0, step + 1};
        }
        records.count = 0;
        ALD_TRY(ald_generator_run(&loop->generator, &d->data.pairs, requests, mine, &loop->arena,
                                  &records));
        for (size_t at = 0; at < records.count;) { /* name the batch's items */
            size_t start = at;
            ald_sampled_t record;
            const int32_t *ids;
            const float *logprobs;
            ALD_TRY(ald_sampled_next(&records, &at, &record, &ids, &logprobs));
            record.request = item[record.request];
            memcpy((char *)records.data + start, &record, sizeof record);
        }
        ALD_TRY(ald_vec_append(&outbox[s], records.data, records.count));
    }
done:
    ald_free(requests);
    ald_free(item);
    ald_vec_reset(&records);
    return status;
}

static ald_status_t receive_samples(loop_t *loop)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_ranks_t *from = &loop->d->place.generators;
    double begun = ald_time();
    for (int g = 0; g < from->count; ++g) { /* all of them, also after a failure */
        ald_status_t got = ald_message_receive(loop->d->world, from->first + g, ALD_TAG_SAMPLES,
                                               DEADLINE, &loop->inbox[g]);
        status = status == ALD_STATUS_OK ? got : status;
    }
    loop->wait[1] += ald_time() - begun;
    return status;
}

/* A dataset response, for an item that isn't sampled. */
static void dataset_sequence(const ald_config_t *config, const ald_pair_t *pair, int64_t step,
                             int64_t i, ald_scored_t *out)
{
    bool rejected = config->data.responses == ALD_RESPONSES_REJECTED;
    if (config->data.responses == ALD_RESPONSES_BOTH)
        rejected = ald_rng_uniform((uint64_t)config->seed, ald_rng_mix(STREAM_BOTH, (uint64_t)step),
                                   (uint64_t)i) < 0.5;
    const ald_text_t *response = rejected ? &pair->rejected : &pair->chosen;
    out->source = rejected ? ALD_SOURCE_REJECTED : ALD_SOURCE_CHOSEN;
    out->response = response->text;
    out->response_ids = response->ids;
    out->response_count = response->count;
}

static ald_status_t sampled_text(loop_t *loop, ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *text = NULL;
    size_t length = 0;
    ALD_TRY(ald_sampled_text(&loop->d->data, sequence->response_ids, sequence->response_count, NULL,
                             &text));
    const char *bytes = ald_json_text(text, &length);
    sequence->response = ald_arena_strdup(&loop->arena, bytes, length);
    ALD_CHECK(sequence->response != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    ald_json_free(text);
    return status;
}

/* The sequences of this scorer's items, in their order. */
static ald_status_t collect(loop_t *loop, int64_t step, int64_t first, int64_t last,
                            ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_distill_t *d = loop->d;
    for (int64_t i = first; i < last; ++i) {
        const ald_pair_t *pair = &d->data.pairs.rows[loop->items[i]];
        out[i - first] = (ald_scored_t){.id = pair->id,
                                        .prompt = pair->prompt.text,
                                        .prompt_ids = pair->prompt.ids,
                                        .prompt_count = pair->prompt.count};
        if (!is_sampled(d->config, step, i))
            dataset_sequence(d->config, pair, step, i, &out[i - first]);
    }
    for (int g = 0; g < d->place.generators.count; ++g)
        for (size_t at = 0; at < loop->inbox[g].count;) {
            ald_sampled_t record;
            const int32_t *ids;
            const float *logprobs;
            ALD_TRY(ald_sampled_next(&loop->inbox[g], &at, &record, &ids, &logprobs));
            ALD_CHECK(record.request >= first && record.request < last, ALD_STATUS_INTERNAL,
                      "a sample of item %lld came to the scorer of %lld to %lld",
                      (long long)record.request, (long long)first, (long long)last);
            ald_scored_t *s = &out[record.request - first];
            s->source = ALD_SOURCE_POLICY;
            s->response_ids = ids;
            s->response_count = record.count;
            s->logprob_policy = logprobs;
            ALD_TRY(sampled_text(loop, s));
        }
done:
    return status;
}

static ald_status_t write_shard(loop_t *loop, int64_t step, const char *path, int64_t first,
                                int64_t last)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scorer_t *scorer = &loop->d->scorer;
    ald_arena_mark_t mark = ald_arena_mark(&loop->arena);
    ald_scored_t *sequences = ALD_ARENA_ARRAY(&loop->arena, ald_scored_t, last - first);
    ALD_CHECK(sequences != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(collect(loop, step, first, last, sequences));
    scorer->header.policy_step = version_of(loop, step);
    ALD_TRY(ald_scorer_write(scorer, path, sequences, last - first));
done:
    ald_arena_release(&loop->arena, mark);
    return status;
}

/* Scorer s: its run of the batch becomes one shard; its name goes to every trainer. The number in
 * it is that of its first item among all steps' items, whatever the number of scorers. */
static ald_status_t score(loop_t *loop, int64_t step, char path[PATH_BYTES])
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_distill_t *d = loop->d;
    int64_t s = d->world->rank - d->place.scorers.first;
    int64_t first = scorer_first(loop, s), last = scorer_first(loop, s + 1);
    path[0] = '\0';
    ALD_TRY(receive_samples(loop));
    if (first < last) {
        char *name = ald_shard_path(d->config->shards.directory,
                                    step * d->config->optimizer.batch_size + first);
        ALD_CHECK(name != NULL, ALD_STATUS_RESOURCE, "out of memory");
        snprintf(path, PATH_BYTES, "%s", name);
        ald_free(name);
        ALD_TRY(write_shard(loop, step, path, first, last));
    }
done:
    return status;
}

static ald_status_t receive_paths(loop_t *loop, char **paths, int64_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_ranks_t *from = &loop->d->place.scorers;
    double begun = ald_time();
    ald_vec_t path;
    ald_vec_init(&path, 1);
    *count = 0;
    for (int s = 0; s < from->count; ++s) {
        ald_status_t got =
            ald_message_receive(loop->d->world, from->first + s, ALD_TAG_SHARD, DEADLINE, &path);
        if (got == ALD_STATUS_OK && path.count > 1) {
            paths[*count] = ald_strdup(path.data);
            got = paths[(*count)++] == NULL ? ald_status_raise(ALD_STATUS_RESOURCE, "out of memory")
                                            : ALD_STATUS_OK;
        }
        status = status == ALD_STATUS_OK ? got : status;
    }
    ald_vec_reset(&path);
    loop->wait[2] += ald_time() - begun;
    return status;
}

/* One step from the shards whose names were received. */
static ald_status_t train_step(loop_t *loop, char **paths, int64_t shards, ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distill_t *d = loop->d;
    ald_shardset_t set = {0};
    const ald_shard_header_t expected = {.encoding = ALD_ENCODING_ANY,
                                         .contrast = d->config->teacher.contrast};
    int64_t *entries = NULL, n = d->data.pairs.count;
    status = ald_shardset_open((const char *const *)paths, shards, &expected, &set);
    if (status == ALD_STATUS_OK) {
        entries = ald_alloc(sizeof *entries * (size_t)set.count);
        if (entries == NULL)
            status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    }
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    for (int64_t i = 0; i < set.count; ++i)
        entries[i] = i;
    d->trainer.policy_step = ald_shard_header(set.shards[0])->policy_step;
    double epoch = (double)(d->trainer.engine.step + 1) / (double)ald_epoch_steps(d->config, n);
    ALD_TRY(ald_trainer_step(&d->trainer, &set, entries, set.count, epoch, metrics));
done:
    ald_free(entries);
    ald_shardset_reset(&set);
    return status;
}

/* The trainers' part of an iteration, up to the metrics. */
static ald_status_t train(loop_t *loop, char **paths, int64_t shards, ald_status_t received,
                          ald_metrics_t *metrics)
{
    ald_status_t status = ald_comm_agree(&loop->d->trainers, received);
    if (status == ALD_STATUS_OK)
        status = train_step(loop, paths, shards, metrics);
    return status;
}

/* The policy of the trainers to the generators that don't train. */
static void share_weights(loop_t *loop)
{
    ald_distill_t *d = loop->d;
    double begun = ald_time();
    if (loop->weights.size > 1) {
        float *values = d->trains ? d->trainer.engine.values : d->policy;
        int64_t total = d->trains ? d->trainer.engine.params.total : d->policy_params.total;
        ald_comm_broadcast(&loop->weights, values, sizeof(float) * (size_t)total, 0);
    }
    if (d->generates && !d->trains)
        loop->wait[0] += ald_time() - begun;
}

/* Reads the batch of `step` and lets the generators and scorers make its shards. The names of the
 * shards end in `paths` on trainers. */
static ald_status_t make_batch(loop_t *loop, int64_t step, ald_vec_t *outbox, char *path,
                               char **paths, int64_t *shards)
{
    ald_status_t status = ALD_STATUS_OK, made = ALD_STATUS_OK;
    ald_distill_t *d = loop->d;
    const ald_placement_t *place = &d->place;
    loop->count = ald_step_items(d->config, d->data.pairs.count, step, loop->order, loop->items);
    if (d->generates) {
        made = generate(loop, step, outbox);
        for (int s = 0; s < place->scorers.count; ++s)
            send(loop, place->scorers.first + s, ALD_TAG_SAMPLES, made, outbox[s].data,
                 (int64_t)outbox[s].count);
        status = made;
    }
    if (d->scores) {
        made = score(loop, step, path);
        for (int t = 0; t < place->trainers.count; ++t)
            send(loop, place->trainers.first + t, ALD_TAG_SHARD, made, path,
                 (int64_t)strlen(path) + 1);
        status = status == ALD_STATUS_OK ? made : status;
    }
    if (d->trains) {
        made = receive_paths(loop, paths, shards);
        status = status == ALD_STATUS_OK ? made : status;
    }
    return status;
}

static void finish_sends(loop_t *loop)
{
    for (int i = 0; i < loop->sends; ++i)
        ald_message_finish(loop->d->world, &loop->sending[i], DEADLINE);
    loop->sends = 0;
}

/* The end of an iteration's work on all ranks. A generator that doesn't train has nothing to do
 * from its last sample on until the trainers have stepped. */
static ald_status_t finish_iteration(loop_t *loop, ald_status_t status)
{
    const double begun = ald_time();
    finish_sends(loop);
    status = ald_comm_agree(loop->d->world, status);
    if (loop->d->generates && !loop->d->trains)
        loop->wait[0] += ald_time() - begun;
    return status;
}

/* The longest wait of each role since the last step's metrics. Collective over the world. */
static void wait_metrics(loop_t *loop, ald_metrics_t *metrics)
{
    MPI_Allreduce(MPI_IN_PLACE, loop->wait, 3, MPI_DOUBLE, MPI_MAX, loop->d->world->mpi);
    ald_metrics_set(metrics, "wait/generate", loop->wait[0]);
    ald_metrics_set(metrics, "wait/score", loop->wait[1]);
    ald_metrics_set(metrics, "wait/train", loop->wait[2]);
    memset(loop->wait, 0, sizeof loop->wait);
}

static void remove_shards(const loop_t *loop, char **paths, int64_t shards)
{
    for (int64_t i = 0; i < shards; ++i) {
        if (loop->d->world->rank == 0 && loop->d->config->shards.keep == ALD_KEEP_NONE)
            ald_dir_remove(paths[i]);
        ald_free(paths[i]);
    }
}

/* Iterations from the trainers' step on. Batches wait in a ring of max_staleness + 1. */
static ald_status_t run_loop(loop_t *loop, ald_vec_t *outbox)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distill_t *d = loop->d;
    int64_t lag = d->config->distill.max_staleness, ring = lag + 1;
    int64_t room = d->config->optimizer.batch_size, begin = loop->begin; /* shards of a batch */
    char **paths = ald_calloc((size_t)(ring * room), sizeof *paths), path[PATH_BYTES];
    int64_t *shards = ald_calloc((size_t)ring, sizeof *shards);
    if (paths == NULL || shards == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(d->world, status));
    for (int64_t j = begin; j < loop->steps + lag; ++j) {
        ald_metrics_t metrics = {0};
        int64_t slot = j % ring, old = (j - lag) % ring;
        if (j < loop->kept && d->trains)
            status = ald_folder_find(d->config, j, paths + slot * room, &shards[slot]);
        else if (j >= loop->kept && j < loop->steps)
            status = make_batch(loop, j, outbox, path, paths + slot * room, &shards[slot]);
        bool steps_now = j - lag >= begin;
        if (d->trains && steps_now)
            status = train(loop, paths + old * room, shards[old], status, &metrics);
        status = finish_iteration(loop, status);
        if (steps_now && status == ALD_STATUS_OK) {
            wait_metrics(loop, &metrics);
            if (d->trains) {
                if (d->trainer.engine.step == 0)
                    ald_dataset_metrics(&d->data, &metrics);
                status = ald_engine_advance(&d->trainer.engine, &metrics);
            }
            status = ald_comm_agree(d->world, status);
        }
        if (steps_now && d->trains) {
            remove_shards(loop, paths + old * room, shards[old]);
            shards[old] = 0;
        }
        ALD_TRY(status);
        share_weights(loop);
    }
done:
    for (int64_t i = 0; i < ring && paths != NULL && shards != NULL; ++i)
        for (int64_t s = 0; s < shards[i]; ++s)
            ald_free(paths[i * room + s]);
    ald_free(paths);
    ald_free(shards);
    return status;
}

static ald_status_t loop_local(loop_t *loop, ald_vec_t **outbox)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distill_t *d = loop->d;
    const ald_config_t *config = d->config;
    int64_t n = d->data.pairs.count, batch = config->optimizer.batch_size;
    int G = d->place.generators.count, S = d->place.scorers.count, T = d->place.trainers.count;
    loop->order = ald_calloc((size_t)(n + batch), sizeof(int64_t));
    loop->inbox = ald_calloc((size_t)G, sizeof *loop->inbox);
    loop->sending = ald_calloc((size_t)(S + T), sizeof *loop->sending);
    *outbox = ald_calloc((size_t)S, sizeof **outbox);
    ALD_CHECK(loop->order && loop->inbox && loop->sending && *outbox, ALD_STATUS_RESOURCE,
              "out of memory");
    loop->items = loop->order + n;
    for (int g = 0; g < G; ++g)
        ald_vec_init(&loop->inbox[g], 1);
    for (int s = 0; s < S; ++s)
        ald_vec_init(&(*outbox)[s], 1);
    if (d->generates && !d->trains) {
        ald_model_config_t shape;
        ALD_TRY(ald_model_config_read(config->distill.policy, &shape));
        ALD_TRY(ald_params_init(&shape, &d->policy_params));
        d->policy = ald_alloc(sizeof(float) * (size_t)d->policy_params.total);
        ALD_CHECK_MEMORY(d->policy, sizeof(float) * (size_t)d->policy_params.total);
    }
    if (d->world->rank == 0)
        ALD_TRY(ald_folder_clear(config, INT64_MAX));
    if (d->scores) {
        strcpy(d->scorer.header.sha256_data, d->data.pairs.sha256);
        strcpy(d->scorer.header.chat_format, d->data.chat.name);
    }
done:
    return status;
}

static void loop_reset(loop_t *loop, ald_vec_t *outbox)
{
    for (int g = 0; g < loop->d->place.generators.count && loop->inbox != NULL; ++g)
        ald_vec_reset(&loop->inbox[g]);
    for (int s = 0; s < loop->d->place.scorers.count && outbox != NULL; ++s)
        ald_vec_reset(&outbox[s]);
    ald_free(loop->order);
    ald_free(loop->inbox);
    ald_free(loop->sending);
    ald_free(outbox);
    ald_arena_reset(&loop->arena);
    ald_comm_free(&loop->weights);
}

/* Batches that the stopped run had made and not trained on are taken over, so that going on gives
 * what never stopping gives; everything else from there on goes. Root only. */
static ald_status_t keep_batches(loop_t *loop)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = loop->d->config;
    const int64_t n = loop->d->data.pairs.count, lag = config->distill.max_staleness;
    ald_shard_header_t expected;
    bool whole = lag > 0 && loop->begin > 0;
    if (whole)
        ALD_TRY(ald_distill_expected(config, &expected));
    loop->kept = loop->begin;
    while (whole && loop->kept < loop->begin + lag && loop->kept < loop->steps) {
        int64_t count = ald_step_items(config, n, loop->kept, loop->order, loop->items);
        ALD_TRY(ald_folder_has(config, loop->kept, count, &expected, &whole));
        loop->kept += whole;
    }
    ALD_TRY(ald_folder_clear(config, loop->kept * config->optimizer.batch_size));
    if (loop->kept > loop->begin)
        ald_log_info("distill: batches of steps %lld to %lld are there already",
                     (long long)loop->begin + 1, (long long)loop->kept);
done:
    return status;
}

ald_status_t ald_distill_on_policy(ald_distill_t *distill)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distill_t *d = distill;
    loop_t loop = {.d = d, .steps = ald_total_steps(d->config, d->data.pairs.count)};
    ald_vec_t *outbox = NULL;
    ald_comm_subset(d->world, d->world->rank == 0 || (d->generates && !d->trains), &loop.weights);
    ALD_TRY(ald_comm_agree(d->world, loop_local(&loop, &outbox)));
    if (d->trains)
        status = ald_engine_begin(&d->trainer.engine, loop.steps);
    ALD_TRY(ald_comm_agree(d->world, status));
    loop.begin = d->trains ? d->trainer.engine.step : 0;
    MPI_Bcast(&loop.begin, 1, MPI_INT64_T, 0, d->world->mpi);
    if (d->world->rank == 0)
        status = keep_batches(&loop);
    ALD_TRY(ald_comm_agree(d->world, status));
    MPI_Bcast(&loop.kept, 1, MPI_INT64_T, 0, d->world->mpi);
    if (d->generates) {
        ald_model_t policy = {.params = &d->policy_params, .values = d->policy};
        if (d->trains)
            policy = ald_engine_model(&d->trainer.engine);
        ald_generator_init(d->config, &policy, &d->data, &loop.generator);
    }
    share_weights(&loop);
    ALD_TRY(ald_comm_agree(d->world, ald_distill_memory_on_policy(d)));
    ALD_TRY(run_loop(&loop, outbox));
done:
    loop_reset(&loop, outbox);
    return status;
}
