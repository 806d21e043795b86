/* Values of a running chat template. A string knows which of its bytes come from a message, so that
 * the text that a template writes can be told into markup and content. */
#include "text/jinja_value_impl.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/unicode_impl.h"

ald_status_t ald_jinja_alloc(ald_arena_t *arena, size_t count, size_t size, void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = 0;
    ALD_JINJA_CHECK(!__builtin_mul_overflow(count, size, &bytes) && bytes <= ALD_JINJA_MOST &&
                        arena->in_use + bytes <= ALD_JINJA_MOST,
                    "takes more than %d MiB", ALD_JINJA_MOST >> 20);
    *out = ald_arena_calloc(arena, count == 0 ? 1 : count, size);
    ALD_CHECK_MEMORY(*out, bytes);
done:
    return status;
}

/* --- making ------------------------------------------------------------------------------- */

ald_jinja_value_t ald_jinja_bool(bool truth)
{
    return (ald_jinja_value_t){.kind = ALD_JINJA_BOOL, .truth = truth};
}

ald_jinja_value_t ald_jinja_integer(int64_t integer)
{
    return (ald_jinja_value_t){.kind = ALD_JINJA_INTEGER, .integer = integer};
}

ald_jinja_value_t ald_jinja_string(const char *text, size_t length)
{
    ald_jinja_value_t out = {.kind = ALD_JINJA_STRING};
    out.text = length == 0 ? "" : text;
    out.length = length;
    return out;
}

ald_jinja_value_t ald_jinja_literal(const char *text)
{
    return ald_jinja_string(text, strlen(text));
}

ald_jinja_value_t ald_jinja_undefined(const char *name)
{
    ald_jinja_value_t out = {.kind = ALD_JINJA_UNDEFINED};
    out.text = name;
    return out;
}

bool ald_jinja_is_none(const ald_jinja_value_t *value)
{
    return value->kind == ALD_JINJA_NONE;
}

bool ald_jinja_is_text(const ald_jinja_value_t *value, const char *text)
{
    return value->kind == ALD_JINJA_STRING && value->length == strlen(text) &&
           memcmp(value->text, text, value->length) == 0;
}

ald_jinja_value_t ald_jinja_part(const ald_jinja_value_t *string, size_t from, size_t to)
{
    ald_jinja_value_t out = *string;
    out.text += from;
    out.mask = string->mask == NULL ? NULL : string->mask + from;
    out.length = to - from;
    return out;
}

const char *ald_jinja_type(const ald_jinja_value_t *value)
{
    static const char *const names[] = {
        [ALD_JINJA_UNDEFINED] = "undefined",   [ALD_JINJA_NONE] = "none",
        [ALD_JINJA_BOOL] = "a bool",           [ALD_JINJA_INTEGER] = "an integer",
        [ALD_JINJA_REAL] = "a float",          [ALD_JINJA_STRING] = "a string",
        [ALD_JINJA_LIST] = "a list",           [ALD_JINJA_MAP] = "a dictionary",
        [ALD_JINJA_NAMESPACE] = "a namespace", [ALD_JINJA_LOOP] = "a loop",
        [ALD_JINJA_MACRO] = "a macro"};
    return names[value->kind];
}

ald_status_t ald_jinja_list(ald_arena_t *arena, ald_jinja_list_kind_t kind, ald_jinja_value_t *out)
{
    void *list = NULL;
    const ald_status_t status = ald_jinja_alloc(arena, 1, sizeof(ald_jinja_list_t), &list);
    *out = (ald_jinja_value_t){.kind = ALD_JINJA_LIST};
    out->list = list;
    if (list != NULL)
        out->list->kind = kind;
    return status;
}

/* Makes room for one more in an array of values. */
static ald_status_t grow(ald_arena_t *arena, size_t count, size_t capacity,
                         ald_jinja_value_t **array)
{
    ald_status_t status = ALD_STATUS_OK;
    void *data = NULL;
    if (count < capacity)
        return status;
    ALD_TRY(ald_jinja_alloc(arena, capacity == 0 ? 4 : 2 * capacity, sizeof **array, &data));
    if (count > 0)
        memcpy(data, *array, count * sizeof **array);
    *array = data;
done:
    return status;
}

ald_status_t ald_jinja_push(ald_arena_t *arena, ald_jinja_value_t *list, ald_jinja_value_t item)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_list_t *to = list->list;
    ALD_TRY(grow(arena, to->count, to->capacity, &to->items));
    if (to->count == to->capacity)
        to->capacity = to->capacity == 0 ? 4 : 2 * to->capacity;
    to->items[to->count++] = item;
done:
    return status;
}

ald_status_t ald_jinja_map(ald_arena_t *arena, ald_jinja_kind_t kind, ald_jinja_value_t *out)
{
    void *map = NULL;
    const ald_status_t status = ald_jinja_alloc(arena, 1, sizeof(ald_jinja_map_t), &map);
    *out = (ald_jinja_value_t){.kind = kind};
    out->map = map;
    return status;
}

const ald_jinja_value_t *ald_jinja_get(const ald_jinja_value_t *map, const ald_jinja_value_t *key)
{
    for (size_t i = 0; i < map->map->count; ++i)
        if (ald_jinja_equal(&map->map->keys[i], key))
            return &map->map->values[i];
    return NULL;
}

ald_status_t ald_jinja_set(ald_arena_t *arena, ald_jinja_value_t *map, ald_jinja_value_t key,
                           ald_jinja_value_t value)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_map_t *to = map->map;
    ALD_JINJA_CHECK(key.kind != ALD_JINJA_LIST && key.kind != ALD_JINJA_MAP,
                    "%s can't be the key of a dictionary here", ald_jinja_type(&key));
    for (size_t i = 0; i < to->count; ++i)
        if (ald_jinja_equal(&to->keys[i], &key)) {
            to->values[i] = value;
            return status;
        }
    ALD_TRY(grow(arena, to->count, to->capacity, &to->keys));
    ALD_TRY(grow(arena, to->count, to->capacity, &to->values));
    if (to->count == to->capacity)
        to->capacity = to->capacity == 0 ? 4 : 2 * to->capacity;
    to->keys[to->count] = key;
    to->values[to->count++] = value;
done:
    return status;
}

static ald_status_t of_object(ald_arena_t *arena, const ald_json_t *json, ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *key = NULL;
    const ald_json_t *member = NULL;
    ALD_TRY(ald_jinja_map(arena, ALD_JINJA_MAP, out));
    while (ald_json_next(json, &iterator, &key, &member)) {
        ald_jinja_value_t name = ald_jinja_literal(key), value;
        ALD_TRY(ald_jinja_of_json(arena, member, &value));
        name.content = true;
        if (strcmp(key, "role") == 0)
            value.content = false;
        ALD_TRY(ald_jinja_set(arena, out, name, value));
    }
done:
    return status;
}

ald_status_t ald_jinja_of_json(ald_arena_t *arena, const ald_json_t *json, ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const char *text = ald_json_text(json, &length);
    *out = (ald_jinja_value_t){.kind = ALD_JINJA_NONE};
    if (ald_json_is_object(json))
        return of_object(arena, json, out);
    if (text != NULL) {
        *out = ald_jinja_string(text, length);
        out->content = true;
    } else if (ald_json_is_array(json)) {
        ALD_TRY(ald_jinja_list(arena, ALD_JINJA_LIST_PLAIN, out));
        for (size_t i = 0; i < ald_json_count(json); ++i) {
            ald_jinja_value_t item;
            ALD_TRY(ald_jinja_of_json(arena, ald_json_at(json, i), &item));
            ALD_TRY(ald_jinja_push(arena, out, item));
        }
    } else if (ald_json_is_integer(json)) {
        *out = ald_jinja_integer(ald_json_integer(json, 0));
    } else if (ald_json_is_number(json)) {
        out->kind = ALD_JINJA_REAL;
        out->real = ald_json_number(json, 0);
    } else if (ald_json_is_bool(json)) {
        *out = ald_jinja_bool(ald_json_bool(json, false));
    }
done:
    return status;
}

/* --- asking ------------------------------------------------------------------------------- */

bool ald_jinja_truth(const ald_jinja_value_t *value)
{
    switch (value->kind) {
    case ALD_JINJA_UNDEFINED:
    case ALD_JINJA_NONE:
        return false;
    case ALD_JINJA_BOOL:
        return value->truth;
    case ALD_JINJA_INTEGER:
        return value->integer != 0;
    case ALD_JINJA_REAL:
        return value->real != 0;
    case ALD_JINJA_STRING:
        return value->length > 0;
    case ALD_JINJA_LIST:
        return value->list->count > 0 || value->list->kind == ALD_JINJA_LIST_GENERATOR;
    case ALD_JINJA_MAP:
        return value->map->count > 0;
    default:
        return true;
    }
}

static bool is_number(const ald_jinja_value_t *value)
{
    return value->kind == ALD_JINJA_BOOL || value->kind == ALD_JINJA_INTEGER ||
           value->kind == ALD_JINJA_REAL;
}

static double number_of(const ald_jinja_value_t *value)
{
    return value->kind == ALD_JINJA_REAL   ? value->real
           : value->kind == ALD_JINJA_BOOL ? (double)value->truth
                                           : (double)value->integer;
}

/* -1, 0 or 1; integers are compared as such. */
static int order_of(const ald_jinja_value_t *a, const ald_jinja_value_t *b)
{
    if (a->kind == ALD_JINJA_INTEGER && b->kind == ALD_JINJA_INTEGER)
        return (a->integer > b->integer) - (a->integer < b->integer);
    const double x = number_of(a), y = number_of(b);
    return (x > y) - (x < y);
}

static bool equal_lists(const ald_jinja_list_t *a, const ald_jinja_list_t *b)
{
    if (a->kind != b->kind || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; ++i)
        if (!ald_jinja_equal(&a->items[i], &b->items[i]))
            return false;
    return a == b || a->kind < ALD_JINJA_LIST_VIEW;
}

static bool equal_maps(const ald_jinja_value_t *a, const ald_jinja_value_t *b)
{
    if (a->map->count != b->map->count)
        return false;
    for (size_t i = 0; i < a->map->count; ++i) {
        const ald_jinja_value_t *other = ald_jinja_get(b, &a->map->keys[i]);
        if (other == NULL || !ald_jinja_equal(&a->map->values[i], other))
            return false;
    }
    return true;
}

bool ald_jinja_equal(const ald_jinja_value_t *a, const ald_jinja_value_t *b)
{
    if (is_number(a) && is_number(b))
        return order_of(a, b) == 0;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case ALD_JINJA_UNDEFINED:
    case ALD_JINJA_NONE:
        return true;
    case ALD_JINJA_STRING:
        return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
    case ALD_JINJA_LIST:
        return equal_lists(a->list, b->list);
    case ALD_JINJA_MAP:
        return equal_maps(a, b);
    default:
        return a->map == b->map;
    }
}

ald_status_t ald_jinja_compare(const ald_jinja_value_t *a, const ald_jinja_value_t *b, int *order)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool numbers = is_number(a) && is_number(b);
    ALD_JINJA_CHECK(numbers || (a->kind == ALD_JINJA_STRING && b->kind == ALD_JINJA_STRING),
                    "%s and %s have no order", ald_jinja_type(a), ald_jinja_type(b));
    if (numbers) {
        *order = order_of(a, b);
    } else { /* the order of UTF-8's bytes is that of the code points */
        const size_t shorter = a->length < b->length ? a->length : b->length;
        *order = memcmp(a->text, b->text, shorter);
        if (*order == 0)
            *order = (a->length > b->length) - (a->length < b->length);
    }
done:
    return status;
}

ald_status_t ald_jinja_contains(const ald_jinja_value_t *whole, const ald_jinja_value_t *part,
                                bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = false;
    if (whole->kind == ALD_JINJA_STRING) {
        ALD_JINJA_CHECK(part->kind == ALD_JINJA_STRING, "'in' a string: found %s",
                        ald_jinja_type(part));
        *out = part->length == 0 ||
               memmem(whole->text, whole->length, part->text, part->length) != NULL;
    } else if (whole->kind == ALD_JINJA_MAP) {
        *out = ald_jinja_get(whole, part) != NULL;
    } else if (whole->kind == ALD_JINJA_LIST) {
        ALD_JINJA_CHECK(!whole->list->spent, "a generator is used twice");
        for (size_t i = 0; i < whole->list->count && !*out; ++i)
            *out = ald_jinja_equal(&whole->list->items[i], part);
    } else {
        ALD_JINJA_CHECK(whole->kind == ALD_JINJA_UNDEFINED, "'in' %s", ald_jinja_type(whole));
    }
done:
    return status;
}

ald_status_t ald_jinja_length(const ald_jinja_value_t *value, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = 0;
    if (value->kind == ALD_JINJA_STRING)
        *out = ald_utf8_count(value->text, value->length);
    else if (value->kind == ALD_JINJA_MAP)
        *out = value->map->count;
    else if (value->kind == ALD_JINJA_LIST && value->list->kind != ALD_JINJA_LIST_GENERATOR)
        *out = value->list->count;
    else
        ALD_JINJA_CHECK(value->kind == ALD_JINJA_UNDEFINED, "the length of %s",
                        value->kind == ALD_JINJA_LIST ? "a generator" : ald_jinja_type(value));
done:
    return status;
}

/* Where the next character after byte `at` begins. */
static size_t next_character(const ald_jinja_value_t *string, size_t at)
{
    do
        ++at;
    while (at < string->length && ((unsigned char)string->text[at] & 0xC0) == 0x80);
    return at;
}

ald_status_t ald_jinja_items(ald_arena_t *arena, const ald_jinja_value_t *value,
                             ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_list(arena, ALD_JINJA_LIST_PLAIN, out));
    if (value->kind == ALD_JINJA_STRING) {
        for (size_t at = 0, next; at < value->length; at = next) {
            next = next_character(value, at);
            ALD_TRY(ald_jinja_push(arena, out, ald_jinja_part(value, at, next)));
        }
    } else if (value->kind == ALD_JINJA_LIST) {
        ALD_JINJA_CHECK(!value->list->spent, "a generator is used twice");
        value->list->spent = value->list->kind == ALD_JINJA_LIST_GENERATOR;
        out->list->items = value->list->items; /* nobody changes a list after it was made */
        out->list->count = out->list->capacity = value->list->count;
    } else if (value->kind == ALD_JINJA_MAP) {
        out->list->items = value->map->keys;
        out->list->count = out->list->capacity = value->map->count;
    } else {
        ALD_JINJA_CHECK(value->kind == ALD_JINJA_UNDEFINED, "%s can't be walked",
                        ald_jinja_type(value));
    }
done:
    return status;
}

static ald_status_t bound(const ald_jinja_value_t *value, int64_t otherwise, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (value == NULL || value->kind == ALD_JINJA_NONE)
        return status;
    ALD_JINJA_CHECK(value->kind == ALD_JINJA_INTEGER || value->kind == ALD_JINJA_BOOL,
                    "%s as the bound of a slice", ald_jinja_type(value));
    *out = value->kind == ALD_JINJA_BOOL ? value->truth : value->integer;
done:
    return status;
}

static int64_t within(int64_t at, int64_t count, int64_t low, int64_t high)
{
    at += at < 0 ? count : 0;
    return at < low ? low : at > high ? high : at;
}

ald_status_t ald_jinja_slice(ald_arena_t *arena, const ald_jinja_value_t *value,
                             ald_jinja_range_t range, ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_value_t items;
    ald_jinja_text_t text;
    int64_t step = 1, first = 0, last = 0;
    const bool string = value->kind == ALD_JINJA_STRING;
    ald_jinja_text_init(&text);
    ALD_JINJA_CHECK(
        string || (value->kind == ALD_JINJA_LIST && value->list->kind <= ALD_JINJA_LIST_TUPLE),
        "a slice of %s", ald_jinja_type(value));
    ALD_TRY(ald_jinja_items(arena, value, &items));
    const int64_t count = (int64_t)items.list->count;
    ALD_TRY(bound(range.step, 1, &step));
    ALD_JINJA_CHECK(step != 0 && step != INT64_MIN, "a slice's step of 0");
    ALD_TRY(bound(range.first, step > 0 ? 0 : INT64_MAX, &first));
    ALD_TRY(bound(range.last, step > 0 ? INT64_MAX : -count - 1, &last));
    first = step > 0 ? within(first, count, 0, count) : within(first, count, -1, count - 1);
    last = step > 0 ? within(last, count, 0, count) : within(last, count, -1, count - 1);
    if (!string)
        ALD_TRY(ald_jinja_list(arena, value->list->kind, out));
    for (int64_t i = first; step > 0 ? i < last : i > last; i += step) {
        ALD_TRY(string ? ald_jinja_put(&text, &items.list->items[i])
                       : ald_jinja_push(arena, out, items.list->items[i]));
        if (step > count || step < -count)
            break;
    }
    if (string)
        ALD_TRY(ald_jinja_take(arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

/* Item `index` of a string, by characters; false out of range. */
static bool character_at(const ald_jinja_value_t *string, int64_t index, ald_jinja_value_t *out)
{
    index += index < 0 ? (int64_t)ald_utf8_count(string->text, string->length) : 0;
    if (index < 0)
        return false;
    for (size_t at = 0, next; at < string->length; at = next, --index) {
        next = next_character(string, at);
        if (index == 0) {
            *out = ald_jinja_part(string, at, next);
            return true;
        }
    }
    return false;
}

ald_status_t ald_jinja_item(const ald_jinja_value_t *value, const ald_jinja_value_t *key,
                            ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool number = key->kind == ALD_JINJA_INTEGER || key->kind == ALD_JINJA_BOOL;
    int64_t index = key->kind == ALD_JINJA_BOOL ? key->truth : number ? key->integer : 0;
    *out = ald_jinja_undefined(
        key->kind == ALD_JINJA_STRING && key->mask == NULL && !key->content ? key->text : NULL);
    ALD_JINJA_CHECK(value->kind != ALD_JINJA_UNDEFINED, "'%s' is undefined",
                    value->text == NULL ? "a value" : value->text);
    if (value->kind == ALD_JINJA_MAP || value->kind == ALD_JINJA_NAMESPACE) {
        const ald_jinja_value_t *member = ald_jinja_get(value, key);
        if (member != NULL)
            *out = *member;
    } else if (value->kind == ALD_JINJA_LIST && number &&
               value->list->kind <= ALD_JINJA_LIST_TUPLE) {
        index += index < 0 ? (int64_t)value->list->count : 0;
        if (index >= 0 && index < (int64_t)value->list->count)
            *out = value->list->items[index];
    } else if (value->kind == ALD_JINJA_STRING && number) {
        character_at(value, index, out);
    }
done:
    return status;
}

ald_status_t ald_jinja_path(const char *name, const ald_jinja_value_t *value,
                            const ald_jinja_value_t *path, ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_JINJA_CHECK(path->kind == ALD_JINJA_STRING, "%s: an attribute that is %s", name,
                    ald_jinja_type(path));
    *out = *value;
    for (size_t from = 0; from <= path->length;) {
        const char *dot = memchr(path->text + from, '.', path->length - from);
        const size_t to = dot == NULL ? path->length : (size_t)(dot - path->text);
        const ald_jinja_value_t whole = *out, key = ald_jinja_part(path, from, to);
        ALD_JINJA_CHECK(to > from && !isdigit((unsigned char)path->text[from]),
                        "%s: an attribute that isn't a name", name);
        ALD_TRY(ald_jinja_item(&whole, &key, out));
        from = to + 1;
    }
done:
    return status;
}

/* --- writing ------------------------------------------------------------------------------ */

void ald_jinja_text_init(ald_jinja_text_t *text)
{
    ald_vec_init(&text->text, 1);
    ald_vec_init(&text->mask, 1);
}

void ald_jinja_text_reset(ald_jinja_text_t *text)
{
    ald_vec_reset(&text->text);
    ald_vec_reset(&text->mask);
}

ald_status_t ald_jinja_put(ald_jinja_text_t *text, const ald_jinja_value_t *string)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t before = text->mask.count;
    if (string->length == 0)
        return status;
    ALD_JINJA_CHECK(before + string->length <= ALD_JINJA_MOST, "writes more than %d MiB",
                    ALD_JINJA_MOST >> 20);
    ALD_TRY(ald_vec_append(&text->text, string->text, string->length));
    ALD_TRY(ald_vec_append(&text->mask, string->mask, string->length));
    if (string->mask == NULL && string->content)
        memset((char *)text->mask.data + before, 1, string->length);
done:
    return status;
}

ald_status_t ald_jinja_puts(ald_jinja_text_t *text, const char *literal)
{
    const ald_jinja_value_t value = ald_jinja_literal(literal);
    return ald_jinja_put(text, &value);
}

ald_status_t ald_jinja_take(ald_arena_t *arena, ald_jinja_text_t *text, size_t from,
                            ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t length = text->text.count - from;
    void *copy = NULL;
    *out = ald_jinja_string("", 0);
    if (length == 0)
        return status;
    ALD_TRY(ald_jinja_alloc(arena, length, 2, &copy));
    memcpy(copy, (char *)text->text.data + from, length);
    memcpy((char *)copy + length, (char *)text->mask.data + from, length);
    *out = ald_jinja_string(copy, length);
    out->mask = (char *)copy + length;
    text->text.count = text->mask.count = from;
done:
    return status;
}

/* A number or a constant, as `json` has it or as Python does. */
static ald_status_t put_scalar(ald_jinja_text_t *text, const ald_jinja_value_t *value, bool json)
{
    static const char *const words[2][3] = {{"None", "False", "True"}, {"null", "false", "true"}};
    char digits[40];
    if (value->kind == ALD_JINJA_NONE)
        return ald_jinja_puts(text, words[json][0]);
    if (value->kind == ALD_JINJA_BOOL)
        return ald_jinja_puts(text, words[json][1 + value->truth]);
    if (value->kind == ALD_JINJA_INTEGER)
        snprintf(digits, sizeof digits, "%lld", (long long)value->integer);
    else if (isfinite(value->real))
        ald_chat_real(value->real, digits, sizeof digits);
    else
        return ALD_JINJA_FAIL("a number that isn't finite");
    return ald_jinja_puts(text, digits);
}

static ald_status_t put_escaped(ald_jinja_text_t *text, int32_t c, bool python)
{
    char code[24];
    if (python && c < 0x100)
        snprintf(code, sizeof code, "\\x%02x", (unsigned)c);
    else if (c < 0x10000)
        snprintf(code, sizeof code, "\\u%04x", (unsigned)c);
    else if (python)
        snprintf(code, sizeof code, "\\U%08x", (unsigned)c);
    else
        snprintf(code, sizeof code, "\\u%04x\\u%04x", 0xD800u + ((unsigned)(c - 0x10000) >> 10),
                 0xDC00u + ((unsigned)(c - 0x10000) & 0x3FF));
    return ald_jinja_puts(text, code);
}

static ald_status_t put_json_string(ald_jinja_text_t *text, const ald_jinja_value_t *string,
                                    bool ascii)
{
    static const char letters[] = "\"\\\n\r\t\b\f", escapes[] = "\"\\nrtbf";
    ald_status_t status = ALD_STATUS_OK;
    size_t step = 0;
    ALD_TRY(ald_jinja_puts(text, "\""));
    for (size_t i = 0; i < string->length; i += step) {
        const int32_t c = ald_utf8_next(string->text + i, string->length - i, &step);
        const char *found = c == 0 || c > 0x7F ? NULL : strchr(letters, c);
        const char escape[] = {'\\', found == NULL ? 0 : escapes[found - letters], 0};
        const ald_jinja_value_t part = ald_jinja_part(string, i, i + step);
        ALD_TRY(found != NULL                     ? ald_jinja_puts(text, escape)
                : c < 0x20 || (ascii && c > 0x7E) ? put_escaped(text, c, false)
                                                  : ald_jinja_put(text, &part));
    }
    ALD_TRY(ald_jinja_puts(text, "\""));
done:
    return status;
}

static ald_status_t put_repr(ald_jinja_text_t *text, const ald_jinja_value_t *string)
{
    static const char letters[] = "\\\n\r\t", escapes[] = "\\nrt";
    ald_status_t status = ALD_STATUS_OK;
    size_t step = 0;
    const bool doubled = memchr(string->text, '\'', string->length) != NULL &&
                         memchr(string->text, '"', string->length) == NULL;
    ALD_TRY(ald_jinja_puts(text, doubled ? "\"" : "'"));
    for (size_t i = 0; i < string->length; i += step) {
        const int32_t c = ald_utf8_next(string->text + i, string->length - i, &step);
        const char *found = c == 0 || c > 0x7F ? NULL : strchr(letters, c);
        const char escape[] = {'\\', found == NULL ? '\'' : escapes[found - letters], 0};
        const ald_jinja_value_t part = ald_jinja_part(string, i, i + step);
        ALD_TRY(found != NULL || (c == '\'' && !doubled) ? ald_jinja_puts(text, escape)
                : !ald_unicode_is_printed(c)             ? put_escaped(text, c, true)
                                                         : ald_jinja_put(text, &part));
    }
    ALD_TRY(ald_jinja_puts(text, doubled ? "\"" : "'"));
done:
    return status;
}

static ald_status_t put_inner(ald_jinja_text_t *text, const ald_jinja_value_t *value)
{
    return value->kind == ALD_JINJA_STRING ? put_repr(text, value) : ald_jinja_print(text, value);
}

static ald_status_t print_list(ald_jinja_text_t *text, const ald_jinja_list_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool tuple = list->kind == ALD_JINJA_LIST_TUPLE;
    ALD_JINJA_CHECK(list->kind <= ALD_JINJA_LIST_TUPLE, "prints what isn't a list yet");
    ALD_TRY(ald_jinja_puts(text, tuple ? "(" : "["));
    for (size_t i = 0; i < list->count; ++i) {
        ALD_TRY(ald_jinja_puts(text, i == 0 ? "" : ", "));
        ALD_TRY(put_inner(text, &list->items[i]));
    }
    ALD_TRY(ald_jinja_puts(text, !tuple ? "]" : list->count == 1 ? ",)" : ")"));
done:
    return status;
}

static ald_status_t print_map(ald_jinja_text_t *text, const ald_jinja_map_t *map)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_puts(text, "{"));
    for (size_t i = 0; i < map->count; ++i) {
        ALD_TRY(ald_jinja_puts(text, i == 0 ? "" : ", "));
        ALD_TRY(put_inner(text, &map->keys[i]));
        ALD_TRY(ald_jinja_puts(text, ": "));
        ALD_TRY(put_inner(text, &map->values[i]));
    }
    ALD_TRY(ald_jinja_puts(text, "}"));
done:
    return status;
}

ald_status_t ald_jinja_print(ald_jinja_text_t *text, const ald_jinja_value_t *value)
{
    switch (value->kind) {
    case ALD_JINJA_UNDEFINED:
        return ALD_STATUS_OK;
    case ALD_JINJA_STRING:
        return ald_jinja_put(text, value);
    case ALD_JINJA_LIST:
        return print_list(text, value->list);
    case ALD_JINJA_MAP:
        return print_map(text, value->map);
    case ALD_JINJA_NAMESPACE:
    case ALD_JINJA_LOOP:
    case ALD_JINJA_MACRO:
        return ALD_JINJA_FAIL("prints %s", ald_jinja_type(value));
    default:
        return put_scalar(text, value, false);
    }
}

static ald_status_t put_line(ald_jinja_text_t *text, int indent, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_puts(text, "\n"));
    for (int i = 0; i < indent * depth; ++i)
        ALD_TRY(ald_jinja_puts(text, " "));
done:
    return status;
}

/* The member of a map that comes after `last` in the order of keys; NULL: the first. */
static size_t next_key(const ald_jinja_map_t *map, const ald_jinja_value_t *last)
{
    size_t best = map->count;
    int order = 0;
    for (size_t i = 0; i < map->count; ++i) {
        if (last != NULL && (ald_jinja_compare(&map->keys[i], last, &order) != 0 || order <= 0))
            continue;
        if (best == map->count ||
            (ald_jinja_compare(&map->keys[i], &map->keys[best], &order) == 0 && order < 0))
            best = i;
    }
    return best;
}

static ald_status_t dump_map(ald_jinja_text_t *text, const ald_jinja_map_t *map,
                             const ald_jinja_json_t *how, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = map->count;
    ALD_TRY(ald_jinja_puts(text, "{"));
    for (size_t i = 0; i < map->count; ++i) {
        at = !how->sorted ? i : next_key(map, i == 0 ? NULL : &map->keys[at]);
        ALD_JINJA_CHECK(at < map->count && map->keys[at].kind == ALD_JINJA_STRING,
                        "tojson of a dictionary whose keys aren't strings");
        ALD_TRY(ald_jinja_puts(text, i == 0 ? "" : how->comma));
        if (how->indent >= 0)
            ALD_TRY(put_line(text, how->indent, depth + 1));
        ALD_TRY(put_json_string(text, &map->keys[at], how->ascii));
        ALD_TRY(ald_jinja_puts(text, how->colon));
        ALD_TRY(ald_jinja_dump(text, &map->values[at], how, depth + 1));
    }
    if (how->indent >= 0 && map->count > 0)
        ALD_TRY(put_line(text, how->indent, depth));
    ALD_TRY(ald_jinja_puts(text, "}"));
done:
    return status;
}

static ald_status_t dump_list(ald_jinja_text_t *text, const ald_jinja_list_t *list,
                              const ald_jinja_json_t *how, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_JINJA_CHECK(list->kind <= ALD_JINJA_LIST_TUPLE, "tojson of what isn't a list yet");
    ALD_TRY(ald_jinja_puts(text, "["));
    for (size_t i = 0; i < list->count; ++i) {
        ALD_TRY(ald_jinja_puts(text, i == 0 ? "" : how->comma));
        if (how->indent >= 0)
            ALD_TRY(put_line(text, how->indent, depth + 1));
        ALD_TRY(ald_jinja_dump(text, &list->items[i], how, depth + 1));
    }
    if (how->indent >= 0 && list->count > 0)
        ALD_TRY(put_line(text, how->indent, depth));
    ALD_TRY(ald_jinja_puts(text, "]"));
done:
    return status;
}

ald_status_t ald_jinja_dump(ald_jinja_text_t *text, const ald_jinja_value_t *value,
                            const ald_jinja_json_t *how, int depth)
{
    switch (value->kind) {
    case ALD_JINJA_STRING:
        return put_json_string(text, value, how->ascii);
    case ALD_JINJA_LIST:
        return dump_list(text, value->list, how, depth);
    case ALD_JINJA_MAP:
        return dump_map(text, value->map, how, depth);
    case ALD_JINJA_NONE:
    case ALD_JINJA_BOOL:
    case ALD_JINJA_INTEGER:
    case ALD_JINJA_REAL:
        return put_scalar(text, value, true);
    default:
        return ALD_JINJA_FAIL("tojson of %s", ald_jinja_type(value));
    }
}
