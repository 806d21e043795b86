/* Turns rows of published layouts into prompt, chosen and rejected, a function for each layout.
 * Everything after it knows one form only. */
#include "ald/data/layout_convert.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/members.h"
#include "ald/text/chat_parts.h"

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

/* --- messages ------------------------------------------------------------------------------- */

ald_status_t ald_messages_check(const ald_json_t *list, const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(ald_json_is_array(list), ALD_STATUS_INPUT,
              "\"%s\": expected a list of messages, found %s", key, ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list) && status == ALD_STATUS_OK; ++i) {
        ald_message_t message;
        status = ald_message_read(list, i, &message);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "\"%s\"", key);
    }
done:
    return status;
}

static bool same_text(const ald_json_t *a, const ald_json_t *b)
{
    ald_slice_t first = slice_of(a), second = slice_of(b);
    return first.data != NULL && second.data != NULL && first.length == second.length &&
           memcmp(first.data, second.data, first.length) == 0;
}

bool ald_messages_same(const ald_json_t *a, const ald_json_t *b)
{
    return same_text(ald_json_get(a, "role"), ald_json_get(b, "role")) &&
           same_text(ald_json_get(a, "content"), ald_json_get(b, "content"));
}

static void push_message(ald_json_t *list, const char *role, ald_json_t *content)
{
    ald_json_t *message = ald_json_new_object();
    ald_json_set(message, "role", ald_json_new_string(role));
    ald_json_set(message, "content", content);
    ald_json_push(list, message);
}

static ald_json_t *text_of(ald_slice_t slice)
{
    return ald_json_new_text(slice.length == 0 ? "" : slice.data, slice.length);
}

/* --- implicit prompts ----------------------------------------------------------------------- */

/* Checks that a conversation ends with the assistant's answer and calls no tools. */
static ald_status_t check_conversation(const ald_json_t *row, const char *key, ald_skip_t *skip,
                                       size_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, key);
    ALD_CHECK(list != NULL, ALD_STATUS_INPUT, "\"%s\" is missing; expected a list of messages",
              key);
    ALD_TRY(ald_messages_check(list, key));
    *count = ald_json_count(list);
    const ald_json_t *last = *count == 0 ? NULL : ald_json_at(list, *count - 1);
    ALD_CHECK(last != NULL && ald_slice_is(slice_of(ald_json_get(last, "role")), "assistant"),
              ald_skip(skip, ALD_SKIP_NO_ASSISTANT),
              "\"%s\": the last message isn't the assistant's", key);
    ALD_CHECK(slice_of(ald_json_get(last, "content")).data != NULL,
              ald_skip(skip, ALD_SKIP_REFUSED), "\"%s\": \"tool_calls\" are not supported", key);
done:
    return status;
}

static ald_status_t convert_implicit(const ald_json_t *row, ald_skip_t *skip, ald_json_t *out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *chosen = ald_json_get(row, "chosen"),
                     *rejected = ald_json_get(row, "rejected");
    size_t counts[2], shared = 0;
    for (int i = 0; i < 2; ++i)
        ALD_TRY(check_conversation(row, keys[i], skip, &counts[i]));
    while (shared + 1 < counts[0] && shared + 1 < counts[1] &&
           ald_messages_same(ald_json_at(chosen, shared), ald_json_at(rejected, shared)))
        ++shared;
    ALD_CHECK(counts[0] == counts[1] && shared + 1 == counts[0], ald_skip(skip, ALD_SKIP_PROMPTS),
              "\"chosen\" and \"rejected\" differ in more than their last message");
    ALD_CHECK(shared > 0, ald_skip(skip, ALD_SKIP_NO_PROMPT),
              "\"chosen\": nothing comes before the answer");
    ald_json_t *prompt = ald_json_new_array();
    ald_json_set(out, "prompt", prompt);
    for (size_t i = 0; i < shared; ++i)
        ald_json_push(prompt, ald_json_share(ald_json_at(chosen, i)));
    for (int i = 0; i < 2; ++i) {
        const ald_json_t *last = ald_json_at(i == 0 ? chosen : rejected, shared);
        ald_json_set(out, keys[i], ald_json_share(ald_json_get(last, "content")));
    }
done:
    return status;
}

/* --- Anthropic's HH ------------------------------------------------------------------------- */

typedef struct {
    bool assistant;
    ald_slice_t text;
} turn_t;

/* Finds the nearest mark at or after `from`. The turn begins where the mark ends. */
static const char *find_mark(const char *from, const char *end, turn_t *turn)
{
    const char *nearest = NULL;
    for (int i = 0; i < 2; ++i) {
        size_t length = strlen(ald_hh_marks[i]);
        const char *until = nearest == NULL ? end : nearest;
        const char *found = memmem(from, (size_t)(until - from), ald_hh_marks[i], length);
        if (found != NULL) {
            nearest = found;
            *turn = (turn_t){i == 1, {found + length, 0}};
        }
    }
    return nearest;
}

/* Splits a text into turns (turn_t). Only blanks may come before the first mark. */
static ald_status_t split_turns(const ald_json_t *row, const char *key, ald_skip_t *skip,
                                ald_vec_t *turns)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *json = ald_json_get(row, key);
    ald_slice_t text = slice_of(json);
    turn_t turn = {false, {NULL, 0}};
    ALD_CHECK(text.data != NULL, ALD_STATUS_INPUT,
              "\"%s\"%s; expected a text of turns, \"\\n\\nHuman:\" and \"\\n\\nAssistant:\"", key,
              json == NULL ? " is missing" : " isn't a string");
    const char *end = text.data + text.length, *mark = find_mark(text.data, end, &turn);
    ald_slice_t before = {text.data, mark == NULL ? 0 : (size_t)(mark - text.data)};
    ALD_CHECK(ald_slice_trim(before).length == 0, ald_skip(skip, ALD_SKIP_ROLES),
              "\"%s\": there is text before the first turn", key);
    while (mark != NULL) {
        turn_t next = {false, {NULL, 0}}, whole = turn;
        mark = find_mark(turn.text.data, end, &next);
        whole.text.length = (size_t)((mark == NULL ? end : mark) - turn.text.data);
        whole.text = ald_slice_trim(whole.text);
        ALD_TRY(ald_vec_push(turns, &whole));
        turn = next;
    }
done:
    return status;
}

/* Checks that Human and Assistant alternate, and that an Assistant is the last. */
static ald_status_t check_turns(const ald_vec_t *turns, const char *key, ald_skip_t *skip)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < turns->count; ++i)
        ALD_CHECK(ALD_VEC_AT(turns, turn_t, i).assistant == (i % 2 == 1),
                  ald_skip(skip, ALD_SKIP_ROLES), "\"%s\": turn %zu: expected %s", key, i + 1,
                  i % 2 == 1 ? "\"Assistant:\"" : "\"Human:\"");
    ALD_CHECK(turns->count > 0 && turns->count % 2 == 0, ald_skip(skip, ALD_SKIP_NO_ASSISTANT),
              "\"%s\": the last turn isn't the assistant's", key);
done:
    return status;
}

static bool same_slices(ald_slice_t a, ald_slice_t b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static ald_status_t compare_turns(const ald_vec_t *chosen, const ald_vec_t *rejected,
                                  ald_skip_t *skip)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t last = chosen->count - 1, shared = 0;
    while (shared < last && shared < rejected->count &&
           same_slices(ALD_VEC_AT(chosen, turn_t, shared).text,
                       ALD_VEC_AT(rejected, turn_t, shared).text))
        ++shared;
    ALD_CHECK(chosen->count == rejected->count && shared == last, ald_skip(skip, ALD_SKIP_PROMPTS),
              "\"chosen\" and \"rejected\" differ in more than their last turn");
    const ald_slice_t a = ALD_VEC_AT(chosen, turn_t, last).text,
                      b = ALD_VEC_AT(rejected, turn_t, last).text;
    ALD_CHECK(a.length > 0 && b.length > 0, ald_skip(skip, ALD_SKIP_EMPTY),
              "\"%s\": the answer is empty", a.length == 0 ? "chosen" : "rejected");
    ALD_CHECK(!same_slices(a, b), ald_skip(skip, ALD_SKIP_SAME),
              "\"chosen\" and \"rejected\" are the same");
done:
    return status;
}

static ald_status_t convert_hh(const ald_json_t *row, ald_skip_t *skip, ald_json_t *out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t turns[2];
    for (int i = 0; i < 2; ++i)
        ald_vec_init(&turns[i], sizeof(turn_t));
    for (int i = 0; i < 2; ++i) {
        ALD_TRY(split_turns(row, keys[i], skip, &turns[i]));
        ALD_TRY(check_turns(&turns[i], keys[i], skip));
    }
    ALD_TRY(compare_turns(&turns[0], &turns[1], skip));
    size_t last = turns[0].count - 1;
    ald_json_t *prompt = ald_json_new_array();
    ald_json_set(out, "prompt", prompt);
    for (size_t i = 0; i < last; ++i) {
        const turn_t *turn = &ALD_VEC_AT(&turns[0], turn_t, i);
        push_message(prompt, turn->assistant ? "assistant" : "user", text_of(turn->text));
    }
    for (int i = 0; i < 2; ++i)
        ald_json_set(out, keys[i], text_of(ALD_VEC_AT(&turns[i], turn_t, last).text));
done:
    for (int i = 0; i < 2; ++i)
        ald_vec_reset(&turns[i]);
    return status;
}

/* --- LLaMA-Factory's layouts ---------------------------------------------------------------- */

static const char *role_of(ald_slice_t from)
{
    static const char *const roles[][2] = {{"human", "user"},
                                           {"user", "user"},
                                           {"gpt", "assistant"},
                                           {"assistant", "assistant"},
                                           {"system", "system"}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; ++i)
        if (ald_slice_is(from, roles[i][0]))
            return roles[i][1];
    return NULL;
}

/* Reads the role (NULL for one that isn't known) and the text of {"from", "value"}. */
static ald_status_t read_turn(const ald_json_t *json, const char *key, const char **role,
                              const ald_json_t **value)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t from = slice_of(ald_json_get(json, "from"));
    *value = ald_json_get(json, "value");
    ALD_CHECK(from.data != NULL && ald_json_is_string(*value), ALD_STATUS_INPUT,
              "\"%s\": expected {\"from\", \"value\"} of strings, found %s", key,
              ald_json_is_object(json) ? "an object without them" : ald_json_type_name(json));
    *role = role_of(from);
done:
    return status;
}

/* Reads the messages before an answer: maybe a system message, then user and assistant alternating.
 */
static ald_status_t read_turns(const ald_json_t *list, size_t count, ald_skip_t *skip,
                               ald_json_t *messages)
{
    ald_status_t status = ALD_STATUS_OK;
    bool answer = false;
    for (size_t i = 0; i < count; ++i) {
        const char *role = NULL;
        const ald_json_t *value = NULL;
        ALD_TRY(read_turn(ald_json_at(list, i), "conversations", &role, &value));
        bool system = role != NULL && strcmp(role, "system") == 0;
        ALD_CHECK(role != NULL && (!system || i == 0), ald_skip(skip, ALD_SKIP_ROLES),
                  "\"conversations\": turn %zu has a role that is not supported there", i + 1);
        ALD_CHECK(system || (strcmp(role, "assistant") == 0) == answer,
                  ald_skip(skip, ALD_SKIP_ROLES), "\"conversations\": turn %zu: expected %s", i + 1,
                  answer ? "the assistant" : "the user");
        answer = answer != !system;
        push_message(messages, role, ald_json_share(value));
    }
    ALD_CHECK(answer, ald_skip(skip, count == 0 ? ALD_SKIP_NO_PROMPT : ALD_SKIP_ROLES),
              "\"conversations\": expected the user's turn before the answer");
done:
    return status;
}

static ald_status_t read_answer_turn(const ald_json_t *turn, const char *from, const char *key,
                                     ald_skip_t *skip, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *role = NULL;
    const ald_json_t *value = NULL;
    ALD_TRY(read_turn(turn, from, &role, &value));
    ALD_CHECK(role != NULL && strcmp(role, "assistant") == 0, ald_skip(skip, ALD_SKIP_NO_ASSISTANT),
              "\"%s\": expected a turn of the assistant (\"gpt\")", from);
    ald_json_set(out, key, ald_json_share(value));
done:
    return status;
}

static ald_status_t convert_sharegpt(const ald_json_t *row, ald_skip_t *skip, ald_json_t *out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, "conversations");
    size_t count = ald_json_count(list);
    bool ranked = has(row, "chosen") || has(row, "rejected");
    ALD_CHECK(ald_json_is_array(list), ALD_STATUS_INPUT,
              "\"conversations\": expected a list of {\"from\", \"value\"}, found %s",
              ald_json_type_name(list));
    ald_json_t *prompt = ald_json_new_array();
    ald_json_set(out, "prompt", prompt);
    ALD_TRY(read_turns(list, ranked || count == 0 ? count : count - 1, skip, prompt));
    if (!ranked) /* the conversation ends with its one answer */
        ALD_TRY(
            read_answer_turn(ald_json_at(list, count - 1), "conversations", "chosen", skip, out));
    for (int i = 0; i < 2 && ranked; ++i)
        if (has(row, keys[i]))
            ALD_TRY(read_answer_turn(ald_json_get(row, keys[i]), keys[i], keys[i], skip, out));
done:
    return status;
}

static ald_status_t read_history(const ald_json_t *row, ald_json_t *messages)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *history = ald_json_get(row, "history");
    ALD_CHECK(ald_json_is_null(history) || ald_json_is_array(history), ALD_STATUS_INPUT,
              "\"history\": expected a list of [user, assistant], found %s",
              ald_json_type_name(history));
    for (size_t i = 0; i < ald_json_count(history); ++i) {
        const ald_json_t *turn = ald_json_at(history, i);
        ALD_CHECK(ald_json_count(turn) == 2 && ald_json_is_string(ald_json_at(turn, 0)) &&
                      ald_json_is_string(ald_json_at(turn, 1)),
                  ALD_STATUS_INPUT, "\"history\"[%zu]: expected [user, assistant], two strings", i);
        push_message(messages, "user", ald_json_share(ald_json_at(turn, 0)));
        push_message(messages, "assistant", ald_json_share(ald_json_at(turn, 1)));
    }
done:
    return status;
}

/* Makes one text of instruction and input, with a newline between them. */
static ald_status_t read_instruction(const ald_json_t *row, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *instruction = ald_json_get(row, "instruction"),
                     *input = ald_json_get(row, "input");
    ald_slice_t first = slice_of(instruction), second = slice_of(input);
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_CHECK(first.data != NULL, ALD_STATUS_INPUT, "\"instruction\": expected a string, found %s",
              ald_json_type_name(instruction));
    ALD_CHECK(ald_json_is_null(input) || second.data != NULL, ALD_STATUS_INPUT,
              "\"input\": expected a string, found %s", ald_json_type_name(input));
    ALD_TRY(ald_vec_append(&text, first.data, first.length));
    if (first.length > 0 && second.length > 0)
        ALD_TRY(ald_vec_append(&text, "\n", 1));
    if (second.length > 0)
        ALD_TRY(ald_vec_append(&text, second.data, second.length));
    *out = text_of((ald_slice_t){text.data, text.count});
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t convert_alpaca(const ald_json_t *row, ald_json_t *out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *output = ald_json_get(row, "output");
    ald_json_t *prompt = ald_json_new_array();
    ald_json_set(out, "prompt", prompt);
    ald_json_t *text = NULL;
    ALD_TRY(read_history(row, prompt));
    ALD_TRY(read_instruction(row, &text));
    push_message(prompt, "user", text);
    ALD_CHECK(!ald_json_is_array(output) || ald_json_count(output) == 2, ALD_STATUS_INPUT,
              "\"output\": expected a string, or two in a list: chosen and rejected; found %zu",
              ald_json_count(output));
    for (size_t i = 0; i < 2; ++i) {
        const ald_json_t *answer = ald_json_get(row, keys[i]);
        if (answer == NULL && ald_json_is_array(output))
            answer = ald_json_at(output, i);
        if (answer == NULL && i == 0)
            answer = output != NULL ? output : ald_json_get(row, "response");
        ALD_CHECK(answer == NULL || ald_json_is_string(answer), ALD_STATUS_INPUT,
                  "\"%s\": expected a string, found %s", keys[i], ald_json_type_name(answer));
        if (answer != NULL)
            ald_json_set(out, keys[i], ald_json_share(answer));
    }
done:
    return status;
}

/* --- prompts of benchmarks ------------------------------------------------------------------ */

/* The prompt is the member `key` (an instruction with its input), or the first of "turns". */
static ald_status_t convert_question(ald_layout_t layout, const ald_json_t *row, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *turns = ald_json_get(row, "turns"), *prompt = ald_json_at(turns, 0);
    const char *key = "turns";
    if (layout == ALD_LAYOUT_ARENA_HARD)
        prompt = ald_json_get(prompt, "content");
    if (layout != ALD_LAYOUT_MT_BENCH && turns == NULL) {
        key = layout == ALD_LAYOUT_ARENA_HARD ? "prompt" : "instruction";
        prompt = ald_json_get(row, key);
    }
    ALD_CHECK(ald_json_is_string(prompt), ALD_STATUS_INPUT,
              strcmp(key, "turns") != 0         ? "\"%s\": expected a string, found %s"
              : layout == ALD_LAYOUT_ARENA_HARD ? "\"%s\": expected a list of {\"content\"}, found "
                                                  "%s where the first text should be"
                                                : "\"%s\": expected a list of strings, found %s "
                                                  "where the first should be",
              key, ald_json_type_name(prompt));
    for (size_t i = 1; i < ald_json_count(turns) && layout == ALD_LAYOUT_MT_BENCH; ++i)
        ALD_CHECK(ald_json_is_string(ald_json_at(turns, i)), ALD_STATUS_INPUT,
                  "\"turns\"[%zu]: expected a string, found %s", i,
                  ald_json_type_name(ald_json_at(turns, i)));
    ald_json_t *text = NULL;
    if (strcmp(key, "instruction") == 0)
        ALD_TRY(read_instruction(row, &text));
    ald_json_set(out, "prompt", text != NULL ? text : ald_json_share(prompt));
done:
    return status;
}

/* --- conversations of one answer ------------------------------------------------------------ */

static bool has_role(const ald_json_t *message, const char *role)
{
    ald_slice_t found = slice_of(ald_json_get(message, "role"));
    return found.data != NULL && ald_slice_is(found, role);
}

/* The first `count` messages of a list. */
static ald_json_t *first_messages(const ald_json_t *list, size_t count)
{
    ald_json_t *made = ald_json_new_array();
    for (size_t i = 0; i < count; ++i)
        ald_json_push(made, ald_json_share(ald_json_at(list, i)));
    return made;
}

/* The answer is the last message, or beside the conversation in "chosen" and "rejected". A
 * conversation that ends with a question is a prompt. */
static ald_status_t convert_messages(const ald_json_t *row, ald_skip_t *skip, ald_json_t *out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, "messages");
    size_t count = ald_json_count(list);
    bool ranked = has(row, "chosen") || has(row, "rejected");
    ALD_TRY(ald_messages_check(list, "messages"));
    if (!ranked && count > 0 && has_role(ald_json_at(list, count - 1), "assistant"))
        --count;
    ALD_CHECK(count > 0, ald_skip(skip, ALD_SKIP_NO_PROMPT),
              "\"messages\": nothing comes before the answer");
    ald_json_set(out, "prompt", first_messages(list, count));
    if (!ranked)
        ald_json_set(out, "chosen", ald_json_share(list));
    for (int i = 0; i < 2 && ranked; ++i)
        if (has(row, keys[i]))
            ald_json_set(out, keys[i], ald_json_share(ald_json_get(row, keys[i])));
done:
    return status;
}

static ald_status_t convert_completion(const ald_json_t *row, ald_skip_t *skip, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *prompt = ald_json_get(row, "prompt"),
                     *completion = ald_json_get(row, "completion");
    ALD_CHECK(prompt != NULL && completion != NULL, ALD_STATUS_INPUT,
              "\"%s\" is missing; expected a string or a list of messages",
              prompt == NULL ? "prompt" : "completion");
    ALD_CHECK(ald_json_bool(ald_json_get(row, "label"), true), ald_skip(skip, ALD_SKIP_UNWANTED),
              "\"label\" is false");
    ald_json_set(out, "prompt", ald_json_share(prompt));
    ald_json_set(out, "chosen", ald_json_share(completion));
done:
    return status;
}

/* Of a prompt's text beside whole conversations of several messages the text is left, which is
 * mostly the first or the last question, and the messages before the answer are the prompt. */
static ald_status_t convert_plain(const ald_json_t *row, ald_json_t **out)
{
    static const char *const keys[] = {"chosen", "rejected"};
    ald_status_t status = ALD_STATUS_OK;
    const char *key = NULL;
    if (!ald_json_is_string(ald_json_get(row, "prompt")) || has(row, "prompt_text"))
        return status;
    for (int i = 2; i-- > 0;)
        if (ald_json_is_array(ald_json_get(row, keys[i])) &&
            ald_json_count(ald_json_get(row, keys[i])) > 2)
            key = keys[i];
    if (key == NULL)
        return status;
    const ald_json_t *list = ald_json_get(row, key);
    ALD_TRY(ald_messages_check(list, key));
    *out = ald_row_with(row, "prompt", first_messages(list, ald_json_count(list) - 1));
done:
    return status;
}

ald_status_t ald_layout_convert(ald_layout_t layout, const ald_json_t *row, ald_skip_t *skip,
                                ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = NULL;
    if (ald_layout_is_plain(layout) || layout == ALD_LAYOUT_AUTO)
        return convert_plain(row, out);
    ald_json_t *made = ald_json_new_object();
    ALD_CHECK_MEMORY(made, 1);
    status = layout == ALD_LAYOUT_IMPLICIT     ? convert_implicit(row, skip, made)
             : layout == ALD_LAYOUT_HH         ? convert_hh(row, skip, made)
             : layout == ALD_LAYOUT_SHAREGPT   ? convert_sharegpt(row, skip, made)
             : layout == ALD_LAYOUT_ALPACA     ? convert_alpaca(row, made)
             : layout == ALD_LAYOUT_MESSAGES   ? convert_messages(row, skip, made)
             : layout == ALD_LAYOUT_COMPLETION ? convert_completion(row, skip, made)
                                               : convert_question(layout, row, made);
    if (status == ALD_STATUS_OK)
        *out = made;
    else
        ald_json_free(made);
done:
    return status;
}
