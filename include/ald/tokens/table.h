/* Tokens with their numbers: a table of which text, JSON lines and a page are made. R positions of
 * a response. All functions are local. Layer: tokens. */
#ifndef ALD_TOKENS_TABLE_H
#define ALD_TOKENS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/tokenizer.h"

/* The columns, in the order in which they are shown; `columns` in src/tokens/table.c says what each
 * is. */
typedef enum {
    ALD_COLUMN_POLICY,
    ALD_COLUMN_TEACHER,
    ALD_COLUMN_DPO,
    ALD_COLUMN_CONTRAST,
    ALD_COLUMN_REFERENCE,
    ALD_COLUMN_REWARD,
    ALD_COLUMN_TVD,
    ALD_COLUMN_ALPHA,
    ALD_COLUMN_WEIGHT,
    ALD_COLUMN_EXPECTED,
    ALD_COLUMN_KL_TEACHER,
    ALD_COLUMN_KL_DPO,
    ALD_COLUMN_ENTROPY,
    ALD_COLUMN_ENTROPY_TEACHER,
    ALD_COLUMN_ENTROPY_DPO,
    ALD_COLUMNS,
} ald_column_t;

/* How a page colours a column: by distance from 0 to both sides, by height, or by depth. */
typedef enum { ALD_SCALE_SIGNED, ALD_SCALE_HIGH, ALD_SCALE_LOW } ald_scale_t;

typedef struct {
    const char *name, *title, *help;
    ald_scale_t scale;
    bool brief; /* also in text, whose lines are to fit a screen */
} ald_column_row_t;
const ald_column_row_t *ald_column_row(ald_column_t column);

/* Who would have said something else. */
typedef enum { ALD_VOICE_TEACHER, ALD_VOICE_POLICY, ALD_VOICE_DPO, ALD_VOICES } ald_voice_t;
const char *ald_voice_name(ald_voice_t voice);
enum { ALD_ALTERNATIVES = 5 };
typedef struct {
    int32_t id; /* -1: none */
    float logprob;
} ald_alternative_t;

typedef struct {
    const char *name;   /* "chosen" */
    const int32_t *ids; /* [count] */
    int64_t count;      /* R */
    /* NULL: the table can't say; NaN: it can't say it of this token. Log-probabilities and
     * entropies in nats. */
    double *value[ALD_COLUMNS];                 /* [R] */
    ald_alternative_t *alternative[ALD_VOICES]; /* [R, ALD_ALTERNATIVES], likeliest first */
} ald_token_list_t;

typedef struct {
    int64_t row, dataset_row; /* dataset_row: -1 where it is `row` */
    const char *prompt;
    ald_token_list_t list[2];
    int lists;
} ald_token_row_t;

typedef struct {
    ald_arena_t arena;                /* of everything that rows point to */
    ald_vec_t rows;                   /* ald_token_row_t */
    const ald_tokenizer_t *tokenizer; /* NULL: tokens have no texts; borrowed */
    const char *title, *settings;     /* borrowed */
} ald_tokens_t;

/* Rows from `first` to `last`, both among them. */
typedef struct {
    int64_t first, last;
} ald_range_t;

void ald_tokens_init(const ald_tokenizer_t *tokenizer, const char *title, const char *settings,
                     ald_tokens_t *out);
void ald_tokens_reset(ald_tokens_t *tokens); /* takes a zeroed one */
/* Appends a row with a copy of its prompt; *out is valid until the next. */
ald_status_t ald_tokens_add(ald_tokens_t *tokens, int64_t row, const char *prompt,
                            ald_token_row_t **out);
/* Appends a response to the row (two at most), with copies of name and ids. */
ald_status_t ald_tokens_respond(ald_tokens_t *tokens, ald_token_row_t *row, const char *name,
                                const int32_t *ids, int64_t count, ald_token_list_t **out);
/* Room for a column, of NaN, and for alternatives, of none; RESOURCE without memory. */
ald_status_t ald_tokens_column(ald_tokens_t *tokens, ald_token_list_t *list, ald_column_t column);
ald_status_t ald_tokens_voice(ald_tokens_t *tokens, ald_token_list_t *list, ald_voice_t voice);
/* Puts the likeliest of `count` tokens (id NULL: 0, 1, ..) in falling order, the lower id first
 * among equals. */
void ald_alternatives_pick(int64_t count, const int32_t *id, const float *logprob,
                           ald_alternative_t *out);
/* The sum of a column over the finite values; *some becomes their number. */
double ald_tokens_sum(const ald_token_list_t *list, ald_column_t column, int64_t *some);

#endif
