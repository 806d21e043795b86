/* How filters, tests, methods and functions of templates get their arguments. Layer: text. */
#ifndef ALD_TEXT_JINJA_CALL_IMPL_H
#define ALD_TEXT_JINJA_CALL_IMPL_H

#include <stddef.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_value_impl.h"

enum { ALD_JINJA_PARAMETERS = 5 };

typedef struct {
    ald_arena_t *arena;
    const char *name;
    const ald_jinja_value_t *subject;   /* what is filtered, tested, or has the method */
    const ald_jinja_value_t *arguments; /* [count], by position */
    size_t count;
    const ald_jinja_value_t *keywords; /* a map */
} ald_jinja_call_t;

/* A function: `a` has an argument for each of the parameters, NULL for one that wasn't given. */
typedef ald_status_t (*ald_jinja_function_t)(const ald_jinja_call_t *call,
                                             const ald_jinja_value_t *const *a,
                                             ald_jinja_value_t *out);
typedef struct {
    const char *name;
    const char *parameters; /* names, each followed by a space; those in capitals must be given */
    ald_jinja_function_t function;
} ald_jinja_entry_t;

/* Calls the entry of that name, which there is. INPUT for arguments that it doesn't take. */
ald_status_t ald_jinja_call(const ald_jinja_entry_t *table, size_t count,
                            const ald_jinja_call_t *call, ald_jinja_value_t *out);
const ald_jinja_entry_t *ald_jinja_find(const ald_jinja_entry_t *table, size_t count,
                                        const char *name, size_t length);
/* An argument that has to be a string; INPUT otherwise. */
ald_status_t ald_jinja_need_text(const ald_jinja_call_t *call, const ald_jinja_value_t *value);
/* A whole number, or `otherwise` for NULL and none; INPUT otherwise. */
ald_status_t ald_jinja_need_number(const ald_jinja_call_t *call, const ald_jinja_value_t *value,
                                   int64_t otherwise, int64_t *out);

#endif
