/* Filters and tests of templates. Layer: text. */
#ifndef ALD_TEXT_JINJA_FILTER_IMPL_H
#define ALD_TEXT_JINJA_FILTER_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_value_impl.h"

bool ald_jinja_has_filter(const char *name, size_t length);
bool ald_jinja_has_test(const char *name, size_t length);
/* subject | name(...), and subject is name(...). INPUT where Jinja2 raises, and for arguments that
 * aren't known here. */
ald_status_t ald_jinja_filter(const ald_jinja_call_t *call, ald_jinja_value_t *out);
ald_status_t ald_jinja_test(const ald_jinja_call_t *call, ald_jinja_value_t *out);

#endif
