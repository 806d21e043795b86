/* Members of a row that one may take for a part of its texts, and those of them that its layout
 * doesn't read. Layer: data. */
#ifndef ALD_DATA_MEMBERS_H
#define ALD_DATA_MEMBERS_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"

/* M(constant, name, layouts that read it (src/data/members.c), a member beside which they don't).
 */
#define ALD_MEMBERS(M)                                                                             \
    M(SYSTEM, "system", TALKS, "")                                                                 \
    M(PROMPT, "prompt", PLAIN | COMPLETION | ARENA_HARD | MESSAGES, "")                            \
    M(CHOSEN, "chosen", ANSWERED, "")                                                              \
    M(REJECTED, "rejected", ANSWERED, "")                                                          \
    M(RESPONSE, "response", PLAIN | ALPACA, "rejected")                                            \
    M(TEXT, "text", PLAIN, "prompt")                                                               \
    M(MESSAGES, "messages", MESSAGES | ULTRAFEEDBACK, "")                                          \
    M(CONVERSATIONS, "conversations", SHAREGPT, "")                                                \
    M(COMPLETION, "completion", COMPLETION, "")                                                    \
    M(TURNS, "turns", MT_BENCH | ARENA_HARD, "")                                                   \
    M(INSTRUCTION, "instruction", ALPACA | ALPACA_EVAL, "")                                        \
    M(INPUT, "input", ALPACA | ALPACA_EVAL, "")                                                    \
    M(OUTPUT, "output", ALPACA | ALPACA_EVAL, "")                                                  \
    M(HISTORY, "history", ALPACA, "")                                                              \
    M(SYSTEM_PROMPT, "system_prompt", 0, "")                                                       \
    M(CONTEXT, "context", 0, "")                                                                   \
    M(QUESTION, "question", 0, "")                                                                 \
    M(QUERY, "query", 0, "")                                                                       \
    M(ANSWER, "answer", 0, "")                                                                     \
    M(CHOSEN_RESPONSE, "chosen_response", 0, "")                                                   \
    M(REJECTED_RESPONSE, "rejected_response", 0, "")                                               \
    M(TOOLS, "tools", 0, "")                                                                       \
    M(IMAGE, "image", 0, "")                                                                       \
    M(IMAGES, "images", 0, "")

typedef enum {
#define ALD_MEMBER_CONSTANT(name, text, layouts, unless) ALD_MEMBER_##name,
    ALD_MEMBERS(ALD_MEMBER_CONSTANT)
#undef ALD_MEMBER_CONSTANT
        ALD_MEMBER_COUNT
} ald_member_t;

const char *ald_member_name(ald_member_t member);
/* A bit (1 << member) for each of them that the row has, not empty, and the layout doesn't read. */
unsigned ald_members_unread(ald_layout_t layout, const ald_json_t *row);
/* Puts a row's "system" before its prompt as a message, if nothing is there that says the same or
 * goes before it: a system message of the prompt's own, a text that is rendered already. `*made` is
 * the converted row, or NULL for `row` itself; it is changed, or made, by the caller to free.
 * *unread is whether there is a system message that isn't used. INPUT, without file and line, when
 * it isn't a string. Local. */
ald_status_t ald_system_put(ald_layout_t layout, const ald_json_t *row, ald_json_t **made,
                            bool *unread);
/* A copy of an object that shares its members but for KEY, whose value is `value` (taken over). */
ald_json_t *ald_row_with(const ald_json_t *object, const char *key, ald_json_t *value);

#endif
