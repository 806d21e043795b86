/* One row of a data file: from JSON to tokens. Layer: data. */
#ifndef ALD_DATA_PAIRS_ROW_H
#define ALD_DATA_PAIRS_ROW_H

#include <stdbool.h>

#include "ald/arena.h"
#include "ald/pairs.h"
#include "ald/vec.h"

enum { ALD_PAIRS_CUTS = 5 };

/* What a row is read with. Everything but the arena is shared by the threads. */
typedef struct {
    ald_pairs_need_t need;
    const ald_tokenizer_t *tokenizer;
    const ald_chat_t *chat;
    int64_t max_prompt, max_response;
    ald_arena_t *arena;     /* the thread's own */
    ald_vec_t *kept;        /* JSON that rows refer to; appended to in a critical section */
    const ald_pair_t *rows; /* the first row, for the place in `cuts` */
    bool *cuts;             /* [rows][ALD_PAIRS_CUTS]: whether prompt, chosen, rejected, response
                               were cut; whether tokens of the prompt went to the responses */
} ald_pairs_reader_t;

/* Fills *out, whose id and line are set. INPUT without file and line. */
ald_status_t ald_pairs_read_row(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                ald_pair_t *out);

#endif
