/* Methods of strings and dictionaries, and the functions of templates. Layer: text. */
#ifndef ALD_TEXT_JINJA_METHOD_IMPL_H
#define ALD_TEXT_JINJA_METHOD_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_value_impl.h"

bool ald_jinja_has_method(const char *name);
/* subject.name(...). INPUT for what isn't known, and where Python raises. */
ald_status_t ald_jinja_method(const ald_jinja_call_t *call, ald_jinja_value_t *out);

bool ald_jinja_has_function(const char *name);
/* name(...): raise_exception, whose message is the status's, and others. */
ald_status_t ald_jinja_function(const ald_jinja_call_t *call, ald_jinja_value_t *out);

/* The pieces of a string between its line ends, as Python's splitlines has them. */
ald_status_t ald_jinja_lines(ald_arena_t *arena, const ald_jinja_value_t *string,
                             ald_jinja_value_t *out);
/* Without the characters of `chars` at its ends, or without white space (NULL). */
ald_status_t ald_jinja_strip(const ald_jinja_value_t *string, const ald_jinja_value_t *chars,
                             const char *sides, ald_jinja_value_t *out);
ald_status_t ald_jinja_replace(const ald_jinja_call_t *call, const ald_jinja_value_t *const *a,
                               ald_jinja_value_t *out);
/* `how` is the first letter of upper, lower, capitalize, title (Python's), jinja's title. */
ald_status_t ald_jinja_letters(ald_arena_t *arena, const ald_jinja_value_t *string, char how,
                               ald_jinja_value_t *out);
/* A list of [key, value] for the members of a map. */
ald_status_t ald_jinja_members(ald_arena_t *arena, const ald_jinja_value_t *map,
                               ald_jinja_list_kind_t kind, ald_jinja_value_t *out);

#endif
