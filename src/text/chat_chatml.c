/* ChatML, written plainly or as Qwen2.5, Qwen3 (of 2504 and 2507) and SmolLM2 write it. The forms
 * differ in system messages, tools and reasoning alone, so they are one renderer with a few
 * conditions. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/text/chat.h"
#include "ald/text/chat_parts.h"
#include "text/template_impl.h"

static bool is_qwen3(int rules)
{
    return rules == ALD_TEMPLATE_QWEN3 || rules == ALD_TEMPLATE_QWEN3_INSTRUCT ||
           rules == ALD_TEMPLATE_QWEN3_TRAINING;
}

/* Whether the template does something about the reasoning in answers. */
static bool reasons(int rules)
{
    return rules == ALD_TEMPLATE_QWEN3 || rules == ALD_TEMPLATE_QWEN3_TRAINING;
}

/* Splits an answer into reasoning and content, as Qwen3's template does; TRL's one asks for both of
 * its marks. */
static void split_thinking(ald_message_t *message, int rules)
{
    ald_slice_t content = message->content;
    const char *mark = memmem(content.data, content.length, "</think>", 8);
    if (message->reasoning.data != NULL)
        return;
    message->reasoning = ald_slice("");
    if (mark == NULL || (rules == ALD_TEMPLATE_QWEN3_TRAINING &&
                         memmem(content.data, content.length, "<think>", 7) == NULL))
        return;
    ald_slice_t before = ald_slice_strip_newlines(
        (ald_slice_t){content.data, (size_t)(mark - content.data)}, false, true);
    message->reasoning =
        ald_slice_strip_newlines(ald_slice_after_last(before, "<think>"), true, false);
    message->content =
        ald_slice_strip_newlines(ald_slice_after_last(content, "</think>"), true, false);
}

static bool is_tool_response(const ald_message_t *message)
{
    static const char opening[] = "<tool_response>", closing[] = "</tool_response>";
    size_t length = message->content.length, a = strlen(opening), b = strlen(closing);
    return length >= a && length >= b && memcmp(message->content.data, opening, a) == 0 &&
           memcmp(message->content.data + length - b, closing, b) == 0;
}

/* Finds the last message that asks something: Qwen3 keeps the reasoning of the answers after it. */
static ald_status_t last_query(const ald_json_t *messages, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(messages);
    *out = count - 1;
    for (size_t i = count; i-- > 0;) {
        ald_message_t message;
        ALD_TRY(ald_message_read(messages, i, &message));
        if (ald_slice_is(message.role, "user") && !is_tool_response(&message)) {
            *out = i;
            break;
        }
    }
done:
    return status;
}

static ald_status_t put_header(ald_slice_t role, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_mark(writer, "<|im_start|>"));
    ALD_TRY(role.data == NULL || memchr(role.data, '\0', role.length) != NULL
                ? ald_status_raise(ALD_STATUS_INPUT, "a role contains a NUL character")
                : ald_chat_mark(writer, role.data));
done:
    return status;
}

static ald_status_t put_thinking(ald_message_t *message, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_mark(writer, "<think>\n"));
    ALD_TRY(ald_chat_put(writer, ald_slice_strip_newlines(message->reasoning, true, true)));
    ALD_TRY(ald_chat_mark(writer, "\n</think>\n\n"));
    message->content = ald_slice_strip_newlines(message->content, true, false);
done:
    return status;
}

static ald_status_t put_call(const ald_json_t *call, size_t index, bool qwen3,
                             ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *function = NULL;
    ald_slice_t name, text = {NULL, 0};
    ALD_TRY(ald_message_function(call, index, &function, &name));
    const ald_json_t *arguments = ald_json_get(function, "arguments");
    ALD_TRY(ald_chat_mark(writer, "<tool_call>\n{\"name\": \""));
    ALD_TRY(ald_chat_put(writer, name));
    ALD_TRY(ald_chat_mark(writer, "\", \"arguments\": "));
    ALD_CHECK(arguments != NULL, ALD_STATUS_INPUT, "message %zu: a tool call without \"arguments\"",
              index);
    text.data = ald_json_text(arguments, &text.length);
    ALD_TRY(qwen3 && text.data != NULL ? ald_chat_put(writer, text)
                                       : ald_chat_json(writer, arguments));
    ALD_TRY(ald_chat_mark(writer, "}\n</tool_call>"));
done:
    return status;
}

/* Writes an assistant's message with its calls. Qwen2.5 puts a newline before each call, Qwen3 one
 * after the header and one between content and calls. */
static ald_status_t put_calls(const ald_message_t *message, size_t index, bool qwen3,
                              ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_json_count(message->calls); ++i) {
        if (!qwen3 || i > 0 || message->content.length > 0)
            ALD_TRY(ald_chat_mark(writer, "\n"));
        ALD_TRY(put_call(ald_json_at(message->calls, i), index, qwen3, writer));
    }
done:
    return status;
}

static ald_status_t put_message(ald_message_t *message, size_t index, bool thinking, int rules,
                                ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool qwen25 = rules == ALD_TEMPLATE_QWEN25, qwen3 = is_qwen3(rules);
    bool calls =
        message->calls != NULL && (qwen25 || qwen3) && ald_slice_is(message->role, "assistant");
    bool may_lack = calls && rules != ALD_TEMPLATE_QWEN3;
    ALD_CHECK(message->content.data != NULL || may_lack, ALD_STATUS_INPUT,
              "message %zu: \"content\": expected a string, found nothing", index);
    ALD_TRY(put_header(message->role, writer));
    if (!(calls && qwen25 && message->content.length == 0))
        ALD_TRY(ald_chat_mark(writer, "\n"));
    if (thinking)
        ALD_TRY(put_thinking(message, writer));
    ALD_TRY(ald_chat_put(writer, message->content));
    if (calls)
        ALD_TRY(put_calls(message, index, qwen3, writer));
    ALD_TRY(ald_chat_mark(writer, "<|im_end|>\n"));
done:
    return status;
}

static bool is_tool(const ald_json_t *messages, size_t index)
{
    const char *role = ald_json_text(ald_json_get(ald_json_at(messages, index), "role"), NULL);
    return role != NULL && strcmp(role, "tool") == 0;
}

/* Writes a tool's result in Qwen's way: several in a row are one message of the user. */
static ald_status_t put_result(const ald_json_t *messages, size_t index,
                               const ald_message_t *message, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    if (index == 0 || !is_tool(messages, index - 1))
        ALD_TRY(ald_chat_mark(writer, "<|im_start|>user"));
    ALD_TRY(ald_chat_mark(writer, "\n<tool_response>\n"));
    ALD_TRY(ald_chat_put(writer, message->content));
    ALD_TRY(ald_chat_mark(writer, "\n</tool_response>"));
    if (index + 1 == ald_json_count(messages) || !is_tool(messages, index + 1))
        ALD_TRY(ald_chat_mark(writer, "<|im_end|>\n"));
done:
    return status;
}

static ald_status_t put_default_system(const ald_chat_t *chat, const ald_json_t *messages,
                                       ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t first,
        system = {.role = ald_slice("system"), .content = ald_slice(chat->default_system)};
    ALD_TRY(ald_message_read(messages, 0, &first));
    if (chat->default_system[0] != '\0' && !ald_slice_is(first.role, "system"))
        ALD_TRY(put_message(&system, 0, false, chat->rules, writer));
done:
    return status;
}

static ald_status_t put_turn(const ald_chat_t *chat, const ald_json_t *messages, size_t index,
                             size_t query, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool always = chat->rules == ALD_TEMPLATE_QWEN3_TRAINING, thinking = false;
    bool closed =
        is_qwen3(chat->rules) || chat->rules == ALD_TEMPLATE_QWEN25; /* these skip unknown roles */
    ald_message_t message;
    ALD_TRY(ald_message_read(messages, index, &message));
    bool answer = ald_slice_is(message.role, "assistant");
    if (closed && ald_slice_is(message.role, "tool"))
        return put_result(messages, index, &message, writer);
    ALD_CHECK(!closed || answer || ald_slice_is(message.role, "user") ||
                  ald_slice_is(message.role, "system"),
              ALD_STATUS_INPUT, "message %zu: role \"%s\" is not supported by %s", index,
              message.role.data, chat->name);
    if (always && message.content.data == NULL)
        message.content = ald_slice(""); /* of a message that has calls alone */
    if (reasons(chat->rules) && answer && message.content.data != NULL) {
        split_thinking(&message, chat->rules);
        thinking = always || (index > query && (index + 1 == ald_json_count(messages) ||
                                                message.reasoning.length > 0));
    }
    ALD_TRY(put_message(&message, index, thinking, chat->rules, writer));
done:
    return status;
}

static ald_status_t render(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                           ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(messages), query = count;
    ALD_TRY(put_default_system(chat, messages, writer));
    if (chat->rules == ALD_TEMPLATE_QWEN3)
        ALD_TRY(last_query(messages, &query));
    for (size_t i = 0; i < count; ++i)
        ALD_TRY(put_turn(chat, messages, i, query, writer));
    if (generate)
        ALD_TRY(ald_chat_mark(writer, "<|im_start|>assistant\n"));
done:
    return status;
}

static ald_status_t answer(const ald_chat_t *chat, ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t message = {.content = content};
    if (reasons(chat->rules)) {
        split_thinking(&message, chat->rules);
        ALD_TRY(put_thinking(&message, writer));
    }
    ALD_TRY(ald_chat_put(writer, message.content));
    ALD_TRY(ald_chat_mark(writer, "<|im_end|>\n"));
done:
    return status;
}

const ald_chat_family_t ald_chat_chatml = {render, answer};
