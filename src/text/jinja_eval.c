/* Evaluates expressions as Python does under Jinja2. Each kind of node has its function, so that
 * what a kind does is in one place. */
#include "text/jinja_eval_impl.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_filter_impl.h"
#include "text/jinja_method_impl.h"
#include "text/jinja_parse_impl.h"
#include "text/jinja_value_impl.h"

typedef ald_jinja_node_t node_t;
typedef ald_jinja_value_t value_t;
typedef ald_jinja_run_t run_t;

enum { DEEPEST = 600, MOST_STEPS = 20000000 };

ald_status_t ald_jinja_step(run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_JINJA_CHECK(++run->steps < MOST_STEPS, "takes more than %d steps", MOST_STEPS);
    ALD_JINJA_CHECK(run->depth < DEEPEST, "is nested deeper than %d", DEEPEST);
done:
    return status;
}

/* --- names -------------------------------------------------------------------------------- */

static value_t *bound(const ald_jinja_scope_t *scope, const char *name)
{
    for (struct ald_jinja_binding *at = scope->first; at != NULL; at = at->next)
        if (strcmp(at->name, name) == 0)
            return &at->value;
    return NULL;
}

ald_status_t ald_jinja_bind(run_t *run, const char *name, value_t value)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t *found = bound(run->scope, name);
    void *made = NULL;
    if (found != NULL) {
        *found = value;
        return status;
    }
    ALD_TRY(ald_jinja_alloc(&run->arena, 1, sizeof(struct ald_jinja_binding), &made));
    *(struct ald_jinja_binding *)made =
        (struct ald_jinja_binding){.name = name, .value = value, .next = run->scope->first};
    run->scope->first = made;
done:
    return status;
}

static value_t look_up(const run_t *run, const char *name)
{
    for (const ald_jinja_scope_t *scope = run->scope; scope != NULL; scope = scope->parent) {
        const value_t *found = bound(scope, name);
        if (found != NULL)
            return *found;
    }
    return ald_jinja_undefined(name);
}

static ald_status_t name(run_t *run, const node_t *node, value_t *out)
{
    *out = look_up(run, node->name);
    if (out->kind != ALD_JINJA_UNDEFINED || !ald_jinja_has_function(node->name))
        return ALD_STATUS_OK;
    *out = (value_t){.kind = ALD_JINJA_MACRO}; /* a function, which is defined and true */
    return ALD_STATUS_OK;
}

/* --- containers --------------------------------------------------------------------------- */

static ald_status_t constant(run_t *run, const node_t *node, value_t *out)
{
    (void)run;
    *out = node->value;
    return ALD_STATUS_OK;
}

static ald_status_t items(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t item;
    ALD_TRY(ald_jinja_list(
        &run->arena, node->kind == ALD_JINJA_TUPLE ? ALD_JINJA_LIST_TUPLE : ALD_JINJA_LIST_PLAIN,
        out));
    for (const node_t *at = node->a; at != NULL; at = at->next) {
        ALD_TRY(ald_jinja_eval(run, at, &item));
        ALD_TRY(ald_jinja_push(&run->arena, out, item));
    }
done:
    return status;
}

static ald_status_t pairs(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t key, value;
    ALD_TRY(ald_jinja_map(&run->arena, ALD_JINJA_MAP, out));
    for (const node_t *at = node->a; at != NULL; at = at->next->next) {
        ALD_TRY(ald_jinja_eval(run, at, &key));
        ALD_TRY(ald_jinja_eval(run, at->next, &value));
        ALD_TRY(ald_jinja_set(&run->arena, out, key, value));
    }
done:
    return status;
}

static ald_status_t loop_member(const ald_jinja_loop_t *loop, const char *which, value_t *out)
{
    const int64_t index = (int64_t)loop->index, count = (int64_t)loop->count;
    const struct {
        const char *name;
        value_t value;
    } members[] = {
        {"index", ald_jinja_integer(index + 1)},
        {"index0", ald_jinja_integer(index)},
        {"revindex", ald_jinja_integer(count - index)},
        {"revindex0", ald_jinja_integer(count - index - 1)},
        {"first", ald_jinja_bool(index == 0)},
        {"last", ald_jinja_bool(index + 1 == count)},
        {"length", ald_jinja_integer(count)},
        {"depth", ald_jinja_integer(1)},
        {"depth0", ald_jinja_integer(0)},
        {"previtem", index > 0 ? loop->items[index - 1] : ald_jinja_undefined(which)},
        {"nextitem", index + 1 < count ? loop->items[index + 1] : ald_jinja_undefined(which)}};
    for (size_t i = 0; i < sizeof members / sizeof *members; ++i)
        if (strcmp(members[i].name, which) == 0) {
            *out = members[i].value;
            return ALD_STATUS_OK;
        }
    return ALD_JINJA_FAIL("loop.%s isn't known here", which);
}

static ald_status_t member(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t whole;
    ALD_TRY(ald_jinja_eval(run, node->a, &whole));
    if (whole.kind == ALD_JINJA_LOOP)
        return loop_member(whole.loop, node->name, out);
    ALD_JINJA_CHECK((whole.kind != ALD_JINJA_MAP && whole.kind != ALD_JINJA_STRING) ||
                        !ald_jinja_has_method(node->name),
                    "the method '%s' isn't called", node->name);
    const value_t key = ald_jinja_literal(node->name);
    ALD_TRY(ald_jinja_item(&whole, &key, out));
done:
    return status;
}

static ald_status_t item(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t whole, key;
    ALD_TRY(ald_jinja_eval(run, node->a, &whole));
    ALD_TRY(ald_jinja_eval(run, node->b, &key));
    ALD_JINJA_CHECK(whole.kind != ALD_JINJA_LOOP, "an index of a loop");
    ALD_TRY(ald_jinja_item(&whole, &key, out));
done:
    return status;
}

static ald_status_t slice(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const node_t *const nodes[3] = {node->b, node->c, node->d};
    value_t whole, bounds[3];
    ALD_TRY(ald_jinja_eval(run, node->a, &whole));
    for (int i = 0; i < 3; ++i)
        if (nodes[i] != NULL)
            ALD_TRY(ald_jinja_eval(run, nodes[i], &bounds[i]));
    const ald_jinja_range_t range = {nodes[0] == NULL ? NULL : &bounds[0],
                                     nodes[1] == NULL ? NULL : &bounds[1],
                                     nodes[2] == NULL ? NULL : &bounds[2]};
    ALD_TRY(ald_jinja_slice(&run->arena, &whole, range, out));
done:
    return status;
}

/* --- calls -------------------------------------------------------------------------------- */

/* Evaluates arguments into a list and a map. */
static ald_status_t arguments(run_t *run, const node_t *first, value_t *list, value_t *keywords)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t value;
    ALD_TRY(ald_jinja_list(&run->arena, ALD_JINJA_LIST_PLAIN, list));
    ALD_TRY(ald_jinja_map(&run->arena, ALD_JINJA_MAP, keywords));
    for (const node_t *at = first; at != NULL; at = at->next) {
        const bool keyword = at->kind == ALD_JINJA_KEYWORD;
        ALD_TRY(ald_jinja_eval(run, keyword ? at->a : at, &value));
        ALD_TRY(keyword ? ald_jinja_set(&run->arena, keywords, ald_jinja_literal(at->name), value)
                        : ald_jinja_push(&run->arena, list, value));
    }
done:
    return status;
}

static ald_status_t call(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const node_t *callee = node->a;
    value_t subject = {.kind = ALD_JINJA_NONE}, list, keywords;
    const bool method = callee->kind == ALD_JINJA_MEMBER;
    ALD_TRY(method ? ald_jinja_eval(run, callee->a, &subject) : name(run, callee, &subject));
    ALD_TRY(arguments(run, node->b, &list, &keywords));
    const ald_jinja_call_t made = {.arena = &run->arena,
                                   .name = callee->name,
                                   .subject = &subject,
                                   .arguments = list.list->items,
                                   .count = list.list->count,
                                   .keywords = &keywords};
    if (method)
        return ald_jinja_method(&made, out);
    ALD_JINJA_CHECK(subject.kind == ALD_JINJA_MACRO, "'%s' is called, and is %s", callee->name,
                    ald_jinja_type(&subject));
    ALD_TRY(subject.macro == NULL ? ald_jinja_function(&made, out)
                                  : run->macro(run, subject.macro, &made, out));
done:
    return status;
}

static ald_status_t filter_or_test(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t subject, list, keywords;
    ALD_TRY(ald_jinja_eval(run, node->a, &subject));
    ALD_TRY(arguments(run, node->b, &list, &keywords));
    const ald_jinja_call_t made = {.arena = &run->arena,
                                   .name = node->name,
                                   .subject = &subject,
                                   .arguments = list.list->items,
                                   .count = list.list->count,
                                   .keywords = &keywords};
    ALD_TRY(node->kind == ALD_JINJA_FILTER ? ald_jinja_filter(&made, out)
                                           : ald_jinja_test(&made, out));
done:
    return status;
}

/* --- operators ---------------------------------------------------------------------------- */

static ald_status_t negate(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t value;
    ALD_TRY(ald_jinja_eval(run, node->a, &value));
    if (node->kind == ALD_JINJA_NOT) {
        *out = ald_jinja_bool(!ald_jinja_truth(&value));
        return status;
    }
    const int sign = node->kind == ALD_JINJA_NEGATIVE ? -1 : 1;
    ALD_JINJA_CHECK(value.kind == ALD_JINJA_INTEGER || value.kind == ALD_JINJA_REAL,
                    "the sign of %s", ald_jinja_type(&value));
    *out = value;
    if (value.kind == ALD_JINJA_REAL)
        out->real *= sign;
    else
        ALD_JINJA_CHECK(!__builtin_mul_overflow(value.integer, (int64_t)sign, &out->integer),
                        "a number that is too large");
done:
    return status;
}

static ald_status_t logic(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_jinja_eval(run, node->a, out));
    if (ald_jinja_truth(out) == (node->kind == ALD_JINJA_AND))
        ALD_TRY(ald_jinja_eval(run, node->b, out));
done:
    return status;
}

static ald_status_t choice(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t condition;
    ALD_TRY(ald_jinja_eval(run, node->a, &condition));
    const node_t *taken = ald_jinja_truth(&condition) ? node->b : node->c;
    *out = ald_jinja_undefined(NULL);
    if (taken != NULL)
        ALD_TRY(ald_jinja_eval(run, taken, out));
done:
    return status;
}

/* Writes two values one after the other, as + of strings and ~ do. */
static ald_status_t concatenate(run_t *run, const value_t *a, const value_t *b, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t from = run->text.text.count;
    ALD_TRY(ald_jinja_print(&run->text, a));
    ALD_TRY(ald_jinja_print(&run->text, b));
    ALD_TRY(ald_jinja_take(&run->arena, &run->text, from, out));
done:
    return status;
}

static ald_status_t concat(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t a, b;
    ALD_TRY(ald_jinja_eval(run, node->a, &a));
    ALD_TRY(ald_jinja_eval(run, node->b, &b));
    ALD_TRY(concatenate(run, &a, &b, out));
done:
    return status;
}

static bool is_whole(const value_t *value)
{
    return value->kind == ALD_JINJA_INTEGER || value->kind == ALD_JINJA_BOOL;
}

static int64_t whole(const value_t *value)
{
    return value->kind == ALD_JINJA_BOOL ? value->truth : value->integer;
}

static ald_status_t integers(const char *mark, int64_t x, int64_t y, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool fits = true;
    *out = ald_jinja_integer(0);
    switch (mark[0]) {
    case '+':
        fits = !__builtin_add_overflow(x, y, &out->integer);
        break;
    case '-':
        fits = !__builtin_sub_overflow(x, y, &out->integer);
        break;
    case '*':
        fits = mark[1] == '\0' && !__builtin_mul_overflow(x, y, &out->integer);
        break;
    default:
        ALD_JINJA_CHECK(y != 0 && !(x == INT64_MIN && y == -1), "a division by zero");
        const int64_t low = x % y != 0 && (x < 0) != (y < 0); /* Python rounds down */
        out->integer = mark[0] == '%' ? x % y + low * y : x / y - low;
        if (mark[0] == '/' && mark[1] == '\0') {
            out->kind = ALD_JINJA_REAL;
            out->real = (double)x / (double)y;
        }
    }
    ALD_JINJA_CHECK(fits, "'%s': a number that is too large, or isn't known here", mark);
done:
    return status;
}

static ald_status_t reals(const char *mark, const value_t *a, const value_t *b, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const double x = a->kind == ALD_JINJA_REAL ? a->real : (double)whole(a),
                 y = b->kind == ALD_JINJA_REAL ? b->real : (double)whole(b);
    ALD_JINJA_CHECK(mark[1] == '\0' && mark[0] != '%', "'%s' of floats isn't known here", mark);
    ALD_JINJA_CHECK(mark[0] != '/' || y != 0, "a division by zero");
    *out = (value_t){.kind = ALD_JINJA_REAL};
    out->real = mark[0] == '+' ? x + y : mark[0] == '-' ? x - y : mark[0] == '*' ? x * y : x / y;
done:
    return status;
}

/* a + b of lists. */
static ald_status_t chain(run_t *run, const value_t *a, const value_t *b, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_jinja_list_t *const parts[] = {a->list, b->list};
    ALD_TRY(ald_jinja_list(&run->arena, a->list->kind, out));
    for (int k = 0; k < 2; ++k)
        for (size_t i = 0; i < parts[k]->count; ++i)
            ALD_TRY(ald_jinja_push(&run->arena, out, parts[k]->items[i]));
done:
    return status;
}

static ald_status_t repeat(run_t *run, const value_t *text, int64_t count, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t from = run->text.text.count;
    ALD_JINJA_CHECK(text->length == 0 || count <= ALD_JINJA_MOST / (int64_t)text->length,
                    "repeats a string %lld times", (long long)count);
    for (int64_t i = 0; i < count && text->length > 0; ++i)
        ALD_TRY(ald_jinja_put(&run->text, text));
    ALD_TRY(ald_jinja_take(&run->arena, &run->text, from, out));
done:
    return status;
}

static ald_status_t arithmetic(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t a, b;
    const bool plus = node->name[0] == '+', times = strcmp(node->name, "*") == 0;
    ALD_TRY(ald_jinja_eval(run, node->a, &a));
    ALD_TRY(ald_jinja_eval(run, node->b, &b));
    const bool numbers =
        (is_whole(&a) || a.kind == ALD_JINJA_REAL) && (is_whole(&b) || b.kind == ALD_JINJA_REAL);
    if (is_whole(&a) && is_whole(&b))
        return integers(node->name, whole(&a), whole(&b), out);
    if (numbers)
        return reals(node->name, &a, &b, out);
    if (plus && a.kind == ALD_JINJA_STRING && b.kind == ALD_JINJA_STRING)
        return concatenate(run, &a, &b, out);
    if (plus && a.kind == ALD_JINJA_LIST && b.kind == ALD_JINJA_LIST &&
        a.list->kind == b.list->kind && a.list->kind <= ALD_JINJA_LIST_TUPLE)
        return chain(run, &a, &b, out);
    if (times && a.kind == ALD_JINJA_STRING && is_whole(&b))
        return repeat(run, &a, whole(&b), out);
    const value_t *lacking = a.kind == ALD_JINJA_UNDEFINED ? &a : &b;
    if (lacking->kind == ALD_JINJA_UNDEFINED && lacking->text != NULL)
        return ALD_JINJA_FAIL("'%s' is undefined", lacking->text);
    return ALD_JINJA_FAIL("%s %s %s", ald_jinja_type(&a), node->name, ald_jinja_type(&b));
done:
    return status;
}

static ald_status_t compare_two(const char *mark, const value_t *a, const value_t *b, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int order = 0;
    const bool negated = mark[0] == '!' || mark[0] == 'n';
    if (mark[0] == '!' || mark[0] == '=') {
        *out = ald_jinja_equal(a, b) != negated;
    } else if (mark[0] == 'i' || mark[0] == 'n') {
        ALD_TRY(ald_jinja_contains(b, a, out));
        *out = *out != negated;
    } else {
        ALD_TRY(ald_jinja_compare(a, b, &order));
        *out = (mark[1] == '=' && order == 0) || (mark[0] == '<' ? order < 0 : order > 0);
    }
done:
    return status;
}

static ald_status_t compare(run_t *run, const node_t *node, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t left, right;
    bool holds = true;
    ALD_TRY(ald_jinja_eval(run, node->a, &left));
    for (const node_t *at = node->b; at != NULL && holds; at = at->next) {
        ALD_TRY(ald_jinja_eval(run, at->a, &right));
        ALD_TRY(compare_two(at->name, &left, &right, &holds));
        left = right;
    }
    *out = ald_jinja_bool(holds);
done:
    return status;
}

ald_status_t ald_jinja_eval(run_t *run, const node_t *node, value_t *out)
{
    static ald_status_t (*const kinds[])(run_t *, const node_t *,
                                         value_t *) = {[ALD_JINJA_CONSTANT] = constant,
                                                       [ALD_JINJA_NAME] = name,
                                                       [ALD_JINJA_ITEMS] = items,
                                                       [ALD_JINJA_TUPLE] = items,
                                                       [ALD_JINJA_PAIRS] = pairs,
                                                       [ALD_JINJA_MEMBER] = member,
                                                       [ALD_JINJA_ITEM] = item,
                                                       [ALD_JINJA_SLICE] = slice,
                                                       [ALD_JINJA_CALL] = call,
                                                       [ALD_JINJA_FILTER] = filter_or_test,
                                                       [ALD_JINJA_TEST] = filter_or_test,
                                                       [ALD_JINJA_NOT] = negate,
                                                       [ALD_JINJA_NEGATIVE] = negate,
                                                       [ALD_JINJA_POSITIVE] = negate,
                                                       [ALD_JINJA_AND] = logic,
                                                       [ALD_JINJA_OR] = logic,
                                                       [ALD_JINJA_ARITHMETIC] = arithmetic,
                                                       [ALD_JINJA_CONCAT] = concat,
                                                       [ALD_JINJA_COMPARE] = compare,
                                                       [ALD_JINJA_CHOICE] = choice};
    ald_status_t status = ALD_STATUS_OK;
    ++run->depth;
    ALD_TRY(ald_jinja_step(run));
    ALD_TRY(kinds[node->kind](run, node, out));
    --run->depth;
done:
    return status;
}
