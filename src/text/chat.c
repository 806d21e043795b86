/* Finds the chat format of a tokenizer, and renders with it. The templates of the commonest
 * families are recognised and have renderers of their own, which give their formats names; others
 * are run. */
#include "ald/text/chat.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/text/chat_parts.h"
#include "ald/text/tokenizer.h"
#include "text/jinja_impl.h"
#include "text/template_impl.h"

/* For each template: its name, its renderer, and the token that closes an answer (NULL: the EOS).
 */
static const struct {
    const char *name;
    const ald_chat_family_t *family;
    const char *end_token;
} formats[ALD_TEMPLATE_COUNT] = {
    [ALD_TEMPLATE_PLAIN] = {"chatml", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_SMOLLM2] = {"chatml-smollm2", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_QWEN25] = {"chatml-qwen2.5", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_QWEN3] = {"chatml-qwen3", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_QWEN3_INSTRUCT] = {"chatml-qwen3-2507", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_QWEN3_TRAINING] = {"chatml-qwen3-training", &ald_chat_chatml, "<|im_end|>"},
    [ALD_TEMPLATE_LLAMA3] = {"llama3", &ald_chat_llama3, "<|eot_id|>"},
    [ALD_TEMPLATE_LLAMA3_OPEN] = {"llama3-open", &ald_chat_llama3, "<|eot_id|>"},
    [ALD_TEMPLATE_LLAMA31] = {"llama3.1", &ald_chat_llama3, "<|eot_id|>"},
    [ALD_TEMPLATE_LLAMA2] = {"llama2", &ald_chat_llama2, NULL},
    [ALD_TEMPLATE_MISTRAL_OLD] = {"mistral-v0.2", &ald_chat_mistral, NULL},
    [ALD_TEMPLATE_MISTRAL_OLD_SPACE] = {"mistral-v0.1", &ald_chat_mistral, NULL},
    [ALD_TEMPLATE_MISTRAL_V1] = {"mistral-v1", &ald_chat_mistral, NULL},
    [ALD_TEMPLATE_MISTRAL_V3] = {"mistral-v3", &ald_chat_mistral, NULL},
    [ALD_TEMPLATE_MISTRAL_TEKKEN] = {"mistral-tekken", &ald_chat_mistral, NULL},
    [ALD_TEMPLATE_ZEPHYR] = {"zephyr", &ald_chat_zephyr, NULL},
};

static ald_json_t *new_message(const char *role, ald_json_t *content)
{
    ald_json_t *message = ald_json_new_object();
    ald_json_set(message, "role", ald_json_new_string(role));
    ald_json_set(message, "content", content);
    return message;
}

static ald_status_t refuse_unknown(const ald_chat_t *chat)
{
    return ald_status_raise(
        ALD_STATUS_INPUT,
        "the chat_template of %s can't be run here (%s); render the data with "
        "tools/render_chat.py %s DATA OUTPUT, or set data.chat_format to \"chatml\", \"llama3\", "
        "\"mistral\", \"zephyr\" or \"none\"",
        chat->directory, chat->why, chat->directory);
}

/* Takes a template that isn't recognised, to be run; or keeps why it can't be. */
static ald_status_t open_template(const char *template, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sha256_t sha;
    char hex[ALD_SHA256_HEX];
    if (template[0] == '\0') {
        out->unknown = true;
        snprintf(out->why, sizeof out->why, "of several, none is named \"default\"");
        return status;
    }
    status = ald_jinja_compile(template, &out->jinja);
    if (status == ALD_STATUS_INPUT) {
        out->unknown = true;
        snprintf(out->why, sizeof out->why, "%s", ald_status_message());
        return ALD_STATUS_OK;
    }
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, template, strlen(template));
    ald_sha256_final(&sha, hex);
    snprintf(out->name, sizeof out->name, "jinja-%.12s", hex);
    return status;
}

static ald_status_t open_auto(const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *template = ald_tokenizer_chat_template(tokenizer);
    bool known = false;
    ald_template_t kind = ALD_TEMPLATE_PLAIN;
    out->none = template == NULL;
    if (out->none)
        return status;
    status = ald_template_recognise(template, &known, &kind, out->default_system,
                                    sizeof out->default_system);
    if (status != ALD_STATUS_INPUT) /* else the template isn't text, which is said below */
        ALD_TRY(status);
    out->rules = (int)kind;
    status = ALD_STATUS_OK;
    if (!known)
        ALD_TRY(open_template(template, out));
done:
    return status;
}

/* Which mistral format fits a tokenizer: v1 where [INST] isn't a token, tekken where there is no
 * metaspace symbol, else v3. */
static ald_template_t choose_mistral(const ald_tokenizer_t *tokenizer)
{
    if (ald_tokenizer_find(tokenizer, "[INST]") < 0)
        return ALD_TEMPLATE_MISTRAL_V1;
    return ald_tokenizer_find(tokenizer, "\xE2\x96\x81") < 0 ? ALD_TEMPLATE_MISTRAL_TEKKEN
                                                             : ALD_TEMPLATE_MISTRAL_V3;
}

/* Opens the format that the configuration names: a family. If the tokenizer's own template belongs
 * to that family, its form is taken. */
static ald_status_t open_forced(ald_chat_format_t format, const ald_tokenizer_t *tokenizer,
                                ald_chat_t *out)
{
    static const ald_template_t families[] = {[ALD_CHAT_FORMAT_CHATML] = ALD_TEMPLATE_PLAIN,
                                              [ALD_CHAT_FORMAT_LLAMA3] = ALD_TEMPLATE_LLAMA3,
                                              [ALD_CHAT_FORMAT_LLAMA2] = ALD_TEMPLATE_LLAMA2,
                                              [ALD_CHAT_FORMAT_MISTRAL] = ALD_TEMPLATE_MISTRAL_V3,
                                              [ALD_CHAT_FORMAT_ZEPHYR] = ALD_TEMPLATE_ZEPHYR};
    ald_status_t status = ALD_STATUS_OK;
    const char *template = ald_tokenizer_chat_template(tokenizer);
    ald_template_t kind = ALD_TEMPLATE_PLAIN;
    bool known = false;
    char unused[sizeof out->default_system];
    if (template != NULL)
        ALD_TRY(ald_template_recognise(template, &known, &kind, unused, sizeof unused));
    out->rules = (int)families[format];
    if (known && format != ALD_CHAT_FORMAT_CHATML &&
        formats[kind].family == formats[out->rules].family)
        out->rules = (int)kind;
    else if (format == ALD_CHAT_FORMAT_MISTRAL)
        out->rules = (int)choose_mistral(tokenizer);
done:
    return status;
}

static ald_status_t copy_special(const char *name, const char *text, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(strlen(text) < size, ALD_STATUS_INPUT, "%s is longer than %zu bytes", name, size - 1);
    strcpy(out, text);
done:
    return status;
}

static ald_status_t run_template(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                                 ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_message_t message;
    for (size_t i = 0; i < ald_json_count(messages); ++i) /* the same types as for every format */
        ALD_TRY(ald_message_read(messages, i, &message));
    const ald_jinja_input_t input = {messages, generate, chat->bos, chat->eos};
    ALD_TRY(ald_jinja_render(chat->jinja, &input, writer));
done:
    return status;
}

/* Sets the end token to the first special one that the template writes behind an answer; it stays
 * what it was where there is none, or the template refuses so short a conversation. */
static ald_status_t try_answer(const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text, markup, ids;
    ald_json_t *messages = ald_json_new_array();
    ald_vec_init(&text, 1);
    ald_vec_init(&markup, sizeof(ald_chat_span_t));
    ald_vec_init(&ids, sizeof(int32_t));
    ald_chat_writer_t writer = {&text, &markup};
    ald_json_push(messages, new_message("user", ald_json_new_string("a")));
    ald_json_push(messages, new_message("assistant", ald_json_new_string("b")));
    status = run_template(out, messages, false, &writer);
    if (status == ALD_STATUS_OK && markup.count > 0) {
        const ald_chat_span_t tail = ALD_VEC_AT(&markup, ald_chat_span_t, markup.count - 1);
        if (tail.end == text.count)
            ALD_TRY(ald_tokenizer_encode(tokenizer, (char *)text.data + tail.start,
                                         tail.end - tail.start, &ids));
    }
    status = status == ALD_STATUS_INPUT ? ALD_STATUS_OK : status;
    for (size_t i = ids.count; i-- > 0;)
        if (ald_tokenizer_is_special(tokenizer, ALD_VEC_AT(&ids, int32_t, i)))
            out->end_token = ALD_VEC_AT(&ids, int32_t, i);
done:
    ald_json_free(messages);
    ald_vec_reset(&text);
    ald_vec_reset(&markup);
    ald_vec_reset(&ids);
    return status;
}

static ald_status_t find_end_token(const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool own = !out->none && !out->unknown && out->jinja == NULL;
    const char *name = own ? formats[out->rules].end_token : NULL;
    out->end_token =
        name == NULL ? ald_tokenizer_eos(tokenizer) : ald_tokenizer_find(tokenizer, name);
    if (out->jinja != NULL)
        ALD_TRY(try_answer(tokenizer, out));
    ALD_CHECK(out->none || out->unknown || out->end_token >= 0, ALD_STATUS_INPUT,
              "data.chat_format: the tokenizer has no %s, which %s needs",
              name == NULL ? "eos_token" : name, out->name);
done:
    return status;
}

ald_status_t ald_chat_open(ald_chat_format_t format, const ald_tokenizer_t *tokenizer,
                           ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    memset(out, 0, sizeof *out);
    out->directory = ald_tokenizer_directory(tokenizer);
    if (format == ALD_CHAT_FORMAT_AUTO)
        ALD_TRY(open_auto(tokenizer, out));
    else if (format == ALD_CHAT_FORMAT_NONE)
        out->none = true;
    else
        ALD_TRY(open_forced(format, tokenizer, out));
    ALD_TRY(
        copy_special("bos_token", ald_tokenizer_bos_text(tokenizer), out->bos, sizeof out->bos));
    ALD_TRY(
        copy_special("eos_token", ald_tokenizer_eos_text(tokenizer), out->eos, sizeof out->eos));
    if (out->jinja == NULL)
        snprintf(out->name, sizeof out->name, "%s",
                 out->none      ? "none"
                 : out->unknown ? "rendered"
                                : formats[out->rules].name);
    ALD_TRY(find_end_token(tokenizer, out));
done:
    if (status != ALD_STATUS_OK)
        ald_chat_close(out);
    return status;
}

void ald_chat_close(ald_chat_t *chat)
{
    ald_jinja_destroy(chat->jinja);
    chat->jinja = NULL;
}

static ald_status_t render_none(const ald_json_t *messages, bool more, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = ald_json_count(messages);
    for (size_t i = 0; i < count; ++i) {
        ald_message_t message;
        ALD_TRY(ald_message_read(messages, i, &message));
        ALD_CHECK(message.calls == NULL, ALD_STATUS_INPUT,
                  "message %zu: \"tool_calls\" are not supported", i);
        ALD_TRY(ald_chat_put(writer, message.content));
        if (more || i + 1 < count)
            ALD_TRY(ald_chat_put(writer, ald_slice("\n\n")));
    }
done:
    return status;
}

/* A prompt's messages: those that it has, or one of the user. To be freed. */
static ald_json_t *messages_of(const ald_json_t *prompt)
{
    if (!ald_json_is_string(prompt))
        return ald_json_copy(prompt);
    ald_json_t *messages = ald_json_new_array();
    ald_json_push(messages, new_message("user", ald_json_copy(prompt)));
    return messages;
}

/* Renders messages in the format that the tokenizer or the configuration has. */
static ald_status_t render_messages(const ald_chat_t *chat, const ald_json_t *messages,
                                    bool generate, ald_chat_writer_t *writer)
{
    return chat->none ? render_none(messages, generate, writer)
           : chat->jinja != NULL
               ? run_template(chat, messages, generate, writer)
               : formats[chat->rules].family->render(chat, messages, generate, writer);
}

static ald_status_t render(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                           ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t content = {NULL, 0};
    ald_json_t *made = NULL;
    content.data = ald_json_text(messages, &content.length);
    ALD_CHECK(content.data != NULL || ald_json_is_array(messages), ALD_STATUS_INPUT,
              "expected a string or a list of messages, found %s", ald_json_type_name(messages));
    ALD_CHECK(content.data != NULL || ald_json_count(messages) > 0, ALD_STATUS_INPUT,
              "the list of messages is empty");
    if (chat->unknown)
        return refuse_unknown(chat);
    if (content.data != NULL && chat->none)
        return ald_chat_put(writer, content);
    if (content.data != NULL)
        messages = made = messages_of(messages);
    ALD_TRY(render_messages(chat, messages, generate, writer));
done:
    ald_json_free(made);
    return status;
}

ald_status_t ald_chat_render(const ald_chat_t *chat, const ald_json_t *messages,
                             bool add_generation_prompt, ald_vec_t *text)
{
    ald_chat_writer_t writer = {text, NULL};
    return render(chat, messages, add_generation_prompt, &writer);
}

ald_status_t ald_chat_render_prompt(const ald_chat_t *chat, const ald_json_t *prompt,
                                    ald_vec_t *text, ald_vec_t *markup)
{
    ald_chat_writer_t writer = {text, markup};
    return render(chat, prompt, true, &writer);
}

/* Writes prompt and answer anew with a template that is run. */
static ald_status_t run_answer(const ald_chat_t *chat, const ald_json_t *prompt, ald_slice_t answer,
                               ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_chat_writer_t writer = {text, NULL};
    ald_json_t *messages = NULL;
    ALD_CHECK(prompt != NULL, ALD_STATUS_INPUT,
              "is not rendered, though the prompt is; %s needs both as messages", chat->name);
    messages = messages_of(prompt);
    ald_json_push(messages,
                  new_message("assistant", ald_json_new_text(answer.data, answer.length)));
    text->count = 0;
    ALD_TRY(run_template(chat, messages, false, &writer));
done:
    ald_json_free(messages);
    return status;
}

ald_status_t ald_chat_render_answer(const ald_chat_t *chat, const ald_json_t *prompt,
                                    const char *content, size_t length, ald_vec_t *text)
{
    ald_chat_writer_t writer = {text, NULL};
    const ald_slice_t answer = {content, length};
    return chat->unknown         ? refuse_unknown(chat)
           : chat->none          ? ald_chat_put(&writer, answer)
           : chat->jinja != NULL ? run_answer(chat, prompt, answer, text)
                                 : formats[chat->rules].family->answer(chat, answer, &writer);
}
