/* Pieces that the chat formats share: messages, slices, markup, JSON. They follow Python's rules
 * for white space and numbers, since the templates run under Jinja2. */
#include "ald/text/chat_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/chat.h"
#include "text/unicode_impl.h"

ald_slice_t ald_slice(const char *text)
{
    return (ald_slice_t){text, strlen(text)};
}

bool ald_slice_is(ald_slice_t slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

ald_slice_t ald_slice_strip_newlines(ald_slice_t text, bool left, bool right)
{
    while (left && text.length > 0 && text.data[0] == '\n') {
        ++text.data;
        --text.length;
    }
    while (right && text.length > 0 && text.data[text.length - 1] == '\n')
        --text.length;
    return text;
}

bool ald_is_python_space(int32_t c)
{
    return ald_unicode_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

ald_slice_t ald_slice_strip(ald_slice_t text, bool left, bool right)
{
    size_t step = 0;
    while (left && text.length > 0 &&
           ald_is_python_space(ald_utf8_next(text.data, text.length, &step))) {
        text.data += step;
        text.length -= step;
    }
    while (right && text.length > 0) {
        size_t last = ald_utf8_last(text.data, text.length);
        if (!ald_is_python_space(ald_utf8_next(text.data + last, text.length - last, &step)))
            break;
        text.length = last;
    }
    return text;
}

ald_slice_t ald_slice_trim(ald_slice_t text)
{
    return ald_slice_strip(text, true, true);
}

ald_slice_t ald_slice_after_last(ald_slice_t text, const char *mark)
{
    size_t length = strlen(mark);
    const char *found;
    while ((found = memmem(text.data, text.length, mark, length)) != NULL) {
        text.length -= (size_t)(found + length - text.data);
        text.data = found + length;
    }
    return text;
}

ald_status_t ald_chat_put(ald_chat_writer_t *writer, ald_slice_t part)
{
    return part.length == 0 ? ALD_STATUS_OK : ald_vec_append(writer->text, part.data, part.length);
}

ald_status_t ald_chat_mark(ald_chat_writer_t *writer, const char *markup)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *spans = writer->markup;
    const ald_chat_span_t span = {writer->text->count, writer->text->count + strlen(markup)};
    ALD_TRY(ald_chat_put(writer, ald_slice(markup)));
    if (spans == NULL || span.start == span.end)
        return status;
    if (spans->count > 0 && ALD_VEC_AT(spans, ald_chat_span_t, spans->count - 1).end == span.start)
        ALD_VEC_AT(spans, ald_chat_span_t, spans->count - 1).end = span.end;
    else
        ALD_TRY(ald_vec_push(spans, &span));
done:
    return status;
}

static ald_status_t put_json_text(ald_chat_writer_t *writer, ald_slice_t text)
{
    static const char *const escapes[256] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r",
        ['\t'] = "\\t", ['\b'] = "\\b",  ['\f'] = "\\f"};
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_put(writer, ald_slice("\"")));
    for (size_t i = 0; i < text.length; ++i) {
        unsigned char c = (unsigned char)text.data[i];
        char code[8];
        snprintf(code, sizeof code, "\\u%04x", c);
        if (escapes[c] != NULL || c < 0x20)
            ALD_TRY(ald_chat_put(writer, ald_slice(escapes[c] != NULL ? escapes[c] : code)));
        else
            ALD_TRY(ald_chat_put(writer, (ald_slice_t){text.data + i, 1}));
    }
    ALD_TRY(ald_chat_put(writer, ald_slice("\"")));
done:
    return status;
}

void ald_chat_real(double value, char *digits, size_t size)
{
    char text[40];
    int precision = 0;
    do
        snprintf(text, sizeof text, "%.*e", precision, value);
    while (strtod(text, NULL) != value && ++precision < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        snprintf(digits, size, "%.*f", precision > exponent ? precision - exponent : 1, value);
    else
        snprintf(digits, size, "%.*e", precision, value);
}

static ald_status_t put_json_real(ald_chat_writer_t *writer, double value)
{
    char digits[40];
    ald_chat_real(value, digits, sizeof digits);
    return ald_chat_put(writer, ald_slice(digits));
}

static ald_status_t put_json_list(ald_chat_writer_t *writer, const ald_json_t *value)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_chat_put(writer, ald_slice("[")));
    for (size_t i = 0; i < ald_json_count(value); ++i) {
        ALD_TRY(ald_chat_put(writer, ald_slice(i == 0 ? "" : ", ")));
        ALD_TRY(ald_chat_json(writer, ald_json_at(value, i)));
    }
    ALD_TRY(ald_chat_put(writer, ald_slice("]")));
done:
    return status;
}

static ald_status_t put_json_object(ald_chat_writer_t *writer, const ald_json_t *value)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *key = NULL;
    const ald_json_t *member = NULL;
    bool first = true;
    ALD_TRY(ald_chat_put(writer, ald_slice("{")));
    while (ald_json_next(value, &iterator, &key, &member)) {
        ALD_TRY(ald_chat_put(writer, ald_slice(first ? "" : ", ")));
        ALD_TRY(put_json_text(writer, ald_slice(key)));
        ALD_TRY(ald_chat_put(writer, ald_slice(": ")));
        ALD_TRY(ald_chat_json(writer, member));
        first = false;
    }
    ALD_TRY(ald_chat_put(writer, ald_slice("}")));
done:
    return status;
}

ald_status_t ald_chat_json(ald_chat_writer_t *writer, const ald_json_t *value)
{
    ald_slice_t text = {NULL, 0};
    char number[32];
    text.data = ald_json_text(value, &text.length);
    if (text.data != NULL)
        return put_json_text(writer, text);
    if (ald_json_is_object(value))
        return put_json_object(writer, value);
    if (ald_json_is_array(value))
        return put_json_list(writer, value);
    if (ald_json_is_number(value) && !ald_json_is_integer(value))
        return put_json_real(writer, ald_json_number(value, 0));
    snprintf(number, sizeof number, "%lld", (long long)ald_json_integer(value, 0));
    return ald_chat_put(writer, ald_slice(ald_json_is_integer(value)    ? number
                                          : !ald_json_is_bool(value)    ? "null"
                                          : ald_json_bool(value, false) ? "true"
                                                                        : "false"));
}

ald_status_t ald_message_read(const ald_json_t *messages, size_t index, ald_message_t *out)
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
    ALD_CHECK(ald_json_is_null(calls) || ald_json_is_array(calls), ALD_STATUS_INPUT,
              "message %zu: \"tool_calls\": expected a list, found %s", index,
              ald_json_type_name(calls));
    out->json = json;
    out->calls = ald_json_count(calls) > 0 ? calls : NULL;
    ALD_CHECK(ald_json_is_string(content) || (out->calls != NULL && ald_json_is_null(content)),
              ALD_STATUS_INPUT, "message %zu: \"content\": expected a string, found %s", index,
              ald_json_type_name(content));
    out->role.data = ald_json_text(role, &out->role.length);
    out->content = (ald_slice_t){NULL, 0};
    out->content.data = ald_json_text(content, &out->content.length);
    out->reasoning = (ald_slice_t){NULL, 0};
    out->reasoning.data =
        ald_json_text(ald_json_get(json, "reasoning_content"), &out->reasoning.length);
done:
    return status;
}

ald_status_t ald_message_function(const ald_json_t *call, size_t index, const ald_json_t **out,
                                  ald_slice_t *name)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *function = ald_json_get(call, "function");
    *out = ald_json_is_object(function) ? function : call;
    name->data = ald_json_text(ald_json_get(*out, "name"), &name->length);
    ALD_CHECK(name->data != NULL, ALD_STATUS_INPUT,
              "message %zu: \"tool_calls\": expected {\"function\": {\"name\", \"arguments\"}}",
              index);
done:
    return status;
}
