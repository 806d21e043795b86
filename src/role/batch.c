/* The batch of an on-policy step. A role that fails tells whoever waits for its result, so that no
 * rank is left waiting. */
#include "ald/role/batch.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/role/generator.h"
#include "ald/role/placement.h"
#include "ald/role/roles.h"
#include "ald/role/scorer.h"
#include "ald/role/scorer_run.h"
#include "ald/shard/format.h"
#include "ald/shard/set.h"
#include "ald/train/order.h"

/* Streams of random numbers apart from those of samples. Any two numbers would do; these are
 * "mixed" and "both" in ASCII. */
enum { STREAM_MIXED = 0x6d69786564, STREAM_BOTH = 0x626f7468 };

ald_status_t ald_batch_maker_init(ald_roles_t *roles, ald_batch_maker_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_placement_t *place = &roles->place;
    const int64_t n = roles->data.pairs.count, most = roles->config->optimizer.batch_size;
    const int G = place->generators.count, S = place->scorers.count, T = place->trainers.count;
    *out = (ald_batch_maker_t){.roles = roles};
    ald_vec_init(&out->samples, 1);
    out->order = ald_calloc((size_t)(n + 3 * most + 1), sizeof *out->order);
    out->inbox = ald_calloc((size_t)G, sizeof *out->inbox);
    out->outbox = ald_calloc((size_t)S, sizeof *out->outbox);
    out->sending = ald_calloc((size_t)(S + T), sizeof *out->sending);
    ALD_CHECK(out->order && out->inbox && out->outbox && out->sending, ALD_STATUS_RESOURCE,
              "out of memory");
    out->items = out->order + n;
    out->tokens = out->items + most;
    out->start = out->tokens + most;
    for (int g = 0; g < G; ++g)
        ald_vec_init(&out->inbox[g], 1);
    for (int s = 0; s < S; ++s)
        ald_vec_init(&out->outbox[s], 1);
done:
    return status;
}

void ald_batch_maker_reset(ald_batch_maker_t *maker)
{
    for (int g = 0; maker->inbox != NULL && g < maker->roles->place.generators.count; ++g)
        ald_vec_reset(&maker->inbox[g]);
    for (int s = 0; maker->outbox != NULL && s < maker->roles->place.scorers.count; ++s)
        ald_vec_reset(&maker->outbox[s]);
    ald_vec_reset(&maker->samples);
    ald_free(maker->order);
    ald_free(maker->inbox);
    ald_free(maker->outbox);
    ald_free(maker->sending);
    ald_arena_reset(&maker->arena);
    *maker = (ald_batch_maker_t){0};
}

/* --- which items ------------------------------------------------------------------------------ */

/* The version of the policy that batch `step` is sampled with: the number of steps it has taken. */
static int64_t version_of(const ald_batch_maker_t *maker, int64_t step)
{
    const int64_t version = step - maker->roles->config->distill.max_staleness;
    return version > maker->begin ? version : maker->begin;
}

/* Whether item i of a batch is sampled; if not, its response is the dataset's. The draw depends on
 * seed, step and item only. */
static bool is_sampled(const ald_config_t *config, int64_t step, int64_t i)
{
    if (config->distill.mode != ALD_MODE_MIXED)
        return true;
    double u = ald_rng_uniform((uint64_t)config->seed, ald_rng_mix(STREAM_MIXED, (uint64_t)step),
                               (uint64_t)i);
    return u < config->distill.on_policy_fraction;
}

/* Whether the dataset's response to an item that isn't sampled is the rejected one. */
static bool is_rejected(const ald_config_t *config, int64_t step, int64_t i)
{
    if (config->data.responses != ALD_RESPONSES_BOTH)
        return config->data.responses == ALD_RESPONSES_REJECTED;
    return ald_rng_uniform((uint64_t)config->seed, ald_rng_mix(STREAM_BOTH, (uint64_t)step),
                           (uint64_t)i) < 0.5;
}

static const ald_pair_t *pair_of(const ald_batch_maker_t *maker, int64_t i)
{
    return &maker->roles->data.pairs.rows[maker->items[i]];
}

/* The first item of scorer s. Scorers get whole groups, as evenly as that allows. */
static int64_t scorer_first(const ald_batch_maker_t *maker, int64_t s)
{
    return maker->start[maker->groups * s / maker->roles->place.scorers.count];
}

/* --- generators ------------------------------------------------------------------------------- */

/* Calls `take` with each record of `records`. */
typedef ald_status_t (*record_fn)(ald_batch_maker_t *maker, const ald_sampled_t *record,
                                  const void *whole, size_t bytes);
static ald_status_t each_record(ald_batch_maker_t *maker, const ald_vec_t *records, record_fn take)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t at = 0; at < records->count;) {
        const size_t start = at;
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(records, &at, &record, &ids, &logprobs));
        ALD_TRY(take(maker, &record, (const char *)records->data + start, at - start));
    }
done:
    return status;
}

/* Samples this generator's items: those i with i mod G = its number. Afterwards the records have
 * the batch's items in place of the requests. */
static ald_status_t generate(ald_batch_maker_t *maker, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = maker->roles;
    const int64_t G = roles->place.generators.count;
    const int64_t g = roles->world->rank - roles->place.generators.first;
    ald_request_t *requests = ald_calloc((size_t)maker->count + 1, sizeof *requests);
    int64_t *item = ald_calloc((size_t)maker->count + 1, sizeof *item), mine = 0;
    ALD_CHECK(requests != NULL && item != NULL, ALD_STATUS_RESOURCE, "out of memory: requests");
    for (int64_t i = g; i < maker->count; i += G) {
        if (!is_sampled(roles->config, step, i))
            continue;
        item[mine] = i;
        requests[mine++] = (ald_request_t){maker->items[i], 0, step + 1};
    }
    ALD_TRY(ald_generator_run(&maker->generator, &roles->data.pairs, requests, mine, &maker->arena,
                              &maker->samples));
    for (size_t at = 0; at < maker->samples.count;) {
        char *place = (char *)maker->samples.data + at;
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(&maker->samples, &at, &record, &ids, &logprobs));
        record.request = item[record.request];
        memcpy(place, &record, sizeof record);
    }
done:
    ald_free(requests);
    ald_free(item);
    return status;
}

static ald_status_t note_length(ald_batch_maker_t *maker, const ald_sampled_t *record,
                                const void *whole, size_t bytes)
{
    (void)whole, (void)bytes;
    maker->tokens[record->request] = record->count;
    return ALD_STATUS_OK;
}

/* All ranks learn how long each response is, and so which items are scored together. Collective
 * over the world, also after a failure. */
static ald_status_t cut_groups(ald_batch_maker_t *maker, int64_t step, ald_status_t status)
{
    const ald_roles_t *roles = maker->roles;
    const double begun = ald_time();
    memset(maker->tokens, 0, sizeof *maker->tokens * (size_t)maker->count);
    if (status == ALD_STATUS_OK)
        status = each_record(maker, &maker->samples, note_length);
    ald_comm_sum(roles->world, maker->tokens, maker->count);
    if (roles->scores && !roles->generates)
        maker->waits.score += ald_time() - begun;
    else if (roles->trains && !roles->generates)
        maker->waits.train += ald_time() - begun;
    for (int64_t i = 0; i < maker->count; ++i) {
        const ald_pair_t *pair = pair_of(maker, i);
        if (!is_sampled(roles->config, step, i))
            maker->tokens[i] =
                is_rejected(roles->config, step, i) ? pair->rejected.count : pair->chosen.count;
        maker->tokens[i] += pair->prompt.count - 1;
    }
    maker->groups = ald_micro_split(maker->tokens, maker->count,
                                    roles->config->optimizer.micro_batch_tokens, maker->start);
    maker->start[maker->groups] = maker->count;
    return status;
}

static ald_status_t post(ald_batch_maker_t *maker, const ald_sampled_t *record, const void *whole,
                         size_t bytes)
{
    int s = 0;
    while (record->request >= scorer_first(maker, s + 1))
        ++s;
    return ald_vec_append(&maker->outbox[s], whole, bytes);
}

static void send(ald_batch_maker_t *maker, int to, ald_tag_t tag, ald_status_t code,
                 const void *data, int64_t bytes)
{
    ald_message_send(maker->roles->world, to, tag, code, data, bytes,
                     &maker->sending[maker->sends++]);
}

/* Sends each scorer its samples, or that there are none because of this failure. */
static ald_status_t send_samples(ald_batch_maker_t *maker, ald_status_t status)
{
    const ald_ranks_t *to = &maker->roles->place.scorers;
    for (int s = 0; s < to->count; ++s)
        maker->outbox[s].count = 0;
    if (status == ALD_STATUS_OK)
        status = each_record(maker, &maker->samples, post);
    for (int s = 0; s < to->count; ++s)
        send(maker, to->first + s, ALD_TAG_SAMPLES, status, maker->outbox[s].data,
             (int64_t)maker->outbox[s].count);
    return status;
}

/* --- scorers ---------------------------------------------------------------------------------- */

static ald_status_t receive_samples(ald_batch_maker_t *maker)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_ranks_t *from = &maker->roles->place.generators;
    const double begun = ald_time();
    for (int g = 0; g < from->count; ++g) { /* receives from all, also after a failure */
        ald_status_t got = ald_message_receive(maker->roles->world, from->first + g,
                                               ALD_TAG_SAMPLES, &maker->inbox[g]);
        status = status == ALD_STATUS_OK ? got : status;
    }
    maker->waits.score += ald_time() - begun;
    return status;
}

static ald_status_t sampled_text(ald_batch_maker_t *maker, ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *text = NULL;
    size_t length = 0;
    ALD_TRY(ald_sampled_text(&maker->roles->data, sequence->response_ids, sequence->response_count,
                             NULL, &text));
    const char *bytes = ald_json_text(text, &length);
    sequence->response = ald_arena_strdup(&maker->arena, bytes, length);
    ALD_CHECK(sequence->response != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    ald_json_free(text);
    return status;
}

/* The sequence of an item: with the dataset's response, or without one if it is sampled. */
static ald_scored_t dataset_sequence(const ald_batch_maker_t *maker, int64_t step, int64_t i)
{
    const ald_config_t *config = maker->roles->config;
    const ald_pair_t *pair = pair_of(maker, i);
    ald_scored_t out = {.id = pair->id,
                        .prompt = pair->prompt.text,
                        .prompt_ids = pair->prompt.ids,
                        .prompt_count = pair->prompt.count};
    if (is_sampled(config, step, i))
        return out;
    const bool rejected = is_rejected(config, step, i);
    const ald_text_t *response = rejected ? &pair->rejected : &pair->chosen;
    out.source = rejected ? ALD_SOURCE_REJECTED : ALD_SOURCE_CHOSEN;
    out.response = response->text;
    out.response_ids = response->ids;
    out.response_count = response->count;
    return out;
}

/* The sequences of this scorer's items, in their order. */
static ald_status_t collect(ald_batch_maker_t *maker, int64_t step, int64_t first, int64_t last,
                            ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = first; i < last; ++i)
        out[i - first] = dataset_sequence(maker, step, i);
    for (int g = 0; g < maker->roles->place.generators.count; ++g)
        for (size_t at = 0; at < maker->inbox[g].count;) {
            ald_sampled_t record;
            const int32_t *ids;
            const float *logprobs;
            ALD_TRY(ald_sampled_next(&maker->inbox[g], &at, &record, &ids, &logprobs));
            ALD_CHECK(record.request >= first && record.request < last, ALD_STATUS_INTERNAL,
                      "a sample of item %lld came to the scorer of %lld to %lld",
                      (long long)record.request, (long long)first, (long long)last);
            ald_scored_t *s = &out[record.request - first];
            s->source = ALD_SOURCE_POLICY;
            s->response_ids = ids;
            s->response_count = record.count;
            s->logprob_policy = logprobs;
            ALD_TRY(sampled_text(maker, s));
        }
done:
    return status;
}

static ald_status_t write_shard(ald_batch_maker_t *maker, int64_t step, int64_t first, int64_t last)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scorer_t *scorer = &maker->roles->scorer;
    ald_arena_mark_t mark = ald_arena_mark(&maker->arena);
    ald_scored_t *sequences = ALD_ARENA_ARRAY(&maker->arena, ald_scored_t, last - first);
    ALD_CHECK(sequences != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(collect(maker, step, first, last, sequences));
    scorer->header.policy_step = version_of(maker, step);
    ALD_TRY(ald_scorer_write(scorer, maker->path, sequences, last - first));
done:
    ald_arena_release(&maker->arena, mark);
    return status;
}

/* Writes the shard of this scorer's items. The number in its name is that of its first item among
 * the items of all steps, so it is in the same place whatever the number of scorers. */
static ald_status_t score(ald_batch_maker_t *maker, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = maker->roles;
    const int64_t s = roles->world->rank - roles->place.scorers.first;
    const int64_t first = scorer_first(maker, s), last = scorer_first(maker, s + 1);
    maker->path[0] = '\0';
    ALD_TRY(receive_samples(maker));
    if (first < last) {
        char *name = ald_shard_path(roles->config->shards.directory,
                                    step * roles->config->optimizer.batch_size + first);
        ALD_CHECK(name != NULL, ALD_STATUS_RESOURCE, "out of memory");
        snprintf(maker->path, sizeof maker->path, "%s", name);
        ald_free(name);
        ALD_TRY(write_shard(maker, step, first, last));
    }
done:
    return status;
}

/* Sends every trainer the name of this scorer's shard, or that there is none because of this
 * failure. */
static void send_path(ald_batch_maker_t *maker, ald_status_t status)
{
    const ald_ranks_t *to = &maker->roles->place.trainers;
    for (int t = 0; t < to->count; ++t)
        send(maker, to->first + t, ALD_TAG_SHARD, status, maker->path,
             (int64_t)strlen(maker->path) + 1);
}

/* --- trainers, and the batch ------------------------------------------------------------------ */

static ald_status_t receive_paths(ald_batch_maker_t *maker, char **paths, int64_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_ranks_t *from = &maker->roles->place.scorers;
    const double begun = ald_time();
    ald_vec_t path;
    ald_vec_init(&path, 1);
    *count = 0;
    for (int s = 0; s < from->count; ++s) {
        ald_status_t got =
            ald_message_receive(maker->roles->world, from->first + s, ALD_TAG_SHARD, &path);
        if (got == ALD_STATUS_OK && path.count > 1) {
            paths[*count] = ald_strdup(path.data);
            got = paths[(*count)++] == NULL ? ald_status_raise(ALD_STATUS_RESOURCE, "out of memory")
                                            : ALD_STATUS_OK;
        }
        status = status == ALD_STATUS_OK ? got : status;
    }
    ald_vec_reset(&path);
    maker->waits.train += ald_time() - begun;
    return status;
}

ald_status_t ald_batch_make(ald_batch_maker_t *maker, int64_t step, char **paths, int64_t *shards)
{
    ald_status_t status = ALD_STATUS_OK, made = ALD_STATUS_OK;
    const ald_roles_t *roles = maker->roles;
    maker->count =
        ald_step_items(roles->config, roles->data.pairs.count, step, maker->order, maker->items);
    maker->samples.count = 0;
    if (roles->generates)
        made = generate(maker, step);
    made = cut_groups(maker, step, made);
    if (roles->generates)
        status = send_samples(maker, made);
    if (roles->scores) {
        made = score(maker, step);
        send_path(maker, made);
        status = status == ALD_STATUS_OK ? made : status;
    }
    if (roles->trains) {
        made = receive_paths(maker, paths, shards);
        status = status == ALD_STATUS_OK ? made : status;
    }
    return status;
}

void ald_batch_sent(ald_batch_maker_t *maker)
{
    for (int i = 0; i < maker->sends; ++i)
        ald_message_finish(&maker->sending[i]);
    maker->sends = 0;
}
