/* How the rows of a data file are laid out, and why some can't be used. Layer: data. */
#ifndef ALD_DATA_LAYOUT_H
#define ALD_DATA_LAYOUT_H

#include "ald/base/json.h"
#include "ald/base/status.h"

/* L(name, text): the value of data.layout. */
#define ALD_LAYOUTS(L)                                                                             \
    L(PAIRS, "pairs")                 /* prompt, chosen, rejected or response; *_text; text */     \
    L(PROMPTS, "prompts")             /* prompt alone */                                           \
    L(ULTRAFEEDBACK, "ultrafeedback") /* prompt as a string, whole conversations beside it */      \
    L(IMPLICIT, "implicit")           /* whole conversations in chosen and rejected, no prompt */  \
    L(HH, "hh")                       /* the same as texts with "\n\nHuman:", "\n\nAssistant:" */  \
    L(SHAREGPT, "sharegpt")           /* conversations of {from, value} */                         \
    L(ALPACA, "alpaca")               /* instruction, input, chosen, rejected or output */         \
    L(MT_BENCH, "mt-bench")           /* turns: strings */                                         \
    L(ARENA_HARD, "arena-hard")       /* turns: [{content}], or prompt with uid */                 \
    L(ALPACA_EVAL, "alpaca-eval")     /* instruction, dataset */

typedef enum {
#define ALD_LAYOUT_CONSTANT(name, text) ALD_LAYOUT_##name,
    ALD_LAYOUTS(ALD_LAYOUT_CONSTANT)
#undef ALD_LAYOUT_CONSTANT
        ALD_LAYOUT_COUNT /* none of them */
} ald_layout_t;

/* S(name, text): why a row is left out. */
#define ALD_SKIPS(S)                                                                               \
    S(EMPTY, "empty answer")                                                                       \
    S(SAME, "same answers")                                                                        \
    S(NO_PROMPT, "empty prompt")                                                                   \
    S(PROMPTS, "prompts that differ")                                                              \
    S(NO_ASSISTANT, "no assistant turn at the end")                                                \
    S(ROLES, "roles that don't alternate")                                                         \
    S(REFUSED, "refused by the chat format")                                                       \
    S(BOUNDARY, "beginning of the answer not located")                                             \
    S(TOKENS, "no tokens in this vocabulary")

typedef enum {
    ALD_SKIP_NONE,
#define ALD_SKIP_CONSTANT(name, text) ALD_SKIP_##name,
    ALD_SKIPS(ALD_SKIP_CONSTANT)
#undef ALD_SKIP_CONSTANT
        ALD_SKIP_COUNT
} ald_skip_t;

const char *ald_layout_name(ald_layout_t layout); /* "none" for ALD_LAYOUT_COUNT */
const char *ald_skip_name(ald_skip_t skip);
/* The layout of that name; ALD_LAYOUT_COUNT for "auto". */
ald_layout_t ald_layout_find(const char *name);
/* The layout that a row's members show; ALD_LAYOUT_COUNT when they show none. */
ald_layout_t ald_layout_of(const ald_json_t *row);
/* Whether its rows have "prompt", and answers by their side, as members of their own. */
bool ald_layout_is_plain(ald_layout_t layout);
/* Whether rows of these two may be in one file: those that have a "prompt" may. */
bool ald_layouts_mix(ald_layout_t a, ald_layout_t b);

/* How a turn of Anthropic's texts begins: the user's, the assistant's. */
extern const char *const ald_hh_marks[2];

/* Sets *skip and returns INPUT. */
ald_status_t ald_skip(ald_skip_t *skip, ald_skip_t reason);

#endif
