/* Binds the arguments of a call to the names of a function's parameters. Tables say the names, so
 * that no function has to look for what it wasn't given. */
#include "text/jinja_call_impl.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "ald/base/status.h"
#include "text/jinja_value_impl.h"

const ald_jinja_entry_t *ald_jinja_find(const ald_jinja_entry_t *table, size_t count,
                                        const char *name, size_t length)
{
    for (size_t i = 0; i < count; ++i)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

/* Puts the keyword arguments in their places. */
static ald_status_t bind_keywords(const ald_jinja_entry_t *entry, const ald_jinja_call_t *call,
                                  const ald_jinja_value_t **a)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < call->keywords->map->count; ++i) {
        const ald_jinja_value_t *key = &call->keywords->map->keys[i];
        const char *p = entry->parameters;
        int index = 0;
        while (*p != '\0' &&
               !(strncasecmp(p, key->text, key->length) == 0 && p[key->length] == ' ')) {
            p = strchr(p, ' ') + 1;
            ++index;
        }
        ALD_JINJA_CHECK(*p != '\0', "%s: an argument '%.*s' that isn't known here", call->name,
                        (int)key->length, key->text);
        ALD_JINJA_CHECK(a[index] == NULL, "%s: an argument is given twice", call->name);
        a[index] = &call->keywords->map->values[i];
    }
done:
    return status;
}

ald_status_t ald_jinja_call(const ald_jinja_entry_t *table, size_t count,
                            const ald_jinja_call_t *call, ald_jinja_value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_jinja_entry_t *entry = ald_jinja_find(table, count, call->name, strlen(call->name));
    const ald_jinja_value_t *a[ALD_JINJA_PARAMETERS] = {NULL};
    size_t taken = 0;
    ALD_JINJA_CHECK(entry != NULL, "'%s' isn't known here", call->name);
    for (const char *p = entry->parameters; *p != '\0'; p = strchr(p, ' ') + 1) {
        if (taken < call->count)
            a[taken] = &call->arguments[taken];
        ++taken;
    }
    ALD_JINJA_CHECK(call->count <= taken, "%s: more arguments than are known here", call->name);
    ALD_TRY(bind_keywords(entry, call, a));
    taken = 0;
    for (const char *p = entry->parameters; *p != '\0'; p = strchr(p, ' ') + 1)
        ALD_JINJA_CHECK(!isupper((unsigned char)*p) || a[taken++] != NULL,
                        "%s: an argument is missing", call->name);
    ALD_TRY(entry->function(call, a, out));
done:
    return status;
}

ald_status_t ald_jinja_need_text(const ald_jinja_call_t *call, const ald_jinja_value_t *value)
{
    return value->kind == ALD_JINJA_STRING ? ALD_STATUS_OK
                                           : ALD_JINJA_FAIL("%s: expected a string, found %s",
                                                            call->name, ald_jinja_type(value));
}

ald_status_t ald_jinja_need_number(const ald_jinja_call_t *call, const ald_jinja_value_t *value,
                                   int64_t otherwise, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (value == NULL || value->kind == ALD_JINJA_NONE)
        return status;
    ALD_JINJA_CHECK(value->kind == ALD_JINJA_INTEGER || value->kind == ALD_JINJA_BOOL,
                    "%s: expected a whole number, found %s", call->name, ald_jinja_type(value));
    *out = value->kind == ALD_JINJA_BOOL ? value->truth : value->integer;
done:
    return status;
}
