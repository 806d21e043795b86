/* Packs items into a batch: tokens back to back, a prompt once for both of its responses. Padding
 * would be computed like tokens, and a shared prompt is most of a pair. */
#include "ald/model/batch.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/num/attention.h"

int64_t ald_item_tokens(const ald_item_t *item)
{
    int64_t tokens = item->prompt_count;
    for (int r = 0; r < item->responses; ++r)
        tokens += item->response_count[r] - 1;
    return tokens;
}

bool ald_micro_full(int64_t used, int64_t tokens, int64_t limit)
{
    return used > 0 && used + tokens > limit;
}

int64_t ald_micro_split(const int64_t *tokens, int64_t count, int64_t limit, int64_t *start)
{
    int64_t micro = 0, used = 0;
    for (int64_t i = 0; i < count; ++i) {
        if (i == 0 || ald_micro_full(used, tokens[i], limit)) {
            start[micro++] = i;
            used = 0;
        }
        used += tokens[i];
    }
    start[micro] = count;
    return micro;
}

/* The arrays of a batch while they are filled, and how many elements they have so far. */
typedef struct {
    int32_t *ids, *positions, *target;
    int64_t *row, *start, tokens, filled, sequences, segments;
    ald_segment_t *segment;
} filling_t;

static int64_t add_segment(filling_t *f, const int32_t *ids, int64_t count, int64_t parent,
                           int64_t position)
{
    f->segment[f->segments] = (ald_segment_t){f->tokens, f->tokens + count, parent};
    memcpy(f->ids + f->tokens, ids, sizeof *ids * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        f->positions[f->tokens + i] = (int32_t)(position + i);
    f->tokens += count;
    return f->segments++;
}

static void add_item(filling_t *f, const ald_item_t *item)
{
    int64_t prompt = add_segment(f, item->prompt, item->prompt_count, -1, 0);
    int64_t last = f->tokens - 1;
    for (int r = 0; r < item->responses; ++r) {
        int64_t first = f->tokens, count = item->response_count[r];
        add_segment(f, item->response[r], count - 1, prompt, item->prompt_count);
        for (int64_t i = 0; i < count; ++i) {
            f->row[f->filled] = i == 0 ? last : first + i - 1;
            f->target[f->filled++] = item->response[r][i];
        }
        f->start[++f->sequences] = f->filled;
    }
}

ald_status_t ald_pack(const ald_item_t *items, int64_t count, ald_arena_t *arena, ald_packed_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t tokens = 0, positions = 0, sequences = 0;
    for (int64_t i = 0; i < count; ++i) {
        ALD_CHECK(items[i].prompt_count > 0, ALD_STATUS_INPUT,
                  "a prompt has no tokens; expected at least one");
        tokens += ald_item_tokens(&items[i]);
        for (int r = 0; r < items[i].responses; ++r)
            positions += items[i].response_count[r];
        sequences += items[i].responses;
    }
    filling_t f = {.ids = ALD_ARENA_ARRAY(arena, int32_t, tokens),
                   .positions = ALD_ARENA_ARRAY(arena, int32_t, tokens),
                   .target = ALD_ARENA_ARRAY(arena, int32_t, positions),
                   .row = ALD_ARENA_ARRAY(arena, int64_t, positions),
                   .start = ALD_ARENA_ARRAY(arena, int64_t, sequences + 1),
                   .segment = ALD_ARENA_ARRAY(arena, ald_segment_t, count + sequences)};
    ALD_CHECK(f.ids && f.positions && f.target && f.row && f.start && f.segment,
              ALD_STATUS_RESOURCE, "out of memory: packing %lld tokens", (long long)tokens);
    f.start[0] = 0;
    for (int64_t i = 0; i < count; ++i)
        add_item(&f, &items[i]);
    *out = (ald_packed_t){{tokens, f.ids, f.positions, f.segments, f.segment},
                          positions,
                          f.row,
                          f.target,
                          sequences,
                          f.start};
done:
    return status;
}
