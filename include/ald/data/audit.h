/* What is wrong with the rows of a data file: the table of reasons, and the pass over a part of the
 * file that finds those which a row shows by itself. Layer: data. */
#ifndef ALD_DATA_AUDIT_H
#define ALD_DATA_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/minhash.h"
#include "ald/data/row_file.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"

/* R(constant, name, meaning). The first ALD_REASON_OTHERS of them name another row as well. */
#define ALD_REASONS(R)                                                                             \
    R(DUPLICATE_PAIR, "duplicate-pair", "prompt and answers are those of an earlier row")          \
    R(NEAR_PAIR, "near-duplicate",                                                                 \
      "prompt and answers together are nearly those of an earlier row")                            \
    R(DUPLICATE_PROMPT, "duplicate-prompt", "the prompt is that of an earlier row")                \
    R(NEAR_PROMPT, "near-duplicate-prompt", "the prompt is nearly that of an earlier row")         \
    R(CONTRADICTION, "contradiction", "another row prefers the same answers the other way round")  \
    R(SAME_ANSWERS, "same-answers", "chosen and rejected are the same text")                       \
    R(SAME_CUT, "same-after-cut", "chosen and rejected are the same tokens once they are cut")     \
    R(EMPTY, "empty", "prompt or answer is missing or has nothing but white space")                \
    R(WRONG_ROLES, "wrong-roles", "turns don't alternate, or an assistant's doesn't end the row")  \
    R(PROMPTS_DIFFER, "prompts-differ",                                                            \
      "chosen and rejected differ in more than the last message")                                  \
    R(NOT_USED, "not-used", "no stage reads it: labelled as not wanted, tool calls, no tokens")    \
    R(UNFINISHED, "unfinished",                                                                    \
      "the chosen answer doesn't end: as the row says, or by its last character")                  \
    R(REPEATED, "repeated-text", "most n-grams of the chosen answer occur in it before")           \
    R(SCRIPTS, "scripts-differ",                                                                   \
      "most letters of chosen and of rejected are of different scripts")                           \
    R(REFUSAL, "refusal", "the chosen answer begins as a refusal does")                            \
    R(FORBIDDEN, "forbidden-term", "the chosen answer has a term of \"forbidden\" or audit.terms") \
    R(FIGURES, "figures",                                                                          \
      "the chosen answer lacks a figure of \"required\", or has one that the prompt lacks")        \
    R(EMAIL, "email", "an e-mail address in some text")                                            \
    R(PHONE, "phone", "a telephone number in some text")                                           \
    R(CARD, "card", "a payment card's number, its check digit right")                              \
    R(IBAN, "iban", "a bank account's IBAN, its check digits right")                               \
    R(EVAL_PROMPT, "eval-prompt", "the prompt is one of data.eval")                                \
    R(EVAL_13, "eval-13-gram", "the prompt has 13 words in a row that a prompt of data.eval has")  \
    R(EVAL_8, "eval-8-gram", "the prompt has 8 words in a row that a prompt of data.eval has")     \
    R(LONG_PROMPT, "prompt-too-long", "more tokens than data.max_prompt_tokens")                   \
    R(LONG_ANSWER, "answer-too-long", "an answer of more tokens than data.max_response_tokens")    \
    R(LOSSY, "lossy-tokens", "a text that the tokenizer doesn't give back as it was")              \
    R(FLIPPED, "likely-flipped",                                                                   \
      "models that haven't seen the row prefer the rejected answer (audit.models)")

typedef enum {
#define ALD_REASON_CONSTANT(name, text, meaning) ALD_REASON_##name,
    ALD_REASONS(ALD_REASON_CONSTANT)
#undef ALD_REASON_CONSTANT
        ALD_REASON_COUNT
} ald_reason_t;
#define ALD_REASON_OTHERS 5

const char *ald_reason_name(ald_reason_t reason);
const char *ald_reason_meaning(ald_reason_t reason);
/* Finds a reason by the first `length` characters of a text. USAGE, with the names, for another;
 * `place` begins the message. Local. */
ald_status_t ald_reason_find(const char *text, size_t length, const char *place, ald_reason_t *out);
/* Reads names with commas between as bits, 1 << reason; "standard" stands for those that
 * src/data/AUDIT.md calls removed. USAGE as above. Local. */
ald_status_t ald_reasons_parse(const char *list, const char *place, uint32_t *out);

/* What is known of a row. Hashes are of 128 bits. */
typedef struct {
    uint64_t prompt[2], answer[2][2]; /* answers: chosen, rejected */
    uint32_t reasons;                 /* 1 << ald_reason_t */
    uint32_t length[2];               /* characters of chosen and rejected */
    uint8_t script;                   /* ald_script_t of the chosen answer, else of the prompt */
    bool read;                        /* its texts were found; else only `reasons` counts */
    bool answered[2];                 /* it has this answer */
    bool refuses[2];                  /* the answer begins as a refusal does */
} ald_audit_row_t;

/* Of which text a signature is: the prompt with all answers, or the prompt. */
typedef enum { ALD_AUDIT_WHOLE, ALD_AUDIT_PROMPT, ALD_AUDIT_TEXTS } ald_audit_text_t;

/* Prompts that training must not have. */
typedef struct {
    ald_vec_t prompts;  /* uint64_t: hashes, sorted */
    ald_vec_t grams[2]; /* uint64_t: of 8 and of 13 words, sorted */
} ald_audit_eval_t;

/* A data file, and what its rows are held against. */
typedef struct {
    const ald_config_t *config; /* borrowed */
    ald_row_file_t file;
    ald_layout_t layout;
    ald_minhash_t minhash;
    ald_json_t *refusals, *terms; /* lists of strings */
    ald_audit_eval_t eval;
    const char *model;          /* whose tokenizer is used; NULL: none */
    ald_tokenizer_t *tokenizer; /* NULL: no model is named */
    ald_chat_t chat;
} ald_audit_t;

/* Opens data.train, data.eval, the lists and, where sft.model or dpo.policy names a model, its
 * tokenizer. USAGE for settings that don't fit each other, INPUT as elsewhere. Local; freed by
 * ald_audit_close, also after a failure. */
ald_status_t ald_audit_open(const ald_config_t *config, ald_audit_t *out);
void ald_audit_close(ald_audit_t *audit); /* takes a zeroed one */

/* What was found in a part of the file's rows. */
typedef struct {
    int64_t first, count;
    ald_audit_row_t *rows;            /* [count] */
    uint32_t *bands[ALD_AUDIT_TEXTS]; /* [bands][count] of each text; 0: the text has no words */
} ald_audit_part_t;

/* Reads part `part` of `parts` with OpenMP threads. INPUT "FILE:LINE: ..." for a row that is
 * damaged, as the stages have it: the first of the part. Local; freed by ald_audit_part_reset. */
ald_status_t ald_audit_read(const ald_audit_t *audit, int part, int parts, ald_audit_part_t *out);
void ald_audit_part_reset(ald_audit_part_t *part); /* takes a zeroed one */

/* Sets same[i] where the texts of rows pairs[2 i] and pairs[2 i + 1] of the file have at least the
 * similarity audit.similarity, for every `step`-th i from `first` on; OpenMP threads. Local. */
typedef struct {
    ald_audit_text_t text;
    const uint32_t *pairs; /* [2 count] */
    int64_t count, first, step;
} ald_audit_candidates_t;
ald_status_t ald_audit_verify(const ald_audit_t *audit, const ald_audit_candidates_t *candidates,
                              uint8_t *same);

/* The beginning of a row's prompt, about 80 characters on one line, into `out` (bytes). Local. */
ald_status_t ald_audit_excerpt(const ald_audit_t *audit, int64_t row, ald_vec_t *out);

#endif
