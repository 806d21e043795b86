/* Packing of items, each a prompt with one or two responses, into a batch without padding, in which
 * the prompt is computed once. Layer: model. */
#ifndef ALD_MODEL_BATCH_H
#define ALD_MODEL_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model.h"

typedef struct {
    const int32_t *prompt;
    int64_t prompt_count; /* at least 1 */
    int responses;        /* 1 or 2, which share the prompt */
    const int32_t *response[2];
    int64_t response_count[2]; /* at least 1 */
} ald_item_t;

/* A packed batch and its response positions: position r predicts target[r] from hidden row row[r].
 * Sequence s (items in order, their responses in order) owns positions [start[s], start[s+1]).
 * The last token of a response predicts nothing, so it is no row of the batch. */
typedef struct {
    ald_batch_t batch;
    int64_t positions;     /* R */
    const int64_t *row;    /* [R] */
    const int32_t *target; /* [R] */
    int64_t sequences;
    const int64_t *start; /* [sequences + 1] */
} ald_packed_t;

/* Everything lies in the arena. Local. */
ald_status_t ald_pack(const ald_item_t *items, int64_t count, ald_arena_t *arena,
                      ald_packed_t *out);
/* Rows of a batch that an item takes. */
int64_t ald_item_tokens(const ald_item_t *item);

/* Splits `count` items of given token counts, in order, into micro-batches of at most `limit`
 * tokens (a larger item stands alone): micro-batch m is [start[m], start[m+1]). Depends on the
 * counts only, never on ranks. start has room for count + 1; returns the number of micro-batches.
 */
int64_t ald_micro_split(const int64_t *tokens, int64_t count, int64_t limit, int64_t *start);
/* The rule of the split: whether a micro-batch of `used` tokens (0: none yet) is closed before an
 * item of so many. */
bool ald_micro_full(int64_t used, int64_t tokens, int64_t limit);

#endif
