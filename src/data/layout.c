/* Recognises the layout of a row by its members. People have these files and no wish to convert
 * them, and a wrong guess must not pass: rows of other layouts are errors. */
#include "ald/data/layout.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/text/chat_parts.h"

const char *ald_layout_name(ald_layout_t layout)
{
    return layout == ALD_LAYOUT_AUTO ? "none" : ald_choice_name(ALD_CHOICES_DATA_LAYOUTS, layout);
}

const char *ald_skip_name(ald_skip_t skip)
{
#define NAME(name, text) text,
    static const char *const names[] = {"none", ALD_SKIPS(NAME)};
#undef NAME
    return names[skip];
}

ald_status_t ald_skip(ald_skip_t *skip, ald_skip_t reason)
{
    *skip = reason;
    return ALD_STATUS_INPUT;
}

static bool has(const ald_json_t *row, const char *key)
{
    return ald_json_get(row, key) != NULL;
}

static ald_slice_t slice_of(const ald_json_t *value)
{
    ald_slice_t slice = {NULL, 0};
    slice.data = ald_json_text(value, &slice.length);
    return slice;
}

/* --- which layout --------------------------------------------------------------------------- */

const char *const ald_hh_marks[2] = {"\n\nHuman:", "\n\nAssistant:"};

static bool begins_with_turn(const ald_json_t *value)
{
    ald_slice_t text = slice_of(value);
    for (int i = 0; i < 2; ++i)
        if (text.data != NULL && text.length >= strlen(ald_hh_marks[i]) &&
            memcmp(text.data, ald_hh_marks[i], strlen(ald_hh_marks[i])) == 0)
            return true;
    return false;
}

static ald_layout_t layout_with_prompt(const ald_json_t *row)
{
    const ald_json_t *chosen = ald_json_get(row, "chosen");
    bool answered = chosen != NULL || has(row, "rejected") || has(row, "response") ||
                    has(row, "chosen_text") || has(row, "rejected_text") ||
                    has(row, "response_text");
    if (!answered && ald_json_is_array(ald_json_get(row, "messages")))
        return ALD_LAYOUT_MESSAGES;
    if (!answered && has(row, "completion"))
        return ALD_LAYOUT_COMPLETION;
    if (!answered)
        return has(row, "uid") && has(row, "category") ? ALD_LAYOUT_ARENA_HARD : ALD_LAYOUT_PROMPTS;
    return ald_json_is_string(ald_json_get(row, "prompt")) && ald_json_count(chosen) > 1
               ? ALD_LAYOUT_ULTRAFEEDBACK
               : ALD_LAYOUT_PAIRS;
}

static ald_layout_t layout_with_instruction(const ald_json_t *row)
{
    const ald_json_t *output = ald_json_get(row, "output");
    if (has(row, "chosen") || has(row, "rejected") || ald_json_is_array(output) ||
        (output == NULL && has(row, "response")))
        return ALD_LAYOUT_ALPACA;
    return output == NULL || has(row, "dataset") || has(row, "generator") ? ALD_LAYOUT_ALPACA_EVAL
                                                                          : ALD_LAYOUT_ALPACA;
}

ald_layout_t ald_layout_of(const ald_json_t *row)
{
    const ald_json_t *turns = ald_json_get(row, "turns"), *chosen = ald_json_get(row, "chosen"),
                     *rejected = ald_json_get(row, "rejected");
    if (has(row, "prompt") && turns == NULL)
        return layout_with_prompt(row);
    if (has(row, "prompt_text") || has(row, "text"))
        return ALD_LAYOUT_PAIRS;
    if (has(row, "conversations"))
        return ALD_LAYOUT_SHAREGPT;
    if (ald_json_is_string(ald_json_at(turns, 0)))
        return ALD_LAYOUT_MT_BENCH;
    if (ald_json_is_object(ald_json_at(turns, 0)))
        return ALD_LAYOUT_ARENA_HARD;
    if (has(row, "instruction"))
        return layout_with_instruction(row);
    if (ald_json_is_array(chosen) && ald_json_is_array(rejected))
        return ALD_LAYOUT_IMPLICIT;
    if (begins_with_turn(chosen) || begins_with_turn(rejected))
        return ALD_LAYOUT_HH;
    return ald_json_is_array(ald_json_get(row, "messages")) ? ALD_LAYOUT_MESSAGES : ALD_LAYOUT_AUTO;
}

bool ald_layout_is_plain(ald_layout_t layout)
{
    return layout == ALD_LAYOUT_PAIRS || layout == ALD_LAYOUT_PROMPTS ||
           layout == ALD_LAYOUT_ULTRAFEEDBACK;
}

bool ald_layouts_mix(ald_layout_t a, ald_layout_t b)
{
    return a == b || (ald_layout_is_plain(a) && ald_layout_is_plain(b));
}
