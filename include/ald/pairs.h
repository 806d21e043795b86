/* Preference pairs, prompts and generations from JSONL, tokenised. Layer: data. */
#ifndef ALD_PAIRS_H
#define ALD_PAIRS_H

#include <stdint.h>

#include "ald/chat.h"
#include "ald/json.h"
#include "ald/status.h"
#include "ald/tokenizer.h"

typedef enum {
    ALD_PAIRS_PROMPT = 0, /* only "prompt" is needed */
    ALD_PAIRS_CHOSEN = 1,
    ALD_PAIRS_REJECTED = 2,
    ALD_PAIRS_RESPONSE = 4, /* "response", as `generate` writes it */
    ALD_PAIRS_SCORED =
        8, /* for `score`: chosen and rejected, or response, whichever the file has */
    ALD_PAIRS_PRESENT = 32, /* for `eval`: chosen and rejected of rows that have both */
    ALD_PAIRS_TEXT = 16,    /* for `sft`: a row may be {"text"} alone: its first token becomes the
                               prompt, the others, and the tokenizer's EOS, the chosen response */
} ald_pairs_need_t;

/* A run of tokens and its text; both owned by the ald_pairs_t. */
typedef struct {
    const int32_t *ids;
    int64_t count;    /* 0: the row has none */
    const char *text; /* UTF-8, NUL-terminated, as read (responses) or as rendered (prompts) */
} ald_text_t;

typedef struct {
    int64_t
        id; /* 0-based line in the file; a row's "id" as written by `generate` for generations */
    int64_t line;
    ald_text_t prompt; /* ends with the generation prompt; loses its beginning when too long, but
                          never a part of its markup */
    ald_text_t chosen, rejected, response; /* end with the chat's end token unless cut */
    const float *logprobs; /* [response.count] of the sampled tokens ("logprobs"), or NULL */
    int64_t sample;        /* "sample" of a generation, else 0 */
    int64_t policy_step;   /* "policy_step" of a generation, else -1 */
    const ald_json_t *required, *forbidden; /* arrays of strings for eval, or NULL; borrowed */
} ald_pair_t;

typedef struct {
    int64_t rows, prompts_cut, responses_cut, identical; /* identical: chosen == rejected, kept */
    int64_t
        boundaries; /* rows where a token spans the end of the prompt and an answer's beginning */
} ald_pairs_counts_t;

typedef struct {
    ald_pair_t *rows;
    int64_t count;
    ald_pairs_counts_t counts;
    char sha256[65];               /* of the file's bytes */
    struct ald_pairs_store *store; /* private */
} ald_pairs_t;

/* Reads and tokenises (with OpenMP threads) every row. Empty lines are skipped. INPUT
 * "FILE:LINE: ..." for a broken line, a missing or empty field that `need` names, invalid UTF-8,
 * and "FILE: no rows". A prompt of more than max_prompt tokens loses its beginning, a response of
 * more than max_response its end and its end token; both are counted.
 *
 * A response's tokens are those of the whole conversation, as the chat format writes it, that
 * follow the tokens of the prompt, up to the end token; a token that spans both is the response's.
 * Under "none" the two are tokenised apart. "prompt_text" and KEY_text ("chosen_text",
 * "rejected_text", "response_text"; the last alone serves as chosen) go before their namesakes, and
 * are read as they are: rendered already, end token included. Local. */
ald_status_t ald_pairs_load(const char *path, ald_pairs_need_t need,
                            const ald_tokenizer_t *tokenizer, const ald_chat_t *chat,
                            int64_t max_prompt, int64_t max_response, ald_pairs_t *out);
void ald_pairs_reset(ald_pairs_t *pairs); /* takes a zeroed one */

#endif
