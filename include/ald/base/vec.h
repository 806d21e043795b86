/* A growable array of items of one size; also serves as a string builder. Layer: base. */
#ifndef ALD_BASE_VEC_H
#define ALD_BASE_VEC_H

#include <stddef.h>

#include "ald/base/status.h"

typedef struct {
    void *data;      /* owned, from ald_alloc */
    size_t count;    /* items */
    size_t capacity; /* items */
    size_t item;     /* bytes per item */
} ald_vec_t;

void ald_vec_init(ald_vec_t *vec, size_t item);
/* Frees the data; the vec is as after init. */
void ald_vec_reset(ald_vec_t *vec);
ald_status_t ald_vec_reserve(ald_vec_t *vec, size_t capacity);
/* Appends `count` items (zeroed when `items` is NULL). On failure the vec is unchanged, else data
 * isn't NULL afterwards, also with a count of 0. */
ald_status_t ald_vec_append(ald_vec_t *vec, const void *items, size_t count);
#define ald_vec_push(vec, item_pointer) ald_vec_append((vec), (item_pointer), 1)
#define ALD_VEC_AT(vec, type, index)    (((type *)(vec)->data)[index])

/* Text in a vec of bytes (item 1): appends formatted text; the data stays NUL-terminated. */
ald_status_t ald_vec_printf(ald_vec_t *vec, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
