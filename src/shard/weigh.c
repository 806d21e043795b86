/* The size of a shard from the numbers of what is in it. HDF5 decides where small pieces lie, so a
 * small shard's size is that of one which is written to see; in a large one chunks are all. */
#include "ald/shard/weigh.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/shard/fletcher.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"
#include "shard/format_impl.h"

enum {
    ALIGNED = 1 << 16,  /* chunks from which on they begin at multiples of the alignment */
    HEADERS = 24 << 10, /* of the file, its groups and datasets */
    GAP = 3, /* places of a chunk that lie empty, and one more for each FILLED bytes of */
    FILLED = 115 << 10, /* small pieces, as they come between chunks; both measured */
};

static int64_t rows_of(const ald_dataset_info_t *info, const ald_shard_content_t *content)
{
    switch (info->rows) {
    case ALD_ROWS_N:
        return content->sequences;
    case ALD_ROWS_N1:
        return content->sequences + 1;
    case ALD_ROWS_T:
        return content->tokens;
    default:
        return content->positions;
    }
}

static int64_t chunks_of(const ald_column_plan_t *plan, int64_t rows)
{
    const int64_t across = (plan->width + plan->chunk_width - 1) / plan->chunk_width;
    return (rows + plan->chunk_rows - 1) / plan->chunk_rows * across;
}

double ald_shard_bytes(const ald_shard_header_t *header, const ald_shard_content_t *content)
{
    const double place = (double)ald_shard_alignment(header);
    double large = 0.0, small = HEADERS + 2.0 * (double)content->text_bytes;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        const ald_column_plan_t plan = ald_column_plan(info, header);
        const int64_t rows = plan.used ? rows_of(info, content) : 0;
        if (rows == 0)
            continue;
        const bool part = rows < plan.chunk_rows; /* one smaller chunk */
        const double chunk =
            (double)(part ? rows * plan.width * (int64_t)plan.size : (int64_t)plan.chunk_bytes) +
            ALD_FLETCHER_BYTES;
        const double count = (double)chunks_of(&plan, rows);
        if (chunk < ALIGNED)
            small += count * chunk;
        else
            large += count * place * (double)((int64_t)((chunk - 1.0) / place) + 1);
    }
    return large == 0.0 ? small : large + place * (GAP + (double)(int64_t)(small / FILLED));
}

ald_status_t ald_shard_trial(const char *path, const ald_shard_header_t *header,
                             const ald_shard_content_t *content, double *bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = content->sequences, R = content->positions, T = content->tokens;
    ald_shard_writer_t *writer = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    ald_arena_t arena;
    ald_arena_init(&arena);
    text = ald_calloc((size_t)(content->text_bytes / (2 * n)) + 1, 1);
    ids = ald_calloc((size_t)(T / n + 2), 2 * sizeof *ids);
    ALD_CHECK(text != NULL && ids != NULL, ALD_STATUS_RESOURCE, "out of memory: %s", path);
    memset(text, 'a', (size_t)(content->text_bytes / (2 * n)));
    ALD_TRY(ald_shard_writer_open(path, header, &writer));
    for (int64_t i = 0; i < n; ++i) {
        const ald_arena_mark_t mark = ald_arena_mark(&arena);
        const int64_t positions = R * (i + 1) / n - R * i / n;
        const int64_t tokens = T * (i + 1) / n - T * i / n;
        ald_scored_t sequence = {.id = i,
                                 .prompt = text,
                                 .response = text,
                                 .prompt_ids = ids,
                                 .prompt_count = tokens - positions,
                                 .response_ids = ids,
                                 .response_count = positions};
        ALD_TRY(ald_scored_alloc(header, positions, &arena, &sequence));
        ald_scored_fill(header, (uint64_t)i, positions, &sequence);
        ALD_TRY(ald_shard_writer_append(writer, &sequence));
        ald_arena_release(&arena, mark);
    }
    status = ald_shard_writer_commit(writer);
    writer = NULL;
    *bytes = (double)ald_file_size(path);
done:
    ald_shard_writer_discard(writer);
    ald_arena_reset(&arena);
    ald_free(text);
    ald_free(ids);
    return status;
}
