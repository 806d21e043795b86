/* Mistral's formats: 7B v0.1 and v0.2 as published first, v1, v3, and Nemo's (tekken). They
 * differ in spaces and in where the system message goes, so they are one renderer. */

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/text/chat.h"
#include "ald/text/chat_parts.h"
#include "text/template_impl.h"

static const char *const identifier = "Tool call IDs should be alphanumeric strings with length 9!";

static bool is_first_form(const ald_chat_t *chat)
{
    return chat->rules == ALD_TEMPLATE_MISTRAL_OLD || chat->rules == ALD_TEMPLATE_MISTRAL_OLD_SPACE;
}

static bool has_tools(const ald_chat_t *chat)
{
    return chat->rules == ALD_TEMPLATE_MISTRAL_V3 || chat->rules == ALD_TEMPLATE_MISTRAL_TEKKEN;
}

/* Writes a mark, with the space behind it that v3 has and tekken has not. */
static ald_status_t put_mark(const ald_chat_t *chat, const char *mark, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_mark(writer, mark));
    if (chat->rules != ALD_TEMPLATE_MISTRAL_TEKKEN)
        ALD_TRY(ald_chat_mark(writer, " "));
done:
    return status;
}

static ald_status_t answer(const ald_chat_t *chat, ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool v3 = chat->rules == ALD_TEMPLATE_MISTRAL_V3;
    if (v3 || chat->rules == ALD_TEMPLATE_MISTRAL_V1)
        ALD_TRY(ald_chat_mark(writer, " "));
    ALD_TRY(ald_chat_put(writer, v3 ? ald_slice_trim(content) : content));
    ALD_TRY(ald_chat_mark(writer, chat->eos));
    if (chat->rules == ALD_TEMPLATE_MISTRAL_OLD_SPACE)
        ALD_TRY(ald_chat_mark(writer, " "));
done:
    return status;
}

static ald_status_t put_question(const ald_chat_t *chat, const ald_message_t *system,
                                 ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    if (chat->rules == ALD_TEMPLATE_MISTRAL_V1)
        ALD_TRY(ald_chat_mark(writer, " "));
    ALD_TRY(put_mark(chat, "[INST]", writer));
    if (system != NULL) {
        ALD_TRY(ald_chat_put(writer, system->content));
        ALD_TRY(ald_chat_mark(writer, "\n\n"));
    }
    ALD_TRY(ald_chat_put(writer, content));
    ALD_TRY(ald_chat_mark(writer, has_tools(chat) ? "[/INST]" : " [/INST]"));
done:
    return status;
}

static ald_status_t put_identifier(const ald_json_t *json, const char *key,
                                   ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t id = {NULL, 0};
    id.data = ald_json_text(ald_json_get(json, key), &id.length);
    ALD_CHECK(id.data != NULL && ald_utf8_count(id.data, id.length) == 9, ALD_STATUS_INPUT, "%s",
              identifier);
    ALD_TRY(ald_chat_put(writer, id));
done:
    return status;
}

/* Writes a call: the JSON of its function, with the id added before the closing brace. */
static ald_status_t put_call(const ald_json_t *call, size_t index, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *function = ald_json_get(call, "function");
    ALD_CHECK(ald_json_is_object(function), ALD_STATUS_INPUT,
              "message %zu: \"tool_calls\": expected {\"id\", \"function\": {...}}", index);
    ALD_TRY(ald_chat_json(writer, function));
    writer->text->count--;
    ALD_TRY(ald_chat_mark(writer, ", \"id\": \""));
    ALD_TRY(put_identifier(call, "id", writer));
    ALD_TRY(ald_chat_mark(writer, "\"}"));
done:
    return status;
}

static ald_status_t put_calls(const ald_chat_t *chat, const ald_message_t *message, size_t index,
                              ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(message->calls);
    ALD_TRY(put_mark(chat, "[TOOL_CALLS]", writer));
    ALD_TRY(ald_chat_mark(writer, "["));
    for (size_t i = 0; i < count; ++i) {
        ALD_TRY(put_call(ald_json_at(message->calls, i), index, writer));
        ALD_TRY(ald_chat_mark(writer, i + 1 < count ? ", " : "]"));
    }
    if (count > 0)
        ALD_TRY(ald_chat_mark(writer, chat->eos));
done:
    return status;
}

static ald_status_t put_result(const ald_chat_t *chat, const ald_message_t *message,
                               ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_mark(chat, "[TOOL_RESULTS]", writer));
    ALD_TRY(ald_chat_mark(writer, "{\"content\": "));
    ALD_TRY(ald_chat_put(writer, message->content));
    ALD_TRY(ald_chat_mark(writer, ", \"call_id\": \""));
    ALD_TRY(put_identifier(message->json, "tool_call_id", writer));
    ALD_TRY(ald_chat_mark(writer, "\"}[/TOOL_RESULTS]"));
done:
    return status;
}

static bool has_calls(const ald_chat_t *chat, const ald_message_t *message)
{
    return has_tools(chat) && !ald_json_is_null(ald_json_get(message->json, "tool_calls"));
}

static bool is_result(const ald_chat_t *chat, const ald_message_t *message)
{
    return has_tools(chat) &&
           (ald_slice_is(message->role, "tool") || ald_slice_is(message->role, "tool_results"));
}

/* Checks that questions and answers take turns; calls and results don't count. */
static ald_status_t check_turns(const ald_chat_t *chat, const ald_json_t *messages, size_t first)
{
    ald_status_t status = ALD_STATUS_OK;
    bool odd = false;
    for (size_t i = first; i < ald_json_count(messages); ++i) {
        ald_message_t message;
        ALD_TRY(ald_message_read(messages, i, &message));
        if (is_result(chat, &message) || has_calls(chat, &message))
            continue;
        if (ald_slice_is(message.role, "user") == odd)
            return ald_status_raise(ALD_STATUS_INPUT, "%s%s user/assistant/user/assistant/...",
                                    is_first_form(chat) ? "C"
                                                        : "After the optional system message, c",
                                    "onversation roles must alternate");
        odd = !odd;
    }
done:
    return status;
}

static ald_status_t put_turn(const ald_chat_t *chat, const ald_message_t *system,
                             const ald_message_t *message, size_t index, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool asks = ald_slice_is(message->role, "user");
    if (!asks && has_calls(chat, message))
        return put_calls(chat, message, index, writer);
    ALD_CHECK(message->content.data != NULL, ALD_STATUS_INPUT,
              "message %zu: \"content\": expected a string, found nothing", index);
    if (asks)
        return put_question(chat, system, message->content, writer);
    if (is_result(chat, message))
        return put_result(chat, message, writer);
    ALD_CHECK(ald_slice_is(message->role, "assistant"), ALD_STATUS_INPUT, "%s",
              is_first_form(chat) ? "Only user and assistant roles are supported!"
                                  : "Only user and assistant roles are supported, with the "
                                    "exception of an initial optional system message!");
    ALD_TRY(answer(chat, message->content, writer));
done:
    return status;
}

/* v1 puts the system message into the first question, v3 and tekken into the last message of all,
 * if that is a question. */
static ald_status_t render(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                           ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t system, message;
    size_t count = ald_json_count(messages);
    (void)generate; /* a question always ends where the answer begins */
    ALD_TRY(ald_message_read(messages, 0, &system));
    size_t first = !is_first_form(chat) && ald_slice_is(system.role, "system");
    size_t holder = chat->rules == ALD_TEMPLATE_MISTRAL_V1 ? first : count - 1;
    ALD_TRY(check_turns(chat, messages, first));
    ALD_TRY(ald_chat_mark(writer, chat->bos));
    for (size_t i = first; i < count; ++i) {
        ALD_TRY(ald_message_read(messages, i, &message));
        ALD_TRY(put_turn(chat, first > 0 && i == holder ? &system : NULL, &message, i, writer));
    }
done:
    return status;
}

const ald_chat_family_t ald_chat_mistral = {render, answer};
