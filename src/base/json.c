/* JSON by jansson, whose types stay within this file: the rest of the program has one small set
 * of functions and one error message with line and column, and could change the library. */
#include "ald/base/json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/show.h"
#include "ald/base/status.h"

static json_t *in(const ald_json_t *value)
{
    return (json_t *)value;
}

static ald_json_t *out_of(json_t *value)
{
    return (ald_json_t *)value;
}

static ald_json_t *load(const char *text, size_t length, json_error_t *error)
{
    return out_of(
        json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, error));
}

/* A copy in which integers of 19 digits and more end in "e0", and are thus read as reals; NULL
 * without memory. */
static char *with_reals(const char *text, size_t length, size_t *copied)
{
    enum { DIGITS = 19 }; /* of the largest 64-bit integer: as many may be too large */
    char *copy = ald_alloc(length + length / DIGITS * 2 + 2), *to = copy;
    bool quoted = false;
    for (size_t i = 0; i < length && copy != NULL;) {
        size_t digits = 0;
        while (!quoted && i + digits < length && text[i + digits] >= '0' && text[i + digits] <= '9')
            ++digits;
        size_t some = digits > 0 ? digits : quoted && text[i] == '\\' && i + 1 < length ? 2 : 1;
        quoted = text[i] == '"' ? !quoted : quoted;
        memcpy(to, text + i, some);
        to += some;
        i += some;
        bool whole = digits >= DIGITS && (i == length || strchr(".eE", text[i]) == NULL) &&
                     (i == digits || text[i - digits - 1] != '.');
        if (whole) {
            *to++ = 'e';
            *to++ = '0';
        }
    }
    *copied = copy == NULL ? 0 : (size_t)(to - copy);
    return copy;
}

ald_status_t ald_json_parse(const char *text, size_t length, const char *name, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    json_error_t error;
    *out = load(text, length, &error);
    if (*out == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        size_t copied;
        char *copy = with_reals(text, length, &copied);
        ALD_CHECK_MEMORY(copy, length);
        *out = load(copy, copied, &error);
        ald_free(copy);
    }
    ALD_CHECK(*out != NULL,
              json_error_code(&error) == json_error_out_of_memory ? ALD_STATUS_RESOURCE
                                                                  : ALD_STATUS_INPUT,
              "%s:%d:%d: not valid JSON%s: %s", name, error.line, error.column,
              json_error_code(&error) == json_error_invalid_utf8 ? " (expected UTF-8)" : "",
              error.text);
done:
    return status;
}

ald_status_t ald_json_read(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    *out = NULL;
    ALD_TRY(ald_file_read(path, &text, &size));
    ALD_TRY(ald_json_parse(text, size, path, out));
done:
    ald_free(text);
    return status;
}

void ald_json_free(ald_json_t *value)
{
    json_decref(in(value));
}

bool ald_json_is_object(const ald_json_t *value)
{
    return json_is_object(in(value));
}

bool ald_json_is_array(const ald_json_t *value)
{
    return json_is_array(in(value));
}

bool ald_json_is_string(const ald_json_t *value)
{
    return json_is_string(in(value));
}

bool ald_json_is_number(const ald_json_t *value)
{
    return json_is_number(in(value));
}

bool ald_json_is_integer(const ald_json_t *value)
{
    return json_is_integer(in(value));
}

bool ald_json_is_bool(const ald_json_t *value)
{
    return json_is_boolean(in(value));
}

bool ald_json_is_null(const ald_json_t *value)
{
    return value == NULL || json_is_null(in(value));
}

const char *ald_json_type_name(const ald_json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(in(value))) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

const ald_json_t *ald_json_get(const ald_json_t *object, const char *key)
{
    return out_of(json_object_get(in(object), key));
}

const ald_json_t *ald_json_at(const ald_json_t *array, size_t index)
{
    return out_of(json_array_get(in(array), index));
}

size_t ald_json_count(const ald_json_t *value)
{
    return json_is_object(in(value)) ? json_object_size(in(value)) : json_array_size(in(value));
}

const char *ald_json_text(const ald_json_t *value, size_t *length)
{
    if (length != NULL)
        *length = json_string_length(in(value));
    return json_string_value(in(value));
}

int64_t ald_json_integer(const ald_json_t *value, int64_t otherwise)
{
    return json_is_integer(in(value)) ? json_integer_value(in(value)) : otherwise;
}

double ald_json_number(const ald_json_t *value, double otherwise)
{
    return json_is_number(in(value)) ? json_number_value(in(value)) : otherwise;
}

bool ald_json_bool(const ald_json_t *value, bool otherwise)
{
    return json_is_boolean(in(value)) ? json_is_true(in(value)) : otherwise;
}

ald_status_t ald_json_check_strings(const ald_json_t *object, const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(object, key);
    ALD_CHECK(ald_json_is_null(list) || ald_json_is_array(list), ALD_STATUS_INPUT,
              "\"%s\": expected a list of strings, found %s", key, ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list); ++i)
        ALD_CHECK(ald_json_is_string(ald_json_at(list, i)), ALD_STATUS_INPUT,
                  "\"%s\"[%zu]: expected a string, found %s", key, i,
                  ald_json_type_name(ald_json_at(list, i)));
done:
    return status;
}

bool ald_json_next(const ald_json_t *object, void **iterator, const char **key,
                   const ald_json_t **value)
{
    *iterator = *iterator == NULL ? json_object_iter(in(object))
                                  : json_object_iter_next(in(object), *iterator);
    if (*iterator == NULL)
        return false;
    *key = json_object_iter_key(*iterator);
    *value = out_of(json_object_iter_value(*iterator));
    return true;
}

ald_json_t *ald_json_new_object(void)
{
    return out_of(json_object());
}

ald_json_t *ald_json_new_array(void)
{
    return out_of(json_array());
}

ald_json_t *ald_json_new_string(const char *text)
{
    return ald_json_new_text(text, strlen(text));
}

bool ald_utf8_is_valid(const char *text, size_t length)
{
    uint32_t code;
    for (size_t i = 0, step; i < length; i += step) {
        step = ald_utf8_code(text + i, length - i, &code);
        if (step == 0)
            return false;
    }
    return true;
}

size_t ald_utf8_count(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; ++i)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

ald_json_t *ald_json_new_text(const char *text, size_t length)
{
    json_t *value = json_stringn(text, length);
    if (value != NULL)
        return out_of(value);
    char *clean = ald_alloc(3 * length + 1); /* U+FFFD is three bytes */
    if (clean == NULL)
        return NULL;
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        uint32_t code;
        size_t step = ald_utf8_code(text + i, length - i, &code);
        memcpy(clean + used, step > 0 ? text + i : "\xEF\xBF\xBD", step > 0 ? step : 3);
        used += step > 0 ? step : 3;
        i += step > 0 ? step : 1;
    }
    value = json_stringn(clean, used);
    ald_free(clean);
    return out_of(value);
}

ald_json_t *ald_json_new_integer(int64_t value)
{
    return out_of(json_integer(value));
}

ald_json_t *ald_json_new_number(double value)
{
    return out_of(isfinite(value) ? json_real(value) : json_null());
}

ald_json_t *ald_json_new_bool(bool value)
{
    return out_of(json_boolean(value));
}

ald_json_t *ald_json_copy(const ald_json_t *value)
{
    return out_of(json_deep_copy(in(value)));
}

ald_json_t *ald_json_share(const ald_json_t *value)
{
    return out_of(json_incref(in(value)));
}

/* A member or item that could not be made leaves this in its place, which dump refuses: it isn't
 * UTF-8, so no file can have brought it. */
static const char spoiled[] = "\xFF";

void ald_json_set(ald_json_t *object, const char *key, ald_json_t *value)
{
    if (json_object_set_new(in(object), key, in(value)) != 0)
        json_object_set_new_nocheck(in(object), spoiled, json_string_nocheck(spoiled));
}

void ald_json_push(ald_json_t *array, ald_json_t *value)
{
    if (json_array_append_new(in(array), in(value)) != 0)
        json_array_append_new(in(array), json_string_nocheck(spoiled));
}

ald_status_t ald_json_dump(const ald_json_t *value, bool indent, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(9) | (indent ? JSON_INDENT(2) : 0);
    char *text = json_dumps(in(value), flags);
    *out = NULL;
    ALD_CHECK(text != NULL, ALD_STATUS_INTERNAL, "a JSON value could not be built");
    const size_t length = strlen(text);
    const size_t bytes = ald_show_json(text, length, NULL);
    *out = ald_alloc(bytes + 1);
    ALD_CHECK_MEMORY(*out, bytes + 1);
    ald_show_json(text, length, *out);
    (*out)[bytes] = '\0';
done:
    free(text);
    return status;
}

ald_status_t ald_json_write(const ald_json_t *value, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ALD_TRY(ald_json_dump(value, true, &text));
    size_t length = strlen(text);
    text[length] = '\n'; /* the terminator's place */
    ALD_TRY(ald_file_write(path, text, length + 1));
done:
    ald_free(text);
    return status;
}

ald_status_t ald_json_write_line(ald_json_t *value, ald_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ALD_TRY(ald_json_dump(value, false, &text));
    size_t length = strlen(text);
    text[length] = '\n'; /* the terminator's place */
    ALD_TRY(ald_writer_write(writer, text, length + 1));
done:
    ald_free(text);
    ald_json_free(value);
    return status;
}
