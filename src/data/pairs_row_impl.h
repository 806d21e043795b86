/* One row of a data file: from JSON to tokens. Layer: data. */
#ifndef ALD_DATA_PAIRS_ROW_IMPL_H
#define ALD_DATA_PAIRS_ROW_IMPL_H

#include <stdbool.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/pairs.h"

/* What is noted of a row beside its tokens. */
typedef struct {
    bool cut[4];   /* prompt, chosen, rejected, response */
    bool boundary; /* tokens of the prompt went to the responses */
    bool tie;      /* the scores of chosen and rejected are equal */
    ald_skip_t skip;
} ald_pairs_note_t;

/* What a row is read with. Everything but the arena is shared by the threads. */
typedef struct {
    const ald_pairs_options_t *options;
    ald_layout_t layout; /* of the file */
    ald_arena_t *arena;  /* the thread's own */
    ald_vec_t *kept;     /* JSON that rows refer to; appended to in a critical section */
} ald_pairs_reader_t;

/* Fills *out, whose id and line are set, and *note. INPUT without file and line; the same for a row
 * to be left out, with note->skip set. */
ald_status_t ald_pairs_read_row(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                ald_pair_t *out, ald_pairs_note_t *note);

/* "logprobs", "sample", "policy_step" and "id" of a row that `generate` wrote. INPUT without file
 * and line. */
ald_status_t ald_pairs_read_generation(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                       ald_pair_t *out);
/* Keeps the members that are used after the row itself is gone, as out->extra. INPUT likewise. */
ald_status_t ald_pairs_keep_extra(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  ald_pair_t *out);

#endif
