/* read_shard PATH...: opens each shard and reads all of it; a line "STATUS<tab>message" for each,
 * for checks in Python. Not a test. */
#include <stdio.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"

static ald_status_t read_all(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ald_arena_t arena = {0};
    ald_scored_t sequence;
    ALD_TRY(ald_shard_open(path, &shard));
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_arena_release(&arena, (ald_arena_mark_t){0});
        ALD_TRY(ald_shard_read(shard, i, true, &arena, &sequence));
    }
done:
    ald_shard_close(shard);
    ald_arena_reset(&arena);
    return status;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; ++i) {
        ald_status_t status = read_all(argv[i]);
        printf("%d\t%s\n", status, status == ALD_STATUS_OK ? "" : ald_status_message());
        fflush(stdout);
    }
    return ald_memory_blocks() == 0 ? 0 : ALD_STATUS_INTERNAL;
}
