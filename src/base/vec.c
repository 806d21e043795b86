/* A growable array on the counted heap, also of characters. Its growth is checked for overflow
 * and failure here once, and nowhere by the callers. */
#include "ald/base/vec.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"

void ald_vec_init(ald_vec_t *vec, size_t item)
{
    *vec = (ald_vec_t){.item = item};
}

void ald_vec_reset(ald_vec_t *vec)
{
    ald_free(vec->data);
    ald_vec_init(vec, vec->item);
}

ald_status_t ald_vec_reserve(ald_vec_t *vec, size_t capacity)
{
    ald_status_t status = ALD_STATUS_OK;
    if (capacity <= vec->capacity)
        return status;
    size_t grown = vec->capacity * 2 > capacity ? vec->capacity * 2 : capacity;
    size_t bytes = 0;
    ALD_CHECK(!__builtin_mul_overflow(grown, vec->item, &bytes), ALD_STATUS_RESOURCE,
              "out of memory: %zu items of %zu bytes", grown, vec->item);
    void *data = ald_realloc(vec->data, bytes);
    ALD_CHECK_MEMORY(data, bytes);
    vec->data = data;
    vec->capacity = grown;
done:
    return status;
}

ald_status_t ald_vec_append(ald_vec_t *vec, const void *items, size_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    if (count == 0) /* what was put is a place, be it empty, and no NULL that offsets are from */
        return ald_vec_reserve(vec, 1);
    ALD_TRY(ald_vec_reserve(vec, vec->count + count));
    char *end = (char *)vec->data + vec->count * vec->item;
    if (items == NULL)
        memset(end, 0, count * vec->item);
    else
        memcpy(end, items, count * vec->item);
    vec->count += count;
done:
    return status;
}

ald_status_t ald_vec_printf(ald_vec_t *vec, const char *format, ...)
{
    ald_status_t status = ALD_STATUS_OK;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ALD_CHECK(length >= 0, ALD_STATUS_INTERNAL, "cannot format \"%s\"", format);
    ALD_TRY(ald_vec_reserve(vec, vec->count + (size_t)length + 1));
    va_start(arguments, format);
    vsnprintf((char *)vec->data + vec->count, (size_t)length + 1, format, arguments);
    va_end(arguments);
    vec->count += (size_t)length;
done:
    return status;
}
