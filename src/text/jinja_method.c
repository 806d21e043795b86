/* Methods and functions that templates call. They are Python's, and what they would do with other
 * types or arguments than these is refused. */
#include "text/jinja_method_impl.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_value_impl.h"
#include "text/unicode_impl.h"

typedef ald_jinja_value_t value_t;
typedef ald_jinja_call_t call_t;

#define COUNT(table) (sizeof table / sizeof *table)

/* --- strings ------------------------------------------------------------------------------ */

static const char *find(const value_t *in, size_t from, const value_t *what)
{
    if (what->length == 0)
        return in->text + from;
    return memmem(in->text + from, in->length - from, what->text, what->length);
}

/* Whether the character at `at` is among those to strip. */
static bool is_stripped(const value_t *string, size_t at, const value_t *chars)
{
    size_t step = 0;
    const int32_t c = ald_utf8_next(string->text + at, string->length - at, &step);
    if (chars == NULL)
        return ald_is_python_space(c);
    const value_t one = ald_jinja_part(string, at, at + step);
    return find(chars, 0, &one) != NULL;
}

ald_status_t ald_jinja_strip(const value_t *string, const value_t *chars, const char *sides,
                             value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t from = 0, to = string->length, step = 0;
    if (chars != NULL && chars->kind == ALD_JINJA_NONE)
        chars = NULL;
    ALD_JINJA_CHECK(chars == NULL || chars->kind == ALD_JINJA_STRING, "strip: found %s",
                    ald_jinja_type(chars));
    while (strchr(sides, 'l') != NULL && from < to && is_stripped(string, from, chars)) {
        ald_utf8_next(string->text + from, to - from, &step);
        from += step;
    }
    while (strchr(sides, 'r') != NULL && to > from) {
        const size_t last = from + ald_utf8_last(string->text + from, to - from);
        if (!is_stripped(string, last, chars))
            break;
        to = last;
    }
    *out = ald_jinja_part(string, from, to);
done:
    return status;
}

static ald_status_t strip(const call_t *call, const value_t *const *a, value_t *out)
{
    const char *sides = call->name[0] == 's' ? "lr" : call->name[0] == 'l' ? "l" : "r";
    return ald_jinja_strip(call->subject, a[0], sides, out);
}

static ald_status_t split_at_space(const call_t *call, int64_t most, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *text = call->subject;
    size_t at = 0, step = 0;
    for (int64_t count = 0;; ++count) {
        while (at < text->length && is_stripped(text, at, NULL)) {
            ald_utf8_next(text->text + at, text->length - at, &step);
            at += step;
        }
        if (at == text->length)
            break;
        const size_t from = at;
        while (at < text->length && !is_stripped(text, at, NULL)) {
            ald_utf8_next(text->text + at, text->length - at, &step);
            at += step;
        }
        if (most >= 0 && count == most)
            at = text->length;
        ALD_TRY(ald_jinja_push(call->arena, out, ald_jinja_part(text, from, at)));
    }
done:
    return status;
}

static ald_status_t split(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *text = call->subject;
    const char *found = NULL;
    size_t from = 0;
    int64_t most = -1;
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, out));
    ALD_TRY(ald_jinja_need_number(call, a[1], -1, &most));
    if (a[0] == NULL || a[0]->kind == ALD_JINJA_NONE)
        return split_at_space(call, most, out);
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    ALD_JINJA_CHECK(a[0]->length > 0, "split: an empty separator");
    for (; most != 0 && (found = find(text, from, a[0])) != NULL; --most) {
        const size_t at = (size_t)(found - text->text);
        ALD_TRY(ald_jinja_push(call->arena, out, ald_jinja_part(text, from, at)));
        from = at + a[0]->length;
    }
    ALD_TRY(ald_jinja_push(call->arena, out, ald_jinja_part(text, from, text->length)));
done:
    return status;
}

/* Where `what` is found last in the first `length` bytes; -1: nowhere. */
static int64_t find_last(const value_t *in, size_t length, const value_t *what)
{
    for (int64_t at = (int64_t)length - (int64_t)what->length; at >= 0; --at)
        if (memcmp(in->text + at, what->text, what->length) == 0)
            return at;
    return -1;
}

static ald_status_t split_right(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *text = call->subject;
    value_t turned;
    int64_t most = -1, at = 0;
    size_t to = text->length;
    ALD_TRY(ald_jinja_need_number(call, a[1], -1, &most));
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    ALD_JINJA_CHECK(a[0]->length > 0, "rsplit: an empty separator");
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, &turned));
    for (; most != 0 && (at = find_last(text, to, a[0])) >= 0; --most) {
        ALD_TRY(ald_jinja_push(call->arena, &turned,
                               ald_jinja_part(text, (size_t)at + a[0]->length, to)));
        to = (size_t)at;
    }
    ALD_TRY(ald_jinja_push(call->arena, &turned, ald_jinja_part(text, 0, to)));
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, out));
    for (size_t i = turned.list->count; i-- > 0;)
        ALD_TRY(ald_jinja_push(call->arena, out, turned.list->items[i]));
done:
    return status;
}

static bool begins(const value_t *text, const value_t *with, bool at_end)
{
    const size_t from = at_end && text->length > with->length ? text->length - with->length : 0;
    return text->length >= with->length && memcmp(text->text + from, with->text, with->length) == 0;
}

/* startswith and endswith, of a string or any of a tuple. */
static ald_status_t begins_or_ends(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool tuple = a[0]->kind == ALD_JINJA_LIST && a[0]->list->kind == ALD_JINJA_LIST_TUPLE;
    const value_t *words = tuple ? a[0]->list->items : a[0];
    *out = ald_jinja_bool(false);
    for (size_t i = 0; i < (tuple ? a[0]->list->count : 1); ++i) {
        ALD_TRY(ald_jinja_need_text(call, &words[i]));
        out->truth = out->truth || begins(call->subject, &words[i], call->name[0] == 'e');
    }
done:
    return status;
}

static ald_status_t remove_end(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *text = call->subject;
    const bool end = strcmp(call->name, "removesuffix") == 0;
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    *out = *text;
    if (begins(text, a[0], end))
        *out = end ? ald_jinja_part(text, 0, text->length - a[0]->length)
                   : ald_jinja_part(text, a[0]->length, text->length);
done:
    return status;
}

ald_status_t ald_jinja_replace(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t made;
    const value_t *text = call->subject;
    const char *found = NULL;
    size_t from = 0;
    int64_t most = -1;
    ald_jinja_text_init(&made);
    ALD_TRY(ald_jinja_need_text(call, text));
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    ALD_TRY(ald_jinja_need_text(call, a[1]));
    ALD_TRY(ald_jinja_need_number(call, a[2], -1, &most));
    ALD_JINJA_CHECK(a[0]->length > 0, "replace: nothing to replace");
    for (; most != 0 && (found = find(text, from, a[0])) != NULL; --most) {
        const size_t at = (size_t)(found - text->text);
        const value_t part = ald_jinja_part(text, from, at);
        ALD_TRY(ald_jinja_put(&made, &part));
        ALD_TRY(ald_jinja_put(&made, a[1]));
        from = at + a[0]->length;
    }
    const value_t rest = ald_jinja_part(text, from, text->length);
    ALD_TRY(ald_jinja_put(&made, &rest));
    ALD_TRY(ald_jinja_take(call->arena, &made, 0, out));
done:
    ald_jinja_text_reset(&made);
    return status;
}

/* Appends the lower case of a character beyond ASCII. */
static ald_status_t put_lower(ald_jinja_text_t *made, const value_t *character, int32_t c)
{
    ald_status_t status = ALD_STATUS_OK;
    utf8proc_uint8_t bytes[4];
    const bool special = c == 0x130 || c == 0x3A3; /* whose lower case isn't one for all places */
    ALD_JINJA_CHECK(!special, "the lower case of %.*s", (int)character->length, character->text);
    const size_t length = (size_t)utf8proc_encode_char(utf8proc_tolower(c), bytes);
    value_t lower = ald_jinja_string((const char *)bytes, length);
    lower.content = character->mask == NULL ? character->content : character->mask[0] != 0;
    ALD_TRY(ald_jinja_put(made, &lower));
done:
    return status;
}

ald_status_t ald_jinja_letters(ald_arena_t *arena, const value_t *string, char how, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t made;
    bool first = true;
    size_t step = 0;
    ald_jinja_text_init(&made);
    for (size_t i = 0; i < string->length; i += step) {
        const int32_t c = ald_utf8_next(string->text + i, string->length - i, &step);
        const value_t character = ald_jinja_part(string, i, i + step);
        const bool up = how == 'u' || (how != 'l' && first);
        if (c >= 0x80) {
            ALD_JINJA_CHECK(how == 'l', "upper case of other letters than ASCII's");
            ALD_TRY(put_lower(&made, &character, c));
            continue;
        }
        ALD_TRY(ald_jinja_put(&made, &character));
        ((char *)made.text.data)[made.text.count - 1] = (char)(up ? toupper(c) : tolower(c));
        first = how == 't'   ? !isalpha(c)
                : how == 'j' ? isspace(c) || (c != 0 && strchr("-({[<", c) != NULL)
                             : false;
    }
    ALD_TRY(ald_jinja_take(arena, &made, 0, out));
done:
    ald_jinja_text_reset(&made);
    return status;
}

static ald_status_t letters(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    return ald_jinja_letters(call->arena, call->subject, call->name[0], out);
}

/* find, rfind: in characters; count. */
static ald_status_t position(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *text = call->subject;
    size_t length = 0;
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    ALD_JINJA_CHECK(a[0]->length > 0, "%s of nothing", call->name);
    const char *found = find(text, 0, a[0]);
    int64_t at = call->name[0] == 'r' ? find_last(text, text->length, a[0])
                 : found == NULL      ? -1
                                      : found - text->text;
    if (call->name[0] == 'c') {
        for (at = 0; found != NULL; ++at)
            found = find(text, (size_t)(found - text->text) + a[0]->length, a[0]);
    } else if (at >= 0) {
        const value_t before = ald_jinja_part(text, 0, (size_t)at);
        ALD_TRY(ald_jinja_length(&before, &length));
        at = (int64_t)length;
    }
    *out = ald_jinja_integer(at);
done:
    return status;
}

static ald_status_t join(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t made;
    value_t items;
    ald_jinja_text_init(&made);
    ALD_TRY(ald_jinja_items(call->arena, a[0], &items));
    for (size_t i = 0; i < items.list->count; ++i) {
        ALD_TRY(ald_jinja_need_text(call, &items.list->items[i]));
        if (i > 0)
            ALD_TRY(ald_jinja_put(&made, call->subject));
        ALD_TRY(ald_jinja_put(&made, &items.list->items[i]));
    }
    ALD_TRY(ald_jinja_take(call->arena, &made, 0, out));
done:
    ald_jinja_text_reset(&made);
    return status;
}

/* format with {} alone. */
static ald_status_t format(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t made;
    const value_t *text = call->subject;
    size_t used = 0;
    (void)a;
    ald_jinja_text_init(&made);
    for (size_t i = 0; i < text->length; ++i) {
        const char c = text->text[i], next = i + 1 < text->length ? text->text[i + 1] : '\0';
        const value_t part = ald_jinja_part(text, i, i + 1);
        const bool field = c == '{' && next == '}', brace = c == '{' || c == '}';
        ALD_JINJA_CHECK(field ? used < call->count : !brace || next == c,
                        "format of other than {} for each argument");
        ALD_TRY(field ? ald_jinja_print(&made, &call->arguments[used++])
                      : ald_jinja_put(&made, &part));
        i += brace;
    }
    ALD_TRY(ald_jinja_take(call->arena, &made, 0, out));
done:
    ald_jinja_text_reset(&made);
    return status;
}

static bool ends_line(int32_t c)
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

ald_status_t ald_jinja_lines(ald_arena_t *arena, const value_t *string, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t from = 0, step = 0;
    ALD_TRY(ald_jinja_list(arena, ALD_JINJA_LIST_PLAIN, out));
    for (size_t at = 0; at < string->length; at += step) {
        if (!ends_line(ald_utf8_next(string->text + at, string->length - at, &step)))
            continue;
        ALD_TRY(ald_jinja_push(arena, out, ald_jinja_part(string, from, at)));
        if (string->text[at] == '\r' && at + 1 < string->length && string->text[at + 1] == '\n')
            step = 2;
        from = at + step;
    }
    if (from < string->length)
        ALD_TRY(ald_jinja_push(arena, out, ald_jinja_part(string, from, string->length)));
done:
    return status;
}

static ald_status_t lines(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    return ald_jinja_lines(call->arena, call->subject, out);
}

/* --- dictionaries ------------------------------------------------------------------------- */

static ald_status_t get(const call_t *call, const value_t *const *a, value_t *out)
{
    const value_t *found = ald_jinja_get(call->subject, a[0]);
    *out = (value_t){.kind = ALD_JINJA_NONE};
    if (found != NULL || a[1] != NULL)
        *out = found != NULL ? *found : *a[1];
    return ALD_STATUS_OK;
}

ald_status_t ald_jinja_members(ald_arena_t *arena, const value_t *map, ald_jinja_list_kind_t kind,
                               value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_list(arena, kind, out));
    for (size_t i = 0; i < map->map->count; ++i) {
        value_t pair;
        ALD_TRY(ald_jinja_list(arena, ALD_JINJA_LIST_TUPLE, &pair));
        ALD_TRY(ald_jinja_push(arena, &pair, map->map->keys[i]));
        ALD_TRY(ald_jinja_push(arena, &pair, map->map->values[i]));
        ALD_TRY(ald_jinja_push(arena, out, pair));
    }
done:
    return status;
}

static ald_status_t walk(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_jinja_map_t *map = call->subject->map;
    (void)a;
    if (call->name[0] == 'i')
        return ald_jinja_members(call->arena, call->subject, ALD_JINJA_LIST_VIEW, out);
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_VIEW, out));
    out->list->items = call->name[0] == 'k' ? map->keys : map->values;
    out->list->count = out->list->capacity = map->count;
done:
    return status;
}

static const ald_jinja_entry_t string_methods[] = {
    {"strip", "chars ", strip},
    {"lstrip", "chars ", strip},
    {"rstrip", "chars ", strip},
    {"split", "sep maxsplit ", split},
    {"rsplit", "SEP maxsplit ", split_right},
    {"startswith", "PREFIX ", begins_or_ends},
    {"endswith", "SUFFIX ", begins_or_ends},
    {"removeprefix", "PREFIX ", remove_end},
    {"removesuffix", "SUFFIX ", remove_end},
    {"replace", "OLD NEW count ", ald_jinja_replace},
    {"upper", "", letters},
    {"lower", "", letters},
    {"capitalize", "", letters},
    {"title", "", letters},
    {"find", "SUB ", position},
    {"rfind", "SUB ", position},
    {"count", "SUB ", position},
    {"join", "ITERABLE ", join},
    {"format", "a b c d e ", format},
    {"splitlines", "", lines},
};
static const ald_jinja_entry_t map_methods[] = {
    {"get", "KEY default ", get}, {"items", "", walk}, {"keys", "", walk}, {"values", "", walk}};

/* Methods that change a value, which transformers' sandbox refuses when they are called. */
static const char changing[] = " append extend insert pop popitem remove clear update setdefault ";

bool ald_jinja_has_method(const char *name)
{
    char word[24];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(changing, word) != NULL ||
           ald_jinja_find(string_methods, COUNT(string_methods), name, strlen(name)) != NULL ||
           ald_jinja_find(map_methods, COUNT(map_methods), name, strlen(name)) != NULL;
}

ald_status_t ald_jinja_method(const call_t *call, value_t *out)
{
    if (call->subject->kind == ALD_JINJA_STRING &&
        ald_jinja_find(string_methods, COUNT(string_methods), call->name, strlen(call->name)))
        return ald_jinja_call(string_methods, COUNT(string_methods), call, out);
    if (call->subject->kind == ALD_JINJA_MAP &&
        ald_jinja_find(map_methods, COUNT(map_methods), call->name, strlen(call->name)))
        return ald_jinja_call(map_methods, COUNT(map_methods), call, out);
    return ALD_JINJA_FAIL("%s has no method '%s'", ald_jinja_type(call->subject), call->name);
}

/* --- functions ---------------------------------------------------------------------------- */

static ald_status_t raise_exception(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)out;
    const ald_status_t status = ald_jinja_need_text(call, a[0]);
    return status != ALD_STATUS_OK
               ? status
               : ald_status_raise(ALD_STATUS_INPUT, "%.*s", (int)a[0]->length, a[0]->text);
}

/* The date is always 26 July 2024, so that a conversation has the same tokens tomorrow. */
static ald_status_t strftime_now(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const struct tm day = {
        .tm_year = 124, .tm_mon = 6, .tm_mday = 26, .tm_wday = 5, .tm_yday = 207};
    char text[200], format[100];
    void *copy = NULL;
    ALD_TRY(ald_jinja_need_text(call, a[0]));
    ALD_JINJA_CHECK(a[0]->length < sizeof format, "a format of dates that is too long");
    memcpy(format, a[0]->text, a[0]->length);
    format[a[0]->length] = '\0';
    for (const char *p = strchr(format, '%'); p != NULL; p = strchr(p + 2, '%'))
        ALD_JINJA_CHECK(p[1] != '\0' && strchr("aAbBdjmyYHIMSp-%", p[1]) != NULL,
                        "%s: '%%%c' in a date's format", call->name, p[1]);
    const size_t length = strftime(text, sizeof text, format, &day);
    ALD_TRY(ald_jinja_alloc(call->arena, length + 1, 1, &copy));
    memcpy(copy, text, length);
    *out = ald_jinja_string(copy, length);
done:
    return status;
}

static ald_status_t range(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t first = 0, last = 0, step = 1;
    ALD_TRY(ald_jinja_need_number(call, a[1] == NULL ? NULL : a[0], 0, &first));
    ALD_TRY(ald_jinja_need_number(call, a[1] == NULL ? a[0] : a[1], 0, &last));
    ALD_TRY(ald_jinja_need_number(call, a[2], 1, &step));
    ALD_JINJA_CHECK(step != 0 && llabs(first) < INT32_MAX && llabs(last) < INT32_MAX &&
                        llabs(step) < INT32_MAX && llabs((last - first) / step) < 100000,
                    "a range that is too long");
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_VIEW, out));
    for (int64_t i = first; step > 0 ? i < last : i > last; i += step)
        ALD_TRY(ald_jinja_push(call->arena, out, ald_jinja_integer(i)));
done:
    return status;
}

/* namespace and dict: of keywords, and of a dictionary. */
static ald_status_t make_map(const call_t *call, ald_jinja_kind_t kind, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_map(call->arena, kind, out));
    ALD_JINJA_CHECK(call->count == 0 ||
                        (call->count == 1 && call->arguments[0].kind == ALD_JINJA_MAP),
                    "%s of other than keywords or a dictionary", call->name);
    const value_t *const sources[] = {call->count == 1 ? &call->arguments[0] : NULL,
                                      call->keywords};
    for (int k = 0; k < 2; ++k)
        for (size_t i = 0; sources[k] != NULL && i < sources[k]->map->count; ++i)
            ALD_TRY(ald_jinja_set(call->arena, out, sources[k]->map->keys[i],
                                  sources[k]->map->values[i]));
done:
    return status;
}

static const ald_jinja_entry_t functions[] = {
    {"raise_exception", "MESSAGE ", raise_exception},
    {"strftime_now", "FORMAT ", strftime_now},
    {"range", "FIRST last step ", range},
    {"namespace", "", NULL},
    {"dict", "", NULL},
};

bool ald_jinja_has_function(const char *name)
{
    return ald_jinja_find(functions, COUNT(functions), name, strlen(name)) != NULL;
}

ald_status_t ald_jinja_function(const call_t *call, value_t *out)
{
    if (strcmp(call->name, "namespace") == 0)
        return make_map(call, ALD_JINJA_NAMESPACE, out);
    if (strcmp(call->name, "dict") == 0)
        return make_map(call, ALD_JINJA_MAP, out);
    return ald_jinja_call(functions, COUNT(functions), call, out);
}
