/* Preference pairs, prompts and generations from a data file, tokenised. Layer: data. */
#ifndef ALD_DATA_PAIRS_H
#define ALD_DATA_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/members.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"

typedef enum {
    ALD_PAIRS_PROMPT = 0, /* only "prompt" is needed */
    ALD_PAIRS_CHOSEN = 1,
    ALD_PAIRS_REJECTED = 2,
    ALD_PAIRS_RESPONSE = 4, /* "response", as `generate` writes it */
    ALD_PAIRS_SCORED = 8, /* for `score`: chosen and rejected, or response, as the file has them */
    ALD_PAIRS_PRESENT = 32, /* for `eval`: chosen and rejected of rows that have both */
    ALD_PAIRS_TEXT = 16, /* for `sft`: a row may be {"text"} alone. Its first token (BOS, where the
                            tokenizer puts it) becomes the prompt, the others and the
                            tokenizer's EOS the chosen response */
} ald_pairs_need_t;

/* A run of tokens and its text; both owned by the ald_pairs_t. */
typedef struct {
    const int32_t *ids;
    int64_t count;    /* 0: the row has none */
    const char *text; /* UTF-8, NUL-terminated, as read (responses) or as rendered (prompts) */
} ald_text_t;

typedef struct {
    int64_t id;        /* the 0-based line or item; of a row that `generate` wrote, its "id" */
    int64_t line;      /* the same from 1, as messages have it */
    ald_text_t prompt; /* ends with the generation prompt; loses its beginning when too long, but
                          never a part of its markup */
    ald_text_t chosen, rejected, response; /* end with the chat's end token unless cut */
    const float *logprobs;   /* [response.count] of the sampled tokens ("logprobs"), or NULL */
    int64_t sample;          /* "sample" of a generation, else 0 */
    int64_t policy_step;     /* "policy_step" of a generation, else -1 */
    const ald_json_t *extra; /* an object of the row's members that eval and generate use, or NULL:
                                "required", "forbidden" (lists of strings), "question_id", "uid",
                                "turns", "prompt", "instruction", "input", "dataset"; with
                                ALD_PAIRS_PRESENT "subset"; borrowed */
} ald_pair_t;

typedef struct {
    int64_t read; /* rows of the file that were looked at: all, or data.max_rows */
    int64_t prompts_cut, responses_cut, identical; /* identical: chosen == rejected, kept */
    int64_t boundaries; /* rows where a token spans the end of the prompt and the answer's begin */
    int64_t ties;       /* rows whose score_chosen and score_rejected are equal, kept */
    int64_t skipped[ALD_SKIP_COUNT];
    int64_t unread[ALD_MEMBER_COUNT]; /* rows with a member that the layout doesn't read */
} ald_pairs_counts_t;

typedef struct {
    ald_pair_t *rows;
    int64_t count;
    ald_pairs_counts_t counts;
    int64_t first_skipped[ALD_SKIP_COUNT]; /* 0-based line or index of the first; -1: none */
    ald_layout_t layout;
    bool array;                    /* the file is one JSON array */
    char sha256[65];               /* of the file's bytes */
    struct ald_pairs_store *store; /* private */
} ald_pairs_t;

/* Which rows of a file are read, and how. */
typedef struct {
    ald_pairs_need_t need;
    const ald_tokenizer_t *tokenizer;
    const ald_chat_t *chat;
    int64_t max_prompt, max_response; /* tokens */
    ald_layout_t layout;              /* ALD_LAYOUT_AUTO: as the first rows show */
    int64_t max_rows;                 /* take so many rows at most (0: all) */
    bool shuffle;                     /* rows taken at random (by `seed`), not the first ones */
    uint64_t seed;
    int part, parts; /* read that part of those rows, by bytes; parts 0 or 1: all */
} ald_pairs_options_t;

/* Reads and tokenises (with OpenMP threads) the rows of a JSONL file or JSON array, plain or
 * gzipped, in any layout of ald/data/layout.h; they stay in the order of the file. Empty lines are
 * no rows. Rows that can't be used are left out and counted by reason. INPUT "FILE:LINE: ..."
 * ("FILE: item N: ...") for a broken line, a wrong type, a missing field that `need` names, invalid
 * UTF-8, a row of another layout than the file's, and "FILE: ..." when there are no rows, or none
 * that can be used (of a part, ald_pairs_merge says that). A prompt of more than max_prompt tokens
 * loses its beginning, a response of more than max_response its end and its end token; both are
 * counted.
 *
 * A response's tokens are those of the whole conversation, as the chat format writes it, that
 * follow the tokens of the prompt, up to the end token; a token that spans both is the response's.
 * Under "none" the two are tokenised apart, the prompt behind the ids of ald_tokenizer_front.
 * "prompt_text" and KEY_text ("chosen_text", "rejected_text", "response_text"; the last alone
 * serves as chosen) go before their namesakes, and are read as they are: rendered already, end
 * token included. Local. */
ald_status_t ald_pairs_load(const char *path, const ald_pairs_options_t *options, ald_pairs_t *out);
/* Logs one line: the rows, the rows used, and for each reason how many were left out and where the
 * first of them is; and a line for each member that rows have and their layout doesn't read. */
void ald_pairs_log(const ald_pairs_t *pairs, const char *path);
/* The same for text in memory, which messages call NAME. Local. */
ald_status_t ald_pairs_parse(const char *name, const char *text, size_t size,
                             const ald_pairs_options_t *options, ald_pairs_t *out);
void ald_pairs_reset(ald_pairs_t *pairs); /* takes a zeroed one */

#endif
