/* The formats of Llama 3.0, Llama 3.1 to 3.3, Llama 2, and Zephyr. They are written like their
 * templates, white space and trimming included, since one space is another token. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/text/chat.h"
#include "ald/text/chat_parts.h"
#include "text/template_impl.h"

/* --- Llama 3 --- */

static ald_status_t put_header(ald_slice_t role, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(strlen(role.data) == role.length, ALD_STATUS_INPUT,
              "a role contains a NUL character");
    ALD_TRY(ald_chat_mark(writer, "<|start_header_id|>"));
    ALD_TRY(ald_chat_mark(writer, role.data));
    ALD_TRY(ald_chat_mark(writer, "<|end_header_id|>\n\n"));
done:
    return status;
}

static ald_status_t put_turn(ald_slice_t role, ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_header(role, writer));
    ALD_TRY(ald_chat_put(writer, ald_slice_trim(content)));
    ALD_TRY(ald_chat_mark(writer, "<|eot_id|>"));
done:
    return status;
}

/* Writes the call of a message, which may have one only. */
static ald_status_t put_call(const ald_message_t *message, size_t index, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t name;
    const ald_json_t *function = NULL;
    ALD_CHECK(ald_json_count(message->calls) == 1, ALD_STATUS_INPUT,
              "This model only supports single tool-calls at once!");
    ALD_TRY(ald_message_function(ald_json_at(message->calls, 0), index, &function, &name));
    const ald_json_t *arguments = ald_json_get(function, "arguments");
    ALD_CHECK(arguments != NULL, ALD_STATUS_INPUT, "message %zu: a tool call without \"arguments\"",
              index);
    ALD_TRY(put_header(ald_slice("assistant"), writer));
    ALD_TRY(ald_chat_mark(writer, "{\"name\": \""));
    ALD_TRY(ald_chat_put(writer, name));
    ALD_TRY(ald_chat_mark(writer, "\", \"parameters\": "));
    ALD_TRY(ald_chat_json(writer, arguments));
    ALD_TRY(ald_chat_mark(writer, "}<|eot_id|>"));
done:
    return status;
}

/* Writes a message of Llama 3.1 and later: also calls, and results, whose role is "ipython". */
static ald_status_t put_message31(const ald_message_t *message, size_t index,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool result = ald_slice_is(message->role, "tool") || ald_slice_is(message->role, "ipython");
    if (ald_json_get(message->json, "tool_calls") != NULL)
        return put_call(message, index, writer);
    if (!result)
        return put_turn(message->role, message->content, writer);
    ALD_TRY(put_header(ald_slice("ipython"), writer));
    ALD_TRY(ald_chat_json(writer, ald_json_get(message->json, "content")));
    ALD_TRY(ald_chat_mark(writer, "<|eot_id|>"));
done:
    return status;
}

/* Writes the system message of 3.1 and later, which has a date. It is always the default date of
 * 3.1's template, so that the same conversation has the same tokens tomorrow. */
static ald_status_t put_system31(ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_header(ald_slice("system"), writer));
    ALD_TRY(ald_chat_mark(writer, "Cutting Knowledge Date: December 2023\n"
                                  "Today Date: 26 Jul 2024\n\n"));
    ALD_TRY(ald_chat_put(writer, ald_slice_trim(content)));
    ALD_TRY(ald_chat_mark(writer, "<|eot_id|>"));
done:
    return status;
}

static ald_status_t render_llama3(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool dated = chat->rules == ALD_TEMPLATE_LLAMA31;
    ald_message_t message;
    size_t first = 0;
    ALD_TRY(ald_chat_mark(writer, chat->bos));
    if (dated) {
        ALD_TRY(ald_message_read(messages, 0, &message));
        first = ald_slice_is(message.role, "system");
        ALD_CHECK(message.content.data != NULL || first == 0, ALD_STATUS_INPUT,
                  "message 0: \"content\": expected a string, found nothing");
        ALD_TRY(put_system31(first ? message.content : ald_slice(""), writer));
    }
    for (size_t i = first; i < ald_json_count(messages); ++i) {
        ALD_TRY(ald_message_read(messages, i, &message));
        ALD_CHECK(dated || message.content.data != NULL, ALD_STATUS_INPUT,
                  "message %zu: \"content\": expected a string, found nothing", i);
        ALD_TRY(dated ? put_message31(&message, i, writer)
                      : put_turn(message.role, message.content, writer));
    }
    if (generate || chat->rules == ALD_TEMPLATE_LLAMA3_OPEN)
        ALD_TRY(put_header(ald_slice("assistant"), writer));
done:
    return status;
}

static ald_status_t answer_llama3(const ald_chat_t *chat, ald_slice_t content,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    (void)chat;
    ALD_TRY(ald_chat_put(writer, ald_slice_trim(content)));
    ALD_TRY(ald_chat_mark(writer, "<|eot_id|>"));
done:
    return status;
}

const ald_chat_family_t ald_chat_llama3 = {render_llama3, answer_llama3};

/* --- Llama 2 --- */

static ald_status_t answer_llama2(const ald_chat_t *chat, ald_slice_t content,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_mark(writer, " "));
    ALD_TRY(ald_chat_put(writer, ald_slice_trim(content)));
    ALD_TRY(ald_chat_mark(writer, " "));
    ALD_TRY(ald_chat_mark(writer, chat->eos));
done:
    return status;
}

/* Writes a question. The system message goes into the first one, and both are trimmed as one text.
 */
static ald_status_t put_question(const ald_chat_t *chat, const ald_message_t *system,
                                 ald_slice_t content, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_mark(writer, chat->bos));
    ALD_TRY(ald_chat_mark(writer, "[INST] "));
    const ald_slice_t trimmed = ald_slice_trim(content);
    if (system != NULL) {
        ALD_TRY(ald_chat_mark(writer, "<<SYS>>\n"));
        ALD_TRY(ald_chat_put(writer, system->content));
        ALD_TRY(ald_chat_mark(writer, trimmed.length > 0 ? "\n<</SYS>>\n\n" : "\n<</SYS>>"));
        content.length = (size_t)(trimmed.data + trimmed.length - content.data);
    }
    if (system == NULL || trimmed.length == 0)
        content = trimmed;
    ALD_TRY(ald_chat_put(writer, content));
    ALD_TRY(ald_chat_mark(writer, " [/INST]"));
done:
    return status;
}

static ald_status_t render_llama2(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t system, message;
    (void)generate; /* a question always ends where the answer begins */
    ALD_TRY(ald_message_read(messages, 0, &system));
    size_t first = ald_slice_is(system.role, "system");
    for (size_t i = first; i < ald_json_count(messages); ++i) {
        ALD_TRY(ald_message_read(messages, i, &message));
        bool asks = ald_slice_is(message.role, "user"), even = (i - first) % 2 == 0;
        ALD_CHECK(asks == even, ALD_STATUS_INPUT,
                  "Conversation roles must alternate user/assistant/user/assistant/...");
        ALD_CHECK(asks || ald_slice_is(message.role, "assistant"), ALD_STATUS_INPUT,
                  "message %zu: role \"%s\" is not supported by %s", i, message.role.data,
                  chat->name);
        ALD_CHECK(message.content.data != NULL, ALD_STATUS_INPUT,
                  "message %zu: \"content\": expected a string, found nothing", i);
        ALD_TRY(asks ? put_question(chat, first && i == 1 ? &system : NULL, message.content, writer)
                     : answer_llama2(chat, message.content, writer));
    }
done:
    return status;
}

const ald_chat_family_t ald_chat_llama2 = {render_llama2, answer_llama2};

/* --- Zephyr, TinyLlama --- */

static ald_status_t answer_zephyr(const ald_chat_t *chat, ald_slice_t content,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_put(writer, content));
    ALD_TRY(ald_chat_mark(writer, chat->eos));
    ALD_TRY(ald_chat_mark(writer, "\n"));
done:
    return status;
}

static ald_status_t render_zephyr(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                                  ald_chat_writer_t *writer)
{
    static const char *const roles[] = {"user", "system", "assistant"};
    static const char *const headers[] = {"<|user|>\n", "<|system|>\n", "<|assistant|>\n"};
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t message;
    for (size_t i = 0; i < ald_json_count(messages); ++i) {
        ALD_TRY(ald_message_read(messages, i, &message));
        int role = 0;
        while (role < 3 && !ald_slice_is(message.role, roles[role]))
            ++role;
        if (role == 3) /* the template writes nothing for other roles */
            continue;
        ALD_CHECK(message.content.data != NULL, ALD_STATUS_INPUT,
                  "message %zu: \"content\": expected a string, found nothing", i);
        ALD_TRY(ald_chat_mark(writer, headers[role]));
        ALD_TRY(answer_zephyr(chat, message.content, writer));
    }
    if (generate)
        ALD_TRY(ald_chat_mark(writer, headers[2]));
done:
    return status;
}

const ald_chat_family_t ald_chat_zephyr = {render_zephyr, answer_zephyr};
