/* A chat template as a tree. Layer: text. */
#ifndef ALD_TEXT_JINJA_PARSE_IMPL_H
#define ALD_TEXT_JINJA_PARSE_IMPL_H

#include <stddef.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_value_impl.h"

/* What a node is, and which of its members it uses. `next` chains the parts of a list. */
typedef enum {
    ALD_JINJA_CONSTANT,   /* value */
    ALD_JINJA_NAME,       /* name */
    ALD_JINJA_ITEMS,      /* [a, ...] */
    ALD_JINJA_TUPLE,      /* (a, ...) */
    ALD_JINJA_PAIRS,      /* {a: b, ...}: a chain of keys and values in turn */
    ALD_JINJA_MEMBER,     /* a.name */
    ALD_JINJA_ITEM,       /* a[b] */
    ALD_JINJA_SLICE,      /* a[b:c:d], each may be NULL */
    ALD_JINJA_CALL,       /* a(b, ...) */
    ALD_JINJA_KEYWORD,    /* name=a among arguments */
    ALD_JINJA_FILTER,     /* a | name(b, ...) */
    ALD_JINJA_TEST,       /* a is name(b, ...) */
    ALD_JINJA_NOT,        /* not a */
    ALD_JINJA_NEGATIVE,   /* -a */
    ALD_JINJA_POSITIVE,   /* +a */
    ALD_JINJA_AND,        /* a and b */
    ALD_JINJA_OR,         /* a or b */
    ALD_JINJA_ARITHMETIC, /* a name b */
    ALD_JINJA_CONCAT,     /* a ~ b */
    ALD_JINJA_COMPARE,    /* a, then a chain b of operands: b.name is the operator, b.a the value */
    ALD_JINJA_CHOICE,     /* b if a else c */
    ALD_JINJA_TEXT,       /* value */
    ALD_JINJA_OUTPUT,     /* {{ a }} */
    ALD_JINJA_IF,         /* a: condition, b: body, c: what else, a body */
    ALD_JINJA_FOR,        /* for a in b if d: body c, else e */
    ALD_JINJA_SET,        /* set a = b; b NULL: a is set to what the body c writes */
    ALD_JINJA_DEFINE,     /* macro name(b, ...): body c; parameters are KEYWORDs, a the default */
    ALD_JINJA_SCOPE,      /* body c */
    ALD_JINJA_BREAK,
    ALD_JINJA_CONTINUE,
} ald_jinja_node_kind_t;

typedef struct ald_jinja_node {
    ald_jinja_node_kind_t kind;
    const char *name;
    ald_jinja_value_t value;
    struct ald_jinja_node *a, *b, *c, *d, *e, *next;
} ald_jinja_node_t;

/* Parses a template into nodes in `arena`; *out is the first statement, or NULL. INPUT naming what
 * isn't read here, with its line. */
ald_status_t ald_jinja_parse(const char *text, ald_arena_t *arena, ald_jinja_node_t **out);

#endif
