#include "ald/chat.h"

#include <stdio.h>
#include <string.h>

#include "text/template.h"

/* A run of bytes within a message. */
typedef struct {
    const char *data;
    size_t length;
} slice_t;

static slice_t slice(const char *text)
{
    return (slice_t){text, strlen(text)};
}

static ald_status_t put(ald_vec_t *text, slice_t part)
{
    return ald_vec_append(text, part.data, part.length);
}

static const char *const template_names[] = {
    [ALD_TEMPLATE_PLAIN] = "chatml",
    [ALD_TEMPLATE_SMOLLM2] = "chatml-smollm2",
    [ALD_TEMPLATE_QWEN25] = "chatml-qwen2.5",
    [ALD_TEMPLATE_QWEN3] = "chatml-qwen3",
};

static ald_status_t open_auto(const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *template = ald_tokenizer_chat_template(tokenizer);
    bool known = false;
    ald_template_t kind = ALD_TEMPLATE_PLAIN;
    out->none = template == NULL;
    if (out->none)
        return status;
    ALD_TRY(ald_template_recognise(template, &known, &kind, out->default_system,
                                   sizeof out->default_system));
    ALD_CHECK(known, ALD_STATUS_INPUT,
              "the tokenizer's chat_template is not one of those known here; set data.chat_format "
              "to \"chatml\" or \"none\"");
    out->rules = (int)kind;
done:
    return status;
}

ald_status_t ald_chat_open(const char *format, const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool automatic = strcmp(format, "auto") == 0;
    memset(out, 0, sizeof *out);
    if (automatic)
        ALD_TRY(open_auto(tokenizer, out));
    out->none = out->none || strcmp(format, "none") == 0;
    ALD_CHECK(automatic || out->none || strcmp(format, "chatml") == 0, ALD_STATUS_INPUT,
              "data.chat_format: \"%s\" is not supported yet; set \"chatml\" or \"none\"", format);
    snprintf(out->name, sizeof out->name, "%s", out->none ? "none" : template_names[out->rules]);
    out->end_token =
        out->none ? ald_tokenizer_eos(tokenizer) : ald_tokenizer_find(tokenizer, "<|im_end|>");
    ALD_CHECK(out->none || out->end_token >= 0, ALD_STATUS_INPUT,
              "data.chat_format: the tokenizer has no <|im_end|>, which chatml needs");
done:
    return status;
}

typedef struct {
    slice_t role, content, reasoning; /* reasoning.data NULL: none was given */
} message_t;

static ald_status_t read_message(const ald_json_t *messages, size_t index, message_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *json = ald_json_at(messages, index);
    const ald_json_t *calls = ald_json_get(json, "tool_calls");
    const ald_json_t *role = ald_json_get(json, "role"), *content = ald_json_get(json, "content");
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT,
              "message %zu: expected {\"role\", \"content\"}, found %s", index,
              ald_json_type_name(json));
    ALD_CHECK(ald_json_is_string(role), ALD_STATUS_INPUT,
              "message %zu: \"role\": expected a string, found %s", index,
              ald_json_type_name(role));
    ALD_CHECK(ald_json_is_null(calls) || (ald_json_is_array(calls) && ald_json_count(calls) == 0),
              ALD_STATUS_INPUT, "message %zu: \"tool_calls\" are not supported", index);
    ALD_CHECK(ald_json_is_string(content), ALD_STATUS_INPUT,
              "message %zu: \"content\": expected a string, found %s", index,
              ald_json_type_name(content));
    out->role.data = ald_json_text(role, &out->role.length);
    out->content.data = ald_json_text(content, &out->content.length);
    out->reasoning.data =
        ald_json_text(ald_json_get(json, "reasoning_content"), &out->reasoning.length);
done:
    return status;
}

static bool has_role(const message_t *message, const char *role)
{
    return message->role.length == strlen(role) &&
           memcmp(message->role.data, role, message->role.length) == 0;
}

static slice_t strip_newlines(slice_t text, bool left, bool right)
{
    while (left && text.length > 0 && text.data[0] == '\n') {
        ++text.data;
        --text.length;
    }
    while (right && text.length > 0 && text.data[text.length - 1] == '\n')
        --text.length;
    return text;
}

/* What follows the last `mark`, or everything. */
static slice_t after_last(slice_t text, const char *mark)
{
    size_t length = strlen(mark);
    const char *found;
    while ((found = memmem(text.data, text.length, mark, length)) != NULL) {
        text.length -= (size_t)(found + length - text.data);
        text.data = found + length;
    }
    return text;
}

/* Qwen3's split of an answer into reasoning and content. */
static void split_thinking(message_t *message)
{
    slice_t content = message->content;
    const char *mark = memmem(content.data, content.length, "</think>", 8);
    if (message->reasoning.data != NULL)
        return;
    message->reasoning = slice("");
    if (mark == NULL)
        return;
    slice_t before =
        strip_newlines((slice_t){content.data, (size_t)(mark - content.data)}, false, true);
    message->reasoning = strip_newlines(after_last(before, "<think>"), true, false);
    message->content = strip_newlines(after_last(content, "</think>"), true, false);
}

static bool is_tool_response(const message_t *message)
{
    static const char opening[] = "<tool_response>", closing[] = "</tool_response>";
    size_t length = message->content.length, a = strlen(opening), b = strlen(closing);
    return length >= a && length >= b && memcmp(message->content.data, opening, a) == 0 &&
           memcmp(message->content.data + length - b, closing, b) == 0;
}

/* The last message that asks something; Qwen3 keeps the reasoning of the answers after it. */
static ald_status_t last_query(const ald_json_t *messages, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(messages);
    *out = count - 1;
    for (size_t i = count; i-- > 0;) {
        message_t message;
        ALD_TRY(read_message(messages, i, &message));
        if (has_role(&message, "user") && !is_tool_response(&message)) {
            *out = i;
            break;
        }
    }
done:
    return status;
}

static ald_status_t put_message(message_t *message, bool thinking, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put(text, slice("<|im_start|>")));
    ALD_TRY(put(text, message->role));
    ALD_TRY(put(text, slice("\n")));
    if (thinking) {
        ALD_TRY(put(text, slice("<think>\n")));
        ALD_TRY(put(text, strip_newlines(message->reasoning, true, true)));
        ALD_TRY(put(text, slice("\n</think>\n\n")));
        message->content = strip_newlines(message->content, true, false);
    }
    ALD_TRY(put(text, message->content));
    ALD_TRY(put(text, slice("<|im_end|>\n")));
done:
    return status;
}

static ald_status_t put_default_system(const ald_chat_t *chat, const ald_json_t *messages,
                                       ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    message_t first, system = {slice("system"), slice(chat->default_system), {NULL, 0}};
    ALD_TRY(read_message(messages, 0, &first));
    if (chat->default_system[0] != '\0' && !has_role(&first, "system"))
        ALD_TRY(put_message(&system, false, text));
done:
    return status;
}

static ald_status_t render_chatml(const ald_chat_t *chat, const ald_json_t *messages,
                                  ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    bool qwen3 = chat->rules == ALD_TEMPLATE_QWEN3;
    bool closed = qwen3 || chat->rules == ALD_TEMPLATE_QWEN25; /* other roles have other markup */
    size_t count = ald_json_count(messages), query = count;
    ALD_TRY(put_default_system(chat, messages, text));
    if (qwen3)
        ALD_TRY(last_query(messages, &query));
    for (size_t i = 0; i < count; ++i) {
        message_t message;
        ALD_TRY(read_message(messages, i, &message));
        bool answer = has_role(&message, "assistant"), thinking = false;
        ALD_CHECK(!closed || answer || has_role(&message, "user") || has_role(&message, "system"),
                  ALD_STATUS_INPUT, "message %zu: role \"%s\" is not supported by %s", i,
                  message.role.data, chat->name);
        if (qwen3 && answer) {
            split_thinking(&message);
            thinking = i > query && (i + 1 == count || message.reasoning.length > 0);
        }
        ALD_TRY(put_message(&message, thinking, text));
    }
done:
    return status;
}

static ald_status_t render_none(const ald_json_t *messages, bool more, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(messages);
    for (size_t i = 0; i < count; ++i) {
        message_t message;
        ALD_TRY(read_message(messages, i, &message));
        ALD_TRY(put(text, message.content));
        if (more || i + 1 < count)
            ALD_TRY(put(text, slice("\n\n")));
    }
done:
    return status;
}

/* A prompt that is one string, as the user's message. */
static ald_status_t render_string(const ald_chat_t *chat, slice_t content, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    message_t system = {slice("system"), slice(chat->default_system), {NULL, 0}};
    message_t user = {slice("user"), content, {NULL, 0}};
    if (chat->none)
        return put(text, content);
    if (chat->default_system[0] != '\0')
        ALD_TRY(put_message(&system, false, text));
    ALD_TRY(put_message(&user, false, text));
done:
    return status;
}

static ald_status_t put_generation_prompt(const ald_chat_t *chat, ald_vec_t *text)
{
    return chat->none ? ALD_STATUS_OK : put(text, slice("<|im_start|>assistant\n"));
}

ald_status_t ald_chat_render(const ald_chat_t *chat, const ald_json_t *messages,
                             bool add_generation_prompt, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    slice_t content = {NULL, 0};
    content.data = ald_json_text(messages, &content.length);
    ALD_CHECK(content.data != NULL || ald_json_is_array(messages), ALD_STATUS_INPUT,
              "expected a string or a list of messages, found %s", ald_json_type_name(messages));
    ALD_CHECK(content.data != NULL || ald_json_count(messages) > 0, ALD_STATUS_INPUT,
              "the list of messages is empty");
    if (content.data != NULL)
        ALD_TRY(render_string(chat, content, text));
    else if (chat->none)
        ALD_TRY(render_none(messages, add_generation_prompt, text));
    else
        ALD_TRY(render_chatml(chat, messages, text));
    if (add_generation_prompt)
        ALD_TRY(put_generation_prompt(chat, text));
done:
    return status;
}

ald_status_t ald_chat_render_prompt(const ald_chat_t *chat, const ald_json_t *prompt,
                                    ald_vec_t *text)
{
    return ald_chat_render(chat, prompt, true, text);
}
