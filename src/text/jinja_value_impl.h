/* The values of a running chat template, with the meaning that Python gives them. Layer: text. */
#ifndef ALD_TEXT_JINJA_VALUE_IMPL_H
#define ALD_TEXT_JINJA_VALUE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/chat_parts.h"

typedef enum {
    ALD_JINJA_UNDEFINED,
    ALD_JINJA_NONE,
    ALD_JINJA_BOOL,
    ALD_JINJA_INTEGER,
    ALD_JINJA_REAL,
    ALD_JINJA_STRING,
    ALD_JINJA_LIST,
    ALD_JINJA_MAP,
    ALD_JINJA_NAMESPACE, /* a map whose members are set */
    ALD_JINJA_LOOP,
    ALD_JINJA_MACRO,
} ald_jinja_kind_t;

/* Lists, and what else is walked like one. */
typedef enum {
    ALD_JINJA_LIST_PLAIN,
    ALD_JINJA_LIST_TUPLE,
    ALD_JINJA_LIST_VIEW,      /* of a map's keys, values, items: has a length, can't be indexed */
    ALD_JINJA_LIST_GENERATOR, /* of a filter: always true, has no length, is walked once */
} ald_jinja_list_kind_t;

struct ald_jinja_list;
struct ald_jinja_map;
struct ald_jinja_loop;
struct ald_jinja_node;

/* Everything a value points to lives as long as the rendering, or the template. */
typedef struct {
    ald_jinja_kind_t kind;
    bool content; /* of a string without `mask`: it comes from a message, and isn't markup */
    union {
        bool truth;
        int64_t integer;
        double real;
        struct {
            const char *text; /* UTF-8; of an undefined value what it would be called, or NULL */
            const char *mask; /* NULL, or for each byte whether it comes from a message */
            size_t length;    /* bytes */
        };
        struct ald_jinja_list *list;
        struct ald_jinja_map *map;
        struct ald_jinja_loop *loop;
        const struct ald_jinja_node *macro;
    };
} ald_jinja_value_t;

typedef struct ald_jinja_list {
    ald_jinja_list_kind_t kind;
    bool spent; /* of a generator */
    ald_jinja_value_t *items;
    size_t count, capacity;
} ald_jinja_list_t;

typedef struct ald_jinja_map {
    ald_jinja_value_t *keys, *values; /* in the order of their setting */
    size_t count, capacity;
} ald_jinja_map_t;

typedef struct ald_jinja_loop {
    const ald_jinja_value_t *items;
    size_t index, count;
    int depth; /* from 1 */
} ald_jinja_loop_t;

/* Text being written: its bytes, and for each whether it comes from a message. */
typedef struct {
    ald_vec_t text, mask;
} ald_jinja_text_t;

enum { ALD_JINJA_MOST = 1 << 28 }; /* bytes that a rendering may take */

/* Raises what a template does wrong, or asks for and isn't known here. INPUT. */
#define ALD_JINJA_FAIL(...) ald_status_raise(ALD_STATUS_INPUT, "the chat template: " __VA_ARGS__)
#define ALD_JINJA_CHECK(condition, ...)                                                            \
    ALD_CHECK(condition, ALD_STATUS_INPUT, "the chat template: " __VA_ARGS__)

/* Zeroed memory of a rendering; RESOURCE without it, INPUT beyond ALD_JINJA_MOST. */
ald_status_t ald_jinja_alloc(ald_arena_t *arena, size_t count, size_t size, void **out);

ald_jinja_value_t ald_jinja_bool(bool truth);
ald_jinja_value_t ald_jinja_integer(int64_t integer);
ald_jinja_value_t ald_jinja_string(const char *text, size_t length); /* markup */
ald_jinja_value_t ald_jinja_literal(const char *text);
ald_jinja_value_t ald_jinja_undefined(const char *name); /* `name` may be NULL */
bool ald_jinja_is_none(const ald_jinja_value_t *value);
bool ald_jinja_is_text(const ald_jinja_value_t *value, const char *text);
/* Bytes [from, to) of a string. */
ald_jinja_value_t ald_jinja_part(const ald_jinja_value_t *string, size_t from, size_t to);
/* How Python names the type, for messages. */
const char *ald_jinja_type(const ald_jinja_value_t *value);

ald_status_t ald_jinja_list(ald_arena_t *arena, ald_jinja_list_kind_t kind, ald_jinja_value_t *out);
ald_status_t ald_jinja_push(ald_arena_t *arena, ald_jinja_value_t *list, ald_jinja_value_t item);
ald_status_t ald_jinja_map(ald_arena_t *arena, ald_jinja_kind_t kind, ald_jinja_value_t *out);
ald_status_t ald_jinja_set(ald_arena_t *arena, ald_jinja_value_t *map, ald_jinja_value_t key,
                           ald_jinja_value_t value);
/* The member, or NULL. */
const ald_jinja_value_t *ald_jinja_get(const ald_jinja_value_t *map, const ald_jinja_value_t *key);
/* Strings are borrowed from the JSON. All but roles is content. */
ald_status_t ald_jinja_of_json(ald_arena_t *arena, const ald_json_t *json, ald_jinja_value_t *out);

bool ald_jinja_truth(const ald_jinja_value_t *value);
bool ald_jinja_equal(const ald_jinja_value_t *a, const ald_jinja_value_t *b);
/* *order below, at or above 0; INPUT for what Python doesn't order. */
ald_status_t ald_jinja_compare(const ald_jinja_value_t *a, const ald_jinja_value_t *b, int *order);
ald_status_t ald_jinja_contains(const ald_jinja_value_t *whole, const ald_jinja_value_t *part,
                                bool *out);
/* Python's len. */
ald_status_t ald_jinja_length(const ald_jinja_value_t *value, size_t *out);
/* The items that a loop over the value has, as a plain list. */
ald_status_t ald_jinja_items(ald_arena_t *arena, const ald_jinja_value_t *value,
                             ald_jinja_value_t *out);
/* value[first:last:step], each bound NULL or a value. */
typedef struct {
    const ald_jinja_value_t *first, *last, *step;
} ald_jinja_range_t;
ald_status_t ald_jinja_slice(ald_arena_t *arena, const ald_jinja_value_t *value,
                             ald_jinja_range_t range, ald_jinja_value_t *out);
/* value[key], undefined when there is none. */
ald_status_t ald_jinja_item(const ald_jinja_value_t *value, const ald_jinja_value_t *key,
                            ald_jinja_value_t *out);

/* The value at a path of members, "a.b", as filters take it; `name` is the filter's. */
ald_status_t ald_jinja_path(const char *name, const ald_jinja_value_t *value,
                            const ald_jinja_value_t *path, ald_jinja_value_t *out);

void ald_jinja_text_init(ald_jinja_text_t *text);
void ald_jinja_text_reset(ald_jinja_text_t *text);
ald_status_t ald_jinja_put(ald_jinja_text_t *text, const ald_jinja_value_t *string);
ald_status_t ald_jinja_puts(ald_jinja_text_t *text, const char *literal);
/* Python's str, and its repr. */
ald_status_t ald_jinja_print(ald_jinja_text_t *text, const ald_jinja_value_t *value);
/* json.dumps; indent -1: one line. */
typedef struct {
    int indent;
    bool ascii, sorted;
    const char *comma, *colon;
} ald_jinja_json_t;
ald_status_t ald_jinja_dump(ald_jinja_text_t *text, const ald_jinja_value_t *value,
                            const ald_jinja_json_t *how, int depth);
/* What was written from byte `from` on, as a string, which is taken out of the text. */
ald_status_t ald_jinja_take(ald_arena_t *arena, ald_jinja_text_t *text, size_t from,
                            ald_jinja_value_t *out);

#endif
