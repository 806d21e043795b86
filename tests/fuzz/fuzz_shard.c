/* Fuzzes shards: opens the bytes as a shard and reads all of it, as a trainer would. */
#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ald_shard_t *shard = NULL;
    ald_arena_t arena = {0};
    ald_scored_t sequence;
    ald_status_t status = ald_shard_open(fuzz_file("shard.h5", data, size, false), &shard);
    for (int64_t i = 0; status == ALD_STATUS_OK && i < ald_shard_count(shard); ++i) {
        ald_arena_release(&arena, (ald_arena_mark_t){0});
        status = ald_shard_read(shard, i, true, &arena, &sequence);
    }
    ald_shard_close(shard);
    ald_arena_reset(&arena);
    fuzz_end(status, 0);
    return 0;
}
