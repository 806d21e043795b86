/* The layouts of a data file's rows (the list is in ald/config/choices.h), and the reasons why some
 * rows can't be used. Layer: data. */
#ifndef ALD_DATA_LAYOUT_H
#define ALD_DATA_LAYOUT_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"

/* S(name, text): the reasons for leaving a row out. */
#define ALD_SKIPS(S)                                                                               \
    S(EMPTY, "empty answer")                                                                       \
    S(SAME, "same answers")                                                                        \
    S(NO_PROMPT, "empty prompt")                                                                   \
    S(PROMPTS, "prompts that differ")                                                              \
    S(NO_ASSISTANT, "no assistant turn at the end")                                                \
    S(BEGUN, "an answer that the prompt begins")                                                   \
    S(UNWANTED, "labelled as not wanted")                                                          \
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

const char *ald_layout_name(ald_layout_t layout); /* "none" for ALD_LAYOUT_AUTO */
const char *ald_skip_name(ald_skip_t skip);
/* The layout that a row's members show; ALD_LAYOUT_AUTO when they show none. */
ald_layout_t ald_layout_of(const ald_json_t *row);
/* Whether rows of this layout have "prompt", and answers beside it, as members. */
bool ald_layout_is_plain(ald_layout_t layout);
/* Whether rows of both layouts may be in one file: those with a "prompt" may. */
bool ald_layouts_mix(ald_layout_t a, ald_layout_t b);

/* The marks with which turns of Anthropic's texts begin: the user's, the assistant's. */
extern const char *const ald_hh_marks[2];

/* Sets *skip and returns INPUT. */
ald_status_t ald_skip(ald_skip_t *skip, ald_skip_t reason);

#endif
