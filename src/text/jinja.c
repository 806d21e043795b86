/* Runs the statements of chat templates. A template is a tree that stays, and a rendering an arena
 * that goes at its end, with all values in it. */
#include "text/jinja_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/chat.h"
#include "ald/text/chat_parts.h"
#include "text/jinja_eval_impl.h"
#include "text/jinja_parse_impl.h"
#include "text/jinja_value_impl.h"

typedef ald_jinja_node_t node_t;
typedef ald_jinja_value_t value_t;
typedef ald_jinja_run_t run_t;

struct ald_jinja {
    ald_arena_t arena;
    node_t *first;
};

/* How a body ends: at its end, or by a statement of the loop around it. */
typedef enum { GOES_ON, BREAKS, CONTINUES } ending_t;

static ald_status_t run_body(run_t *run, const node_t *node, ending_t *ending);

/* Puts a new scope within `parent`; *before is the one to go back to. */
static ald_status_t enter(run_t *run, ald_jinja_scope_t *parent, ald_jinja_scope_t **before)
{
    ald_status_t status = ALD_STATUS_OK;
    void *scope = NULL;
    *before = run->scope;
    ALD_TRY(ald_jinja_alloc(&run->arena, 1, sizeof(ald_jinja_scope_t), &scope));
    run->scope = scope;
    run->scope->parent = parent;
done:
    return status;
}

/* Sets the names of a target. */
static ald_status_t assign(run_t *run, const node_t *target, value_t value)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items;
    if (target->kind == ALD_JINJA_NAME)
        return ald_jinja_bind(run, target->name, value);
    if (target->kind == ALD_JINJA_MEMBER) {
        ALD_TRY(ald_jinja_eval(run, target->a, &items));
        ALD_JINJA_CHECK(items.kind == ALD_JINJA_NAMESPACE, "'%s' is set in %s", target->name,
                        ald_jinja_type(&items));
        return ald_jinja_set(&run->arena, &items, ald_jinja_literal(target->name), value);
    }
    size_t i = 0;
    ALD_TRY(ald_jinja_items(&run->arena, &value, &items));
    for (const node_t *at = target->a; at != NULL; at = at->next, ++i) {
        ALD_JINJA_CHECK(i < items.list->count, "too few values for the names");
        ALD_TRY(assign(run, at, items.list->items[i]));
    }
    ALD_JINJA_CHECK(i == items.list->count, "too many values for the names");
done:
    return status;
}

static ald_status_t run_set(run_t *run, const node_t *node, ending_t *ending)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t value;
    if (node->b != NULL) {
        ALD_TRY(ald_jinja_eval(run, node->b, &value));
    } else {
        ald_jinja_scope_t *before = NULL;
        const size_t from = run->text.text.count;
        ALD_TRY(enter(run, run->scope, &before));
        ALD_TRY(run_body(run, node->c, ending));
        run->scope = before;
        ALD_TRY(ald_jinja_take(&run->arena, &run->text, from, &value));
    }
    ALD_TRY(assign(run, node->a, value));
done:
    return status;
}

static ald_status_t run_if(run_t *run, const node_t *node, ending_t *ending)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t condition;
    ALD_TRY(ald_jinja_eval(run, node->a, &condition));
    ALD_TRY(run_body(run, ald_jinja_truth(&condition) ? node->b : node->c, ending));
done:
    return status;
}

/* Leaves the items that the loop's condition holds for. */
static ald_status_t filter_items(run_t *run, const node_t *node, value_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_scope_t *before = NULL;
    const value_t all = *items;
    value_t holds;
    ALD_TRY(ald_jinja_list(&run->arena, ALD_JINJA_LIST_PLAIN, items));
    for (size_t i = 0; i < all.list->count; ++i) {
        ALD_TRY(enter(run, run->scope, &before));
        ALD_TRY(assign(run, node->a, all.list->items[i]));
        ALD_TRY(ald_jinja_eval(run, node->d, &holds));
        run->scope = before;
        if (ald_jinja_truth(&holds))
            ALD_TRY(ald_jinja_push(&run->arena, items, all.list->items[i]));
    }
done:
    return status;
}

static ald_status_t run_for(run_t *run, const node_t *node, ending_t *ending)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_scope_t *before = NULL;
    value_t over, items, loop = {.kind = ALD_JINJA_LOOP};
    void *state = NULL;
    ending_t inner = GOES_ON;
    ALD_TRY(ald_jinja_eval(run, node->b, &over));
    ALD_TRY(ald_jinja_items(&run->arena, &over, &items));
    if (node->d != NULL)
        ALD_TRY(filter_items(run, node, &items));
    ALD_TRY(ald_jinja_alloc(&run->arena, 1, sizeof *loop.loop, &state));
    loop.loop = state;
    loop.loop->items = items.list->items;
    loop.loop->count = items.list->count;
    for (size_t i = 0; i < items.list->count && inner != BREAKS; ++i) {
        loop.loop->index = i;
        inner = GOES_ON;
        ALD_TRY(ald_jinja_step(run));
        ALD_TRY(enter(run, run->scope, &before));
        ALD_TRY(ald_jinja_bind(run, "loop", loop));
        ALD_TRY(assign(run, node->a, items.list->items[i]));
        ALD_TRY(run_body(run, node->c, &inner));
        run->scope = before;
    }
    if (items.list->count == 0)
        ALD_TRY(run_body(run, node->e, ending));
done:
    return status;
}

/* Gives each parameter of a macro its argument, its default, or leaves it undefined. */
static ald_status_t bind_parameters(run_t *run, const node_t *macro, const ald_jinja_call_t *call)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t index = 0, named = 0;
    for (const node_t *at = macro->b; at != NULL; at = at->next, ++index) {
        const value_t key = ald_jinja_literal(at->name),
                      *keyword = ald_jinja_get(call->keywords, &key);
        value_t value = ald_jinja_undefined(at->name);
        named += keyword != NULL;
        ALD_JINJA_CHECK(keyword == NULL || index >= call->count, "%s: '%s' is given twice",
                        macro->name, at->name);
        if (index < call->count || keyword != NULL)
            value = index < call->count ? call->arguments[index] : *keyword;
        else if (at->a != NULL)
            ALD_TRY(ald_jinja_eval(run, at->a, &value));
        ALD_TRY(ald_jinja_bind(run, at->name, value));
    }
    ALD_JINJA_CHECK(call->count <= index && named == call->keywords->map->count,
                    "%s: more arguments than it takes", macro->name);
done:
    return status;
}

static ald_status_t run_macro(run_t *run, const node_t *macro, const ald_jinja_call_t *call,
                              value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_scope_t *before = NULL;
    const size_t from = run->text.text.count;
    ending_t ending = GOES_ON;
    ALD_TRY(enter(run, run->outermost, &before));
    ALD_TRY(bind_parameters(run, macro, call));
    ALD_TRY(run_body(run, macro->c, &ending));
    run->scope = before;
    ALD_TRY(ald_jinja_take(&run->arena, &run->text, from, out));
done:
    return status;
}

static ald_status_t run_define(run_t *run, const node_t *node)
{
    value_t value = {.kind = ALD_JINJA_MACRO};
    value.macro = node;
    return run->scope == run->outermost ? ald_jinja_bind(run, node->name, value)
                                        : ALD_JINJA_FAIL("a macro within a body isn't known here");
}

static ald_status_t run_output(run_t *run, const node_t *node)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t value;
    ALD_TRY(ald_jinja_eval(run, node->a, &value));
    ALD_TRY(ald_jinja_print(&run->text, &value));
done:
    return status;
}

static ald_status_t run_scope(run_t *run, const node_t *node, ending_t *ending)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_scope_t *before = NULL;
    ALD_TRY(enter(run, run->scope, &before));
    ALD_TRY(run_body(run, node->c, ending));
    run->scope = before;
done:
    return status;
}

static ald_status_t run_statement(run_t *run, const node_t *node, ending_t *ending)
{
    switch (node->kind) {
    case ALD_JINJA_TEXT:
        return ald_jinja_put(&run->text, &node->value);
    case ALD_JINJA_OUTPUT:
        return run_output(run, node);
    case ALD_JINJA_IF:
        return run_if(run, node, ending);
    case ALD_JINJA_FOR:
        return run_for(run, node, ending);
    case ALD_JINJA_SET:
        return run_set(run, node, ending);
    case ALD_JINJA_DEFINE:
        return run_define(run, node);
    case ALD_JINJA_SCOPE:
        return run_scope(run, node, ending);
    default:
        *ending = node->kind == ALD_JINJA_BREAK ? BREAKS : CONTINUES;
        return ALD_STATUS_OK;
    }
}

static ald_status_t run_body(run_t *run, const node_t *node, ending_t *ending)
{
    ald_status_t status = ALD_STATUS_OK;
    ++run->depth;
    for (; node != NULL && *ending == GOES_ON; node = node->next) {
        ALD_TRY(ald_jinja_step(run));
        ALD_TRY(run_statement(run, node, ending));
    }
    --run->depth;
done:
    return status;
}

ald_status_t ald_jinja_compile(const char *text, ald_jinja_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_t *jinja = ald_calloc(1, sizeof *jinja);
    *out = jinja;
    ALD_CHECK_MEMORY(jinja, sizeof *jinja);
    ALD_TRY(ald_jinja_parse(text, &jinja->arena, &jinja->first));
done:
    if (status != ALD_STATUS_OK) {
        ald_jinja_destroy(jinja);
        *out = NULL;
    }
    return status;
}

void ald_jinja_destroy(ald_jinja_t *jinja)
{
    if (jinja != NULL)
        ald_arena_reset(&jinja->arena);
    ald_free(jinja);
}

static ald_status_t bind_input(run_t *run, const ald_jinja_input_t *input)
{
    ald_status_t status = ALD_STATUS_OK;
    const value_t none = {.kind = ALD_JINJA_NONE};
    value_t messages;
    ALD_TRY(ald_jinja_of_json(&run->arena, input->messages, &messages));
    ALD_TRY(ald_jinja_bind(run, "messages", messages));
    ALD_TRY(ald_jinja_bind(run, "tools", none));
    ALD_TRY(ald_jinja_bind(run, "documents", none));
    ALD_TRY(
        ald_jinja_bind(run, "add_generation_prompt", ald_jinja_bool(input->add_generation_prompt)));
    if (input->bos[0] != '\0')
        ALD_TRY(ald_jinja_bind(run, "bos_token", ald_jinja_literal(input->bos)));
    if (input->eos[0] != '\0')
        ALD_TRY(ald_jinja_bind(run, "eos_token", ald_jinja_literal(input->eos)));
done:
    return status;
}

/* Appends the text, and where in it there is markup. */
static ald_status_t give(const ald_jinja_text_t *text, ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *mask = text->mask.data;
    const size_t before = writer->text->count;
    if (text->text.count > 0)
        ALD_TRY(ald_vec_append(writer->text, text->text.data, text->text.count));
    for (size_t i = 0, end; writer->markup != NULL && i < text->mask.count; i = end) {
        for (end = i; end < text->mask.count && mask[end] == mask[i]; ++end)
            ;
        const ald_chat_span_t span = {before + i, before + end};
        if (mask[i] == 0)
            ALD_TRY(ald_vec_push(writer->markup, &span));
    }
done:
    return status;
}

ald_status_t ald_jinja_render(const ald_jinja_t *jinja, const ald_jinja_input_t *input,
                              ald_chat_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    run_t run = {.macro = run_macro};
    ald_jinja_scope_t *none = NULL;
    ending_t ending = GOES_ON;
    ald_jinja_text_init(&run.text);
    ALD_TRY(enter(&run, NULL, &none));
    run.outermost = run.scope;
    ALD_TRY(bind_input(&run, input));
    ALD_TRY(run_body(&run, jinja->first, &ending));
    ALD_TRY(give(&run.text, writer));
done:
    ald_jinja_text_reset(&run.text);
    ald_arena_reset(&run.arena);
    return status;
}
