/* The scoring of an on-policy run. Blocks are scored in their order, so that a shard is written in
 * one pass; what they hold follows from the step alone, so its numbers are the same whoever scores
 * them. */
#include "role/blocks_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/message.h"
#include "ald/par/post.h"
#include "ald/role/generator.h"
#include "ald/role/roles.h"
#include "ald/role/scorer.h"
#include "ald/role/scorer_run.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/set.h"
#include "ald/shard/write.h"
#include "role/draw_impl.h"
#include "role/generating_impl.h"
#include "role/work_impl.h"

static int64_t slots_of(const ald_blocks_t *blocks)
{
    return blocks->work->roles->config->distill.max_staleness + 1;
}

static ald_step_blocks_t *slot_of(const ald_blocks_t *blocks, int64_t step)
{
    return &blocks->steps[step % slots_of(blocks)];
}

ald_status_t ald_blocks_init(ald_work_t *work, ald_blocks_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t most = work->roles->config->optimizer.batch_size;
    *out = (ald_blocks_t){.work = work};
    ald_vec_init(&out->inbox, 1);
    out->steps = ald_calloc((size_t)slots_of(out), sizeof *out->steps);
    ALD_CHECK(out->steps != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < slots_of(out); ++i) {
        ald_step_blocks_t *slot = &out->steps[i];
        ald_vec_init(&slot->messages, sizeof(ald_vec_t));
        ALD_TRY(ald_draw_init(work->roles, work->order, &slot->draw));
        slot->responses = ald_calloc((size_t)most, sizeof *slot->responses);
        ALD_CHECK(slot->responses != NULL, ALD_STATUS_RESOURCE, "out of memory");
        if (work->roles->kept == NULL)
            continue;
        slot->kept = ald_calloc((size_t)most, sizeof *slot->kept);
        ALD_CHECK(slot->kept != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
done:
    return status;
}

/* Frees what a slot holds of its step. */
static void empty(ald_step_blocks_t *slot)
{
    for (size_t i = 0; i < slot->messages.count; ++i)
        ald_vec_reset(&ALD_VEC_AT(&slot->messages, ald_vec_t, i));
    slot->messages.count = 0;
    ald_shard_writer_discard(slot->writer);
    slot->writer = NULL;
    ald_free(slot->path);
    slot->path = NULL;
    slot->draw.step = -1;
}

void ald_blocks_reset(ald_blocks_t *blocks)
{
    for (int64_t i = 0; blocks->steps != NULL && i < slots_of(blocks); ++i) {
        ald_step_blocks_t *slot = &blocks->steps[i];
        empty(slot);
        ald_vec_reset(&slot->messages);
        ald_draw_reset(&slot->draw);
        ald_free(slot->responses);
        ald_free(slot->kept);
    }
    ald_free(blocks->steps);
    ald_vec_reset(&blocks->inbox);
    ald_arena_reset(&blocks->arena);
    *blocks = (ald_blocks_t){0};
}

/* --- samples ---------------------------------------------------------------------------------- */

/* Begins a step, of which the first message has come. The number in its shard's name is that of the
 * first item among the items of all steps. */
static ald_status_t open_step(ald_blocks_t *blocks, int64_t step, ald_step_blocks_t *slot)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = blocks->work->roles;
    const int64_t scorer = roles->world->rank - roles->place.scorers.first;
    ALD_CHECK(slot->draw.step < 0 && step >= blocks->next && step < blocks->next + slots_of(blocks),
              ALD_STATUS_INTERNAL, "samples of step %lld came while step %lld is scored",
              (long long)step + 1, (long long)blocks->next + 1);
    ald_draw_step(&slot->draw, step);
    memset(slot->responses, 0, sizeof *slot->responses * (size_t)slot->draw.count);
    if (roles->kept != NULL) {
        ald_mix_draw(roles->mix, step);
        memcpy(slot->kept, roles->mix->items, sizeof *slot->kept * (size_t)slot->draw.count);
    }
    slot->closed = 0;
    slot->generators = slot->scorer = (ald_shift_t){0};
    slot->next = ald_draw_first_block(&slot->draw, scorer);
    slot->end = ald_draw_first_block(&slot->draw, scorer + 1);
    slot->path = ald_shard_path(roles->config->shards.directory,
                                step * roles->config->optimizer.batch_size +
                                    ald_draw_begin(&slot->draw, slot->next));
    ALD_CHECK(slot->path != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    return status;
}

/* Notes where the responses of a message lie. */
static ald_status_t note_responses(ald_step_blocks_t *slot, const ald_vec_t *message, size_t at)
{
    ald_status_t status = ALD_STATUS_OK;
    while (at < message->count) {
        ald_sampled_t record;
        ald_response_t response;
        ALD_TRY(ald_sampled_next(message, &at, &record, &response.ids, &response.logprobs));
        response.count = record.count;
        ALD_CHECK(record.request >= ald_draw_begin(&slot->draw, slot->next) &&
                      record.request < ald_draw_begin(&slot->draw, slot->end),
                  ALD_STATUS_INTERNAL, "a sample of item %lld came to another scorer",
                  (long long)record.request);
        slot->responses[record.request] = response;
    }
done:
    return status;
}

/* Takes the message in the inbox, which the slot keeps until its step is scored. */
static ald_status_t take(ald_blocks_t *blocks)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *message = &blocks->inbox;
    ald_samples_t head;
    memcpy(&head, message->data, sizeof head);
    ald_step_blocks_t *slot = slot_of(blocks, head.step);
    if (slot->draw.step != head.step)
        ALD_TRY(open_step(blocks, head.step, slot));
    ALD_TRY(note_responses(slot, message, sizeof head));
    ALD_TRY(ald_vec_push(&slot->messages, message));
    ald_vec_init(message, 1);
    slot->closed += head.last;
    if (head.last)
        ald_shift_join(&slot->generators, &head.shift);
done:
    return status;
}

ald_status_t ald_blocks_look(ald_blocks_t *blocks)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *world = blocks->work->roles->world;
    int from;
    while (ald_message_there(world, MPI_ANY_SOURCE, ALD_TAG_SAMPLES, &from)) {
        ALD_TRY(ald_message_receive(world, from, ALD_TAG_SAMPLES, &blocks->inbox));
        ALD_TRY(take(blocks));
    }
done:
    return status;
}

/* --- scoring ---------------------------------------------------------------------------------- */

static bool is_whole(const ald_step_blocks_t *slot, int64_t block)
{
    const int64_t end = ald_draw_begin(&slot->draw, block + 1);
    for (int64_t i = ald_draw_begin(&slot->draw, block); i < end; ++i)
        if (slot->responses[i].ids == NULL && ald_draw_is_sampled(&slot->draw, i))
            return false;
    return true;
}

bool ald_blocks_ready(const ald_blocks_t *blocks)
{
    const ald_step_blocks_t *slot = slot_of(blocks, blocks->next);
    if (slot->draw.step != blocks->next)
        return false;
    if (slot->next < slot->end)
        return is_whole(slot, slot->next);
    return slot->closed == blocks->work->roles->place.generators.count;
}

/* Gives an item's sequence its sampled response. */
static ald_status_t give_response(ald_blocks_t *blocks, const ald_response_t *response,
                                  ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *text = NULL;
    size_t length = 0;
    sequence->source = ALD_SOURCE_POLICY;
    sequence->response_ids = response->ids;
    sequence->response_count = response->count;
    sequence->logprob_policy = response->logprobs;
    ALD_TRY(
        ald_sampled_text(&blocks->work->roles->data, response->ids, response->count, NULL, &text));
    const char *bytes = ald_json_text(text, &length);
    sequence->response = ald_arena_strdup(&blocks->arena, bytes, length);
    ALD_CHECK(sequence->response != NULL, ALD_STATUS_RESOURCE, "out of memory");
done:
    ald_json_free(text);
    return status;
}

/* Copies a kept sequence, teacher and all. */
static ald_status_t copy_kept(ald_blocks_t *blocks, ald_step_blocks_t *slot, int64_t item)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_arena_mark_t mark = ald_arena_mark(&blocks->arena);
    ald_scored_t sequence;
    ALD_TRY(
        ald_shardset_read(blocks->work->roles->kept, slot->kept[item], &blocks->arena, &sequence));
    ALD_TRY(ald_shard_writer_append(slot->writer, &sequence));
done:
    ald_arena_release(&blocks->arena, mark);
    return status;
}

static ald_status_t open_shard(const ald_blocks_t *blocks, ald_step_blocks_t *slot)
{
    ald_shard_header_t *header = &blocks->work->roles->scorer.header;
    if (slot->writer != NULL)
        return ALD_STATUS_OK;
    header->policy_step = ald_work_version(blocks->work, slot->draw.step);
    return ald_shard_writer_open(slot->path, header, &slot->writer);
}

static ald_status_t score_block(ald_blocks_t *blocks, ald_step_blocks_t *slot)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t *roles = blocks->work->roles;
    const ald_arena_mark_t mark = ald_arena_mark(&blocks->arena);
    const int64_t first = ald_draw_begin(&slot->draw, slot->next++);
    const int64_t end = ald_draw_begin(&slot->draw, slot->next);
    ald_scored_t *sequences = ALD_ARENA_ARRAY(&blocks->arena, ald_scored_t, end - first);
    int64_t count = 0; /* of those that are to be scored */
    ALD_CHECK(sequences != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(open_shard(blocks, slot));
    for (int64_t i = first; i < end; ++i) {
        if (roles->kept != NULL && !ald_draw_is_sampled(&slot->draw, i)) {
            ALD_TRY(copy_kept(blocks, slot, i));
            continue;
        }
        sequences[count] = ald_draw_sequence(&slot->draw, i);
        if (slot->responses[i].ids != NULL)
            ALD_TRY(give_response(blocks, &slot->responses[i], &sequences[count]));
        slot->scorer.tokens += (double)sequences[count++].response_count;
    }
    ALD_TRY(ald_scorer_run(&roles->scorer, sequences, count, slot->writer));
done:
    ald_arena_release(&blocks->arena, mark);
    return status;
}

/* Publishes the shard. */
static ald_status_t commit(ald_step_blocks_t *slot)
{
    ald_status_t status = ALD_STATUS_OK;
    if (slot->writer == NULL)
        goto done;
    ALD_TRY(ald_fail_point("shard_commit"));
    status = ald_shard_writer_commit(slot->writer);
    slot->writer = NULL;
done:
    return status;
}

/* Tells the trainers of the shard; the next step's turn comes. */
static ald_status_t tell(ald_blocks_t *blocks, ald_step_blocks_t *slot, bool wrote)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = blocks->work->roles;
    const ald_ranks_t *to = &roles->place.trainers;
    const ald_scored_step_t head = {slot->draw.step, slot->generators, slot->scorer};
    const char *path = wrote ? slot->path : "";
    ald_vec_t message;
    ald_vec_init(&message, 1);
    ALD_TRY(ald_vec_append(&message, &head, sizeof head));
    ALD_TRY(ald_vec_append(&message, path, strlen(path) + 1));
    for (int t = 0; t < to->count; ++t)
        ald_post_send(&blocks->work->post, roles->world, to->first + t, ALD_TAG_SHARD,
                      ALD_STATUS_OK, message.data, (int64_t)message.count);
    empty(slot);
    blocks->next += 1;
done:
    ald_vec_reset(&message);
    return status;
}

ald_status_t ald_blocks_step(ald_blocks_t *blocks)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_step_blocks_t *slot = slot_of(blocks, blocks->next);
    const double begun = ald_time();
    slot->scorer.wait += ald_work_idle(blocks->work);
    const bool finishes = slot->next == slot->end, wrote = slot->writer != NULL;
    if (finishes)
        ALD_TRY(commit(slot));
    else
        ALD_TRY(score_block(blocks, slot));
    slot->scorer.work += ald_time() - begun;
    if (finishes)
        ALD_TRY(tell(blocks, slot, wrote));
done:
    return status;
}
