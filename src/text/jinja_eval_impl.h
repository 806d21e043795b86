/* Evaluates the expressions of templates. Layer: text. */
#ifndef ALD_TEXT_JINJA_EVAL_IMPL_H
#define ALD_TEXT_JINJA_EVAL_IMPL_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_parse_impl.h"
#include "text/jinja_value_impl.h"

/* The names that are set in a body; those of bodies around it are seen, and hidden. */
typedef struct ald_jinja_scope {
    struct ald_jinja_binding {
        const char *name;
        ald_jinja_value_t value;
        struct ald_jinja_binding *next;
    } * first;
    struct ald_jinja_scope *parent;
} ald_jinja_scope_t;

/* A template that runs; a thread's own. */
typedef struct ald_jinja_run {
    ald_arena_t arena;
    ald_jinja_text_t text; /* what was written */
    ald_jinja_scope_t *scope, *outermost;
    int depth;     /* of nodes and macros in each other */
    int64_t steps; /* nodes that were looked at */
    /* Runs a macro's body; it is beyond the expressions. */
    ald_status_t (*macro)(struct ald_jinja_run *run, const ald_jinja_node_t *macro,
                          const ald_jinja_call_t *call, ald_jinja_value_t *out);
} ald_jinja_run_t;

ald_status_t ald_jinja_bind(ald_jinja_run_t *run, const char *name, ald_jinja_value_t value);
/* The value of an expression. INPUT where Jinja2 raises. */
ald_status_t ald_jinja_eval(ald_jinja_run_t *run, const ald_jinja_node_t *node,
                            ald_jinja_value_t *out);
/* INPUT when the template takes more steps than any template should, or is nested too deep. */
ald_status_t ald_jinja_step(ald_jinja_run_t *run);

#endif
