/* Finds the chat format of a tokenizer, and renders with it. Templates are recognised and not
 * run, as an interpreter of Jinja would be larger than all the formats together. */
#include "ald/text/chat.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/text/chat_parts.h"
#include "ald/text/tokenizer.h"
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

static ald_status_t refuse_unknown(const ald_chat_t *chat)
{
    return ald_status_raise(
        ALD_STATUS_INPUT,
        "the chat_template of %s is not one of those known here%s; render the data with "
        "tools/render_chat.py %s DATA OUTPUT, or set data.chat_format to \"chatml\", \"llama3\", "
        "\"mistral\", \"zephyr\" or \"none\"",
        chat->directory, chat->why, chat->directory);
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
    ALD_TRY(ald_template_recognise(template, &known, &kind, out->default_system,
                                   sizeof out->default_system));
    out->unknown = !known;
    out->why = known                                         ? ""
               : strstr(template, "<start_of_turn>") != NULL ? " (it is Gemma's)"
               : template[0] == '\0' ? " (of several, none is named \"default\")"
                                     : "";
    out->rules = (int)kind;
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

static ald_status_t find_end_token(const ald_tokenizer_t *tokenizer, ald_chat_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = out->none || out->unknown ? NULL : formats[out->rules].end_token;
    out->end_token =
        name == NULL ? ald_tokenizer_eos(tokenizer) : ald_tokenizer_find(tokenizer, name);
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
    snprintf(out->name, sizeof out->name, "%s",
             out->none      ? "none"
             : out->unknown ? "rendered"
                            : formats[out->rules].name);
    ALD_TRY(find_end_token(tokenizer, out));
done:
    return status;
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

/* Renders a prompt that is one string as a message of the user. */
static ald_status_t render_string(const ald_chat_t *chat, const ald_json_t *prompt, bool generate,
                                  ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *messages = ald_json_new_array(), *message = ald_json_new_object();
    ald_json_set(message, "role", ald_json_new_string("user"));
    ald_json_set(message, "content", ald_json_copy(prompt));
    ald_json_push(messages, message);
    ALD_TRY(formats[chat->rules].family->render(chat, messages, generate, writer));
done:
    ald_json_free(messages);
    return status;
}

static ald_status_t render(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                           ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t content = {NULL, 0};
    content.data = ald_json_text(messages, &content.length);
    ALD_CHECK(content.data != NULL || ald_json_is_array(messages), ALD_STATUS_INPUT,
              "expected a string or a list of messages, found %s", ald_json_type_name(messages));
    ALD_CHECK(content.data != NULL || ald_json_count(messages) > 0, ALD_STATUS_INPUT,
              "the list of messages is empty");
    if (chat->unknown)
        return refuse_unknown(chat);
    if (content.data != NULL)
        ALD_TRY(chat->none ? ald_chat_put(writer, content)
                           : render_string(chat, messages, generate, writer));
    else if (chat->none)
        ALD_TRY(render_none(messages, generate, writer));
    else
        ALD_TRY(formats[chat->rules].family->render(chat, messages, generate, writer));
done:
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

ald_status_t ald_chat_render_answer(const ald_chat_t *chat, const char *content, size_t length,
                                    ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_chat_writer_t writer = {text, NULL};
    const ald_slice_t answer = {content, length};
    if (chat->unknown)
        return refuse_unknown(chat);
    ALD_TRY(chat->none ? ald_chat_put(&writer, answer)
                       : formats[chat->rules].family->answer(chat, answer, &writer));
done:
    return status;
}
