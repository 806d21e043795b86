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

/* What is noted about a row beside its tokens, for the counts. */
typedef struct {
    bool cut[4];     /* prompt, chosen, rejected, response */
    bool boundary;   /* tokens of the prompt were joined with the answer's, and belong to it */
    bool tie;        /* the scores of chosen and rejected are equal */
    unsigned unread; /* a bit for each ald_member_t that the row has and nobody reads */
    ald_skip_t skip;
} ald_pairs_note_t;

/* What reading a row needs. All but the arena is shared by the threads. */
typedef struct {
    const ald_pairs_options_t *options;
    ald_layout_t layout; /* of the file */
    ald_arena_t *arena;  /* the thread's own */
    ald_vec_t *kept;     /* JSON that rows refer to; appended to in a critical section */
} ald_pairs_reader_t;

/* Checks the layout of a row and turns it into prompt and answers. *made is that object, NULL where
 * the row has these members itself; the caller frees it, also after a failure. note->unread and
 * note->skip are set. INPUT without file and line. */
ald_status_t ald_pairs_convert(const ald_pairs_reader_t *reader, const ald_json_t *json,
                               ald_pairs_note_t *note, ald_json_t **made);
/* Whether a converted row has an answer "chosen", "rejected" or "response". */
bool ald_pairs_has_response(const ald_json_t *row, const char *key);
/* Finds the text of such an answer: in KEY_text, a string, or the assistant's message that ends a
 * list. Borrowed. INPUT without file and line, with *skip where the row isn't damaged. */
ald_status_t ald_pairs_response_text(const ald_json_t *row, const char *key, ald_skip_t *skip,
                                     const char **text, size_t *length);

/* Fills *out, whose id and line are set already, and *note. INPUT without file and line for a
 * damaged row; also for a row that is to be left out, with note->skip set. */
ald_status_t ald_pairs_read_row(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                ald_pair_t *out, ald_pairs_note_t *note);

/* Reads "logprobs", "sample", "policy_step" and "id" of a row that `generate` wrote. INPUT without
 * file and line. */
ald_status_t ald_pairs_read_generation(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                       ald_pair_t *out);
/* Keeps as out->extra the members that are used after the row is freed. INPUT without file and
 * line.
 */
ald_status_t ald_pairs_keep_extra(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  ald_pair_t *out);

#endif
