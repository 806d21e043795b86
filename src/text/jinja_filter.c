/* Jinja2's filters and tests, as far as chat templates use them; tojson is that of transformers. A
 * template that uses another one is refused when it is read. */
#include "text/jinja_filter_impl.h"

#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_method_impl.h"
#include "text/jinja_sort_impl.h"
#include "text/jinja_value_impl.h"

typedef ald_jinja_value_t value_t;
typedef ald_jinja_call_t call_t;

#define COUNT(table) (sizeof table / sizeof *table)

/* --- tests -------------------------------------------------------------------------------- */

static ald_status_t test_kind(const call_t *call, const value_t *const *a, value_t *out)
{
    static const struct {
        const char *name;
        int kinds; /* a bit each */
    } kinds[] = {
        {"none", 1 << ALD_JINJA_NONE},
        {"undefined", 1 << ALD_JINJA_UNDEFINED},
        {"defined", ~(1 << ALD_JINJA_UNDEFINED)},
        {"string", 1 << ALD_JINJA_STRING},
        {"mapping", 1 << ALD_JINJA_MAP},
        {"boolean", 1 << ALD_JINJA_BOOL},
        {"integer", 1 << ALD_JINJA_INTEGER},
        {"float", 1 << ALD_JINJA_REAL},
        {"number", 1 << ALD_JINJA_BOOL | 1 << ALD_JINJA_INTEGER | 1 << ALD_JINJA_REAL},
        {"iterable", 1 << ALD_JINJA_UNDEFINED | 1 << ALD_JINJA_STRING | 1 << ALD_JINJA_LIST |
                         1 << ALD_JINJA_MAP},
        {"sequence", 1 << ALD_JINJA_UNDEFINED | 1 << ALD_JINJA_STRING | 1 << ALD_JINJA_LIST |
                         1 << ALD_JINJA_MAP},
        {"callable", 1 << ALD_JINJA_MACRO},
    };
    ald_status_t status = ALD_STATUS_OK;
    const value_t *value = call->subject;
    (void)a;
    ALD_JINJA_CHECK(call->name[2] != 'q' || value->kind != ALD_JINJA_LIST ||
                        value->list->kind <= ALD_JINJA_LIST_TUPLE,
                    "whether what isn't a list yet is a sequence");
    for (size_t i = 0; i < COUNT(kinds); ++i)
        if (strcmp(kinds[i].name, call->name) == 0)
            *out = ald_jinja_bool((kinds[i].kinds >> value->kind & 1) != 0);
done:
    return status;
}

static ald_status_t test_truth(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    *out = ald_jinja_bool(call->subject->kind == ALD_JINJA_BOOL &&
                          call->subject->truth == (call->name[0] == 't'));
    return ALD_STATUS_OK;
}

static ald_status_t test_divisible(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t value = 0, by = 2;
    ALD_TRY(ald_jinja_need_number(call, call->subject, 0, &value));
    ALD_TRY(ald_jinja_need_number(call, a[0], 2, &by));
    ALD_JINJA_CHECK(by > 0, "divisible by 0 or less");
    *out = ald_jinja_bool((value % by == 0) == (call->name[0] != 'o'));
done:
    return status;
}

static ald_status_t test_order(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = call->name;
    int order = 0;
    if (strchr("=e!n", name[0]) != NULL) {
        const bool unequal = strcmp(name, "ne") == 0 || strcmp(name, "!=") == 0;
        *out = ald_jinja_bool(ald_jinja_equal(call->subject, a[0]) != unequal);
        return status;
    }
    ALD_TRY(ald_jinja_compare(call->subject, a[0], &order));
    const bool strict = strcmp(name, "le") != 0 && strcmp(name, "ge") != 0;
    *out = ald_jinja_bool((order == 0 && !strict) || (name[0] == 'l' ? order < 0 : order > 0));
done:
    return status;
}

static ald_status_t test_in(const call_t *call, const value_t *const *a, value_t *out)
{
    *out = ald_jinja_bool(false);
    return ald_jinja_contains(a[0], call->subject, &out->truth);
}

/* For what has no identity of its own, that is equality of the same type. */
static ald_status_t test_same(const call_t *call, const value_t *const *a, value_t *out)
{
    const bool known = a[0]->kind == ALD_JINJA_BOOL || a[0]->kind == ALD_JINJA_NONE;
    *out =
        ald_jinja_bool(call->subject->kind == a[0]->kind && ald_jinja_equal(call->subject, a[0]));
    return known ? ALD_STATUS_OK : ALD_JINJA_FAIL("sameas of %s", ald_jinja_type(a[0]));
}

static const ald_jinja_entry_t tests[] = {
    {"none", "", test_kind},
    {"undefined", "", test_kind},
    {"defined", "", test_kind},
    {"string", "", test_kind},
    {"mapping", "", test_kind},
    {"boolean", "", test_kind},
    {"integer", "", test_kind},
    {"float", "", test_kind},
    {"number", "", test_kind},
    {"iterable", "", test_kind},
    {"sequence", "", test_kind},
    {"callable", "", test_kind},
    {"true", "", test_truth},
    {"false", "", test_truth},
    {"odd", "", test_divisible},
    {"even", "", test_divisible},
    {"divisibleby", "NUMBER ", test_divisible},
    {"equalto", "OTHER ", test_order},
    {"eq", "OTHER ", test_order},
    {"==", "OTHER ", test_order},
    {"ne", "OTHER ", test_order},
    {"!=", "OTHER ", test_order},
    {"lt", "OTHER ", test_order},
    {"le", "OTHER ", test_order},
    {"gt", "OTHER ", test_order},
    {"ge", "OTHER ", test_order},
    {"lessthan", "OTHER ", test_order},
    {"greaterthan", "OTHER ", test_order},
    {"in", "SEQUENCE ", test_in},
    {"sameas", "OTHER ", test_same},
};

bool ald_jinja_has_test(const char *name, size_t length)
{
    return ald_jinja_find(tests, COUNT(tests), name, length) != NULL;
}

ald_status_t ald_jinja_test(const call_t *call, value_t *out)
{
    return ald_jinja_call(tests, COUNT(tests), call, out);
}

/* --- filters ------------------------------------------------------------------------------ */

static ald_status_t to_string(ald_arena_t *arena, const value_t *value, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t text;
    ald_jinja_text_init(&text);
    ALD_TRY(ald_jinja_print(&text, value));
    ALD_TRY(ald_jinja_take(arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

static ald_status_t string(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    return to_string(call->arena, call->subject, out);
}

static ald_status_t trim(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t text;
    ALD_TRY(to_string(call->arena, call->subject, &text));
    ALD_TRY(ald_jinja_strip(&text, a[0], "lr", out));
done:
    return status;
}

static ald_status_t letters(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t text;
    (void)a;
    ALD_TRY(to_string(call->arena, call->subject, &text));
    ALD_TRY(ald_jinja_letters(call->arena, &text, call->name[0] == 't' ? 'j' : call->name[0], out));
done:
    return status;
}

static ald_status_t length_of(const call_t *call, const value_t *const *a, value_t *out)
{
    size_t length = 0;
    (void)a;
    const ald_status_t status = ald_jinja_length(call->subject, &length);
    *out = ald_jinja_integer((int64_t)length);
    return status;
}

static ald_status_t otherwise(const call_t *call, const value_t *const *a, value_t *out)
{
    const value_t *value = call->subject;
    const bool lacks = value->kind == ALD_JINJA_UNDEFINED ||
                       (a[1] != NULL && ald_jinja_truth(a[1]) && !ald_jinja_truth(value));
    *out = !lacks ? *value : a[0] == NULL ? ald_jinja_string("", 0) : *a[0];
    return ALD_STATUS_OK;
}

/* One of the two of json.dumps's separators, NUL-terminated. */
static ald_status_t separator(const call_t *call, const value_t *pair, size_t index,
                              const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    if (pair == NULL || pair->kind == ALD_JINJA_NONE)
        return status;
    ALD_JINJA_CHECK(pair->kind == ALD_JINJA_LIST && pair->list->count == 2 &&
                        pair->list->items[index].kind == ALD_JINJA_STRING,
                    "tojson: separators that aren't two strings");
    const value_t *text = &pair->list->items[index];
    *out = ald_arena_strdup(call->arena, text->text, text->length);
    ALD_CHECK_MEMORY(*out, text->length);
done:
    return status;
}

static ald_status_t to_json(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_json_t how = {.ascii = a[0] != NULL && ald_jinja_truth(a[0]),
                            .sorted = a[3] != NULL && ald_jinja_truth(a[3]),
                            .colon = ": "};
    int64_t indent = -1;
    ald_jinja_text_t text;
    ald_jinja_text_init(&text);
    ALD_TRY(ald_jinja_need_number(call, a[1], -1, &indent));
    ALD_JINJA_CHECK(indent < 100, "tojson: an indent of %lld", (long long)indent);
    how.indent = indent < 0 && a[1] != NULL && a[1]->kind != ALD_JINJA_NONE ? 0 : (int)indent;
    how.comma = how.indent >= 0 ? "," : ", ";
    ALD_TRY(separator(call, a[2], 0, &how.comma));
    ALD_TRY(separator(call, a[2], 1, &how.colon));
    ALD_TRY(ald_jinja_dump(&text, call->subject, &how, 0));
    ALD_TRY(ald_jinja_take(call->arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

static ald_status_t join(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t text;
    value_t items;
    ald_jinja_text_init(&text);
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    for (size_t i = 0; i < items.list->count; ++i) {
        value_t item = items.list->items[i];
        if (a[1] != NULL && a[1]->kind != ALD_JINJA_NONE)
            ALD_TRY(ald_jinja_path(call->name, &items.list->items[i], a[1], &item));
        if (i > 0 && a[0] != NULL)
            ALD_TRY(ald_jinja_print(&text, a[0]));
        ALD_TRY(ald_jinja_print(&text, &item));
    }
    ALD_TRY(ald_jinja_take(call->arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

static ald_status_t list(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    return ald_jinja_items(call->arena, call->subject, out);
}

static ald_status_t first_or_last(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items;
    (void)a;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    const size_t count = items.list->count;
    ALD_JINJA_CHECK(call->name[0] == 'f' || call->subject->kind != ALD_JINJA_LIST ||
                        call->subject->list->kind != ALD_JINJA_LIST_GENERATOR,
                    "last of a generator");
    *out = count == 0 ? ald_jinja_undefined(NULL)
                      : items.list->items[call->name[0] == 'f' ? 0 : count - 1];
done:
    return status;
}

static ald_status_t reverse(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t text;
    value_t items;
    const bool string_given = call->subject->kind == ALD_JINJA_STRING;
    (void)a;
    ald_jinja_text_init(&text);
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_GENERATOR, out));
    for (size_t i = items.list->count; i-- > 0;)
        ALD_TRY(string_given ? ald_jinja_put(&text, &items.list->items[i])
                             : ald_jinja_push(call->arena, out, items.list->items[i]));
    if (string_given)
        ALD_TRY(ald_jinja_take(call->arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

static ald_status_t same(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    *out = *call->subject;
    return call->subject->kind == ALD_JINJA_STRING
               ? ALD_STATUS_OK
               : ALD_JINJA_FAIL("safe of %s", ald_jinja_type(call->subject));
}

static ald_status_t items_of(const call_t *call, const value_t *const *a, value_t *out)
{
    (void)a;
    if (call->subject->kind == ALD_JINJA_UNDEFINED)
        return ald_jinja_list(call->arena, ALD_JINJA_LIST_GENERATOR, out);
    if (call->subject->kind != ALD_JINJA_MAP)
        return ALD_JINJA_FAIL("items of %s", ald_jinja_type(call->subject));
    return ald_jinja_members(call->arena, call->subject, ALD_JINJA_LIST_GENERATOR, out);
}

static ald_status_t indent(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_text_t text;
    value_t lines;
    int64_t width = 4;
    const bool given = a[0] != NULL && a[0]->kind == ALD_JINJA_STRING,
               first = a[1] != NULL && ald_jinja_truth(a[1]),
               blank = a[2] != NULL && ald_jinja_truth(a[2]);
    ald_jinja_text_init(&text);
    ALD_TRY(ald_jinja_need_text(call, call->subject));
    if (!given)
        ALD_TRY(ald_jinja_need_number(call, a[0], 4, &width));
    ALD_TRY(ald_jinja_put(&text, call->subject));
    ALD_TRY(ald_jinja_puts(&text, "\n"));
    ALD_TRY(ald_jinja_take(call->arena, &text, 0, out));
    ALD_TRY(ald_jinja_lines(call->arena, out, &lines));
    for (size_t i = 0; i < lines.list->count; ++i) {
        ALD_TRY(ald_jinja_puts(&text, i == 0 ? "" : "\n"));
        if (i == 0 ? first : blank || lines.list->items[i].length > 0)
            for (int64_t k = 0; k < (given ? 1 : width); ++k)
                ALD_TRY(given ? ald_jinja_put(&text, a[0]) : ald_jinja_puts(&text, " "));
        ALD_TRY(ald_jinja_put(&text, &lines.list->items[i]));
    }
    ALD_TRY(ald_jinja_take(call->arena, &text, 0, out));
done:
    ald_jinja_text_reset(&text);
    return status;
}

static ald_status_t to_integer(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t *value = call->subject;
    char digits[24], *end = digits;
    value_t text;
    (void)a;
    if (value->kind == ALD_JINJA_INTEGER || value->kind == ALD_JINJA_BOOL)
        return *out =
                   ald_jinja_integer(value->kind == ALD_JINJA_BOOL ? value->truth : value->integer),
               status;
    ALD_TRY(ald_jinja_need_text(call, value));
    ALD_TRY(ald_jinja_strip(value, NULL, "lr", &text));
    ALD_JINJA_CHECK(text.length > 0 && text.length < 18, "int of this string");
    memcpy(digits, text.text, text.length);
    digits[text.length] = '\0';
    *out = ald_jinja_integer(strtoll(digits, &end, 10));
    ALD_JINJA_CHECK(*end == '\0', "int of this string");
done:
    return status;
}

/* The test of a select or reject that takes `given` arguments: 0 the test's name, then its own. */
static ald_status_t passes(const call_t *call, const value_t *const *given, const value_t *value,
                           bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t result = ald_jinja_bool(ald_jinja_truth(value)), none;
    if (given[0] != NULL) {
        ALD_TRY(ald_jinja_need_text(call, given[0]));
        const char *name = ald_arena_strdup(call->arena, given[0]->text, given[0]->length);
        ALD_CHECK_MEMORY(name, given[0]->length);
        ALD_TRY(ald_jinja_map(call->arena, ALD_JINJA_MAP, &none));
        const call_t test = {.arena = call->arena,
                             .name = name,
                             .subject = value,
                             .arguments = given[1],
                             .count = given[1] != NULL,
                             .keywords = &none};
        ALD_TRY(ald_jinja_test(&test, &result));
    }
    *out = result.truth;
done:
    return status;
}

static ald_status_t choose(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool of_member = strstr(call->name, "attr") != NULL, rejects = call->name[0] == 'r';
    value_t items;
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_GENERATOR, out));
    if (!ald_jinja_truth(call->subject)) /* none too */
        return status;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    for (size_t i = 0; i < items.list->count; ++i) {
        value_t value = items.list->items[i];
        bool passed = false;
        if (of_member)
            ALD_TRY(ald_jinja_path(call->name, &items.list->items[i], a[0], &value));
        ALD_TRY(passes(call, of_member ? a + 1 : a, &value, &passed));
        if (passed != rejects)
            ALD_TRY(ald_jinja_push(call->arena, out, items.list->items[i]));
    }
done:
    return status;
}

static ald_status_t map(const call_t *call, const value_t *const *a, value_t *out);

static const ald_jinja_entry_t filters[] = {
    {"trim", "chars ", trim},
    {"upper", "", letters},
    {"lower", "", letters},
    {"capitalize", "", letters},
    {"title", "", letters},
    {"string", "", string},
    {"safe", "", same},
    {"length", "", length_of},
    {"count", "", length_of},
    {"default", "default_value boolean ", otherwise},
    {"d", "default_value boolean ", otherwise},
    {"tojson", "ensure_ascii indent separators sort_keys ", to_json},
    {"join", "d attribute ", join},
    {"list", "", list},
    {"first", "", first_or_last},
    {"last", "", first_or_last},
    {"reverse", "", reverse},
    {"replace", "OLD NEW count ", ald_jinja_replace},
    {"items", "", items_of},
    {"indent", "width first blank ", indent},
    {"int", "", to_integer},
    {"select", "test argument ", choose},
    {"reject", "test argument ", choose},
    {"selectattr", "ATTR test argument ", choose},
    {"rejectattr", "ATTR test argument ", choose},
    {"sort", "reverse case_sensitive attribute ", ald_jinja_sort},
    {"dictsort", "case_sensitive by reverse ", ald_jinja_dictsort},
    {"unique", "case_sensitive attribute ", ald_jinja_unique},
    {"min", "case_sensitive attribute ", ald_jinja_extreme},
    {"max", "case_sensitive attribute ", ald_jinja_extreme},
    {"map", "filter argument attribute default ", map},
};

bool ald_jinja_has_filter(const char *name, size_t length)
{
    return ald_jinja_find(filters, COUNT(filters), name, length) != NULL;
}

ald_status_t ald_jinja_filter(const call_t *call, value_t *out)
{
    return ald_jinja_call(filters, COUNT(filters), call, out);
}

/* map(attribute="a.b", default=x), and map("filter", argument). */
static ald_status_t map(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items, none;
    const char *name = NULL;
    ALD_JINJA_CHECK((a[0] == NULL) != (a[2] == NULL), "map: expected a filter or an attribute");
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_GENERATOR, out));
    if (!ald_jinja_truth(call->subject)) /* none too */
        return status;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    ALD_TRY(ald_jinja_map(call->arena, ALD_JINJA_MAP, &none));
    if (a[0] != NULL) {
        ALD_TRY(ald_jinja_need_text(call, a[0]));
        name = ald_arena_strdup(call->arena, a[0]->text, a[0]->length);
        ALD_CHECK_MEMORY(name, a[0]->length);
        ALD_JINJA_CHECK(strcmp(name, "map") != 0, "map of a map");
    }
    for (size_t i = 0; i < items.list->count; ++i) {
        const call_t inner = {.arena = call->arena,
                              .name = name,
                              .subject = &items.list->items[i],
                              .arguments = a[1],
                              .count = a[1] != NULL,
                              .keywords = &none};
        value_t value;
        ALD_TRY(name != NULL ? ald_jinja_filter(&inner, &value)
                             : ald_jinja_path(call->name, &items.list->items[i], a[2], &value));
        if (value.kind == ALD_JINJA_UNDEFINED && a[3] != NULL)
            value = *a[3];
        ALD_TRY(ald_jinja_push(call->arena, out, value));
    }
done:
    return status;
}
