/* Sequences of shards for micro-batches. Which rank reads what follows from the lengths alone, as
 * the micro-batches do, so each rank's share can be known, and read, before the step. */
#include "ald/role/reader.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/objective/distill.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/shard/format.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/train/loop.h"

ald_status_t ald_reader_open(const ald_comm_t *trainers, ald_shardset_t *set, ald_reader_t *out)
{
    *out = (ald_reader_t){.trainers = trainers, .set = set};
    return ald_readahead_open(set, &out->ahead);
}

void ald_reader_close(ald_reader_t *reader)
{
    ald_readahead_close(reader->ahead);
    reader->ahead = NULL;
}

ald_status_t ald_reader_share(const ald_comm_t *trainers, const ald_config_t *config,
                              const ald_shardset_t *set, const int64_t *entries, int64_t count,
                              int64_t *mine, int64_t *mine_count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t *tokens = ald_alloc(sizeof *tokens * (size_t)(2 * count + 1));
    ALD_CHECK_MEMORY(tokens, sizeof *tokens * (size_t)(2 * count + 1));
    int64_t *start = tokens + count;
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_entry_tokens(&set->entries[entries[i]]);
    const int64_t micros =
        ald_micro_split(tokens, count, config->optimizer.micro_batch_tokens, start);
    *mine_count = 0;
    for (int64_t m = trainers->rank; m < micros; m += trainers->size)
        for (int64_t i = start[m]; i < start[m + 1]; ++i)
            mine[(*mine_count)++] = entries[i];
done:
    ald_free(tokens);
    return status;
}

ald_status_t ald_reader_plan(ald_reader_t *reader, const ald_config_t *config,
                             const int64_t *entries, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t mine_count, *mine = ald_alloc(sizeof *mine * (size_t)(count + 1));
    ALD_CHECK_MEMORY(mine, sizeof *mine * (size_t)(count + 1));
    ALD_TRY(
        ald_reader_share(reader->trainers, config, reader->set, entries, count, mine, &mine_count));
    ALD_TRY(ald_readahead_plan(reader->ahead, mine, mine_count));
done:
    ald_free(mine);
    return status;
}

ald_status_t ald_reader_read(ald_reader_t *reader, const ald_items_t *items, int64_t first,
                             int64_t count, ald_arena_t *arena, const void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *sequence = ALD_ARENA_ARRAY(arena, ald_scored_t, count);
    ald_item_t *packing = ALD_ARENA_ARRAY(arena, ald_item_t, count);
    ald_reading_t *reading = ALD_ARENA_ARRAY(arena, ald_reading_t, 1);
    ALD_CHECK(sequence != NULL && packing != NULL && reading != NULL, ALD_STATUS_RESOURCE,
              "out of memory");
    ALD_TRY(ald_fail_point("shard_read"));
    const double waited = ald_readahead_waited(reader->ahead);
    ald_readahead_release(reader->ahead);
    for (int64_t i = 0; i < count; ++i) {
        ALD_TRY(ald_readahead_take(reader->ahead, items->item[first + i], &sequence[i]));
        packing[i] = (ald_item_t){.prompt = sequence[i].prompt_ids,
                                  .prompt_count = sequence[i].prompt_count,
                                  .responses = 1,
                                  .response = {sequence[i].response_ids, NULL},
                                  .response_count = {sequence[i].response_count, 0}};
    }
    ALD_TRY(ald_pack(packing, count, arena, &reading->packed));
    reading->sequence = sequence;
    reading->waited = ald_readahead_waited(reader->ahead) - waited;
    reader->sequences_read += count;
    *out = reading;
done:
    return status;
}
