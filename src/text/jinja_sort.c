/* sort, dictsort, unique, min and max. All compare keys that Jinja2 folds to lower case unless it
 * is told not to, which is why they are together. */
#include "text/jinja_sort_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_method_impl.h"
#include "text/jinja_value_impl.h"

typedef ald_jinja_value_t value_t;
typedef ald_jinja_call_t call_t;

enum { MOST_SORTED = 5000 }; /* so that the slow and stable way is fast enough */

static bool given(const value_t *value)
{
    return value != NULL && ald_jinja_truth(value);
}

/* What items are compared by: a member of theirs or themselves, in lower case unless `exact`. */
static ald_status_t key_of(const call_t *call, const value_t *item, const value_t *path, bool exact,
                           value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = *item;
    if (given(path))
        ALD_TRY(ald_jinja_path(call->name, item, path, out));
    if (out->kind == ALD_JINJA_STRING && !exact) {
        const value_t text = *out;
        ALD_TRY(ald_jinja_letters(call->arena, &text, 'l', out));
    }
done:
    return status;
}

static ald_status_t keys_of(const call_t *call, const value_t *items, const value_t *path,
                            bool exact, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t key;
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, out));
    for (size_t i = 0; i < items->list->count; ++i) {
        ALD_TRY(key_of(call, &items->list->items[i], path, exact, &key));
        ALD_TRY(ald_jinja_push(call->arena, out, key));
    }
done:
    return status;
}

/* Makes a list of the items in the order of their keys; equal ones stay as they are. */
static ald_status_t sorted(const call_t *call, const value_t *items, value_t *keys, bool falling,
                           value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t *key = keys->list->items;
    ALD_JINJA_CHECK(items->list->count <= MOST_SORTED, "%s of more than %d items", call->name,
                    MOST_SORTED);
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, out));
    for (size_t i = 0; i < items->list->count; ++i) {
        const value_t mine = key[i];
        size_t at = i;
        ALD_TRY(ald_jinja_push(call->arena, out, items->list->items[i]));
        for (int order = 1; at > 0; --at) {
            ALD_TRY(ald_jinja_compare(&key[at - 1], &mine, &order));
            if (falling ? order >= 0 : order <= 0)
                break;
            key[at] = key[at - 1];
            out->list->items[at] = out->list->items[at - 1];
        }
        key[at] = mine;
        out->list->items[at] = items->list->items[i];
    }
done:
    return status;
}

ald_status_t ald_jinja_sort(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items, keys;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    ALD_TRY(keys_of(call, &items, a[2], given(a[1]), &keys));
    ALD_TRY(sorted(call, &items, &keys, given(a[0]), out));
done:
    return status;
}

ald_status_t ald_jinja_dictsort(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items, names, keys;
    const bool by_value = a[1] != NULL && ald_jinja_is_text(a[1], "value");
    ALD_JINJA_CHECK(call->subject->kind == ALD_JINJA_MAP, "dictsort of %s",
                    ald_jinja_type(call->subject));
    ALD_JINJA_CHECK(a[1] == NULL || by_value || ald_jinja_is_text(a[1], "key"),
                    "dictsort by other than key or value");
    ALD_TRY(ald_jinja_members(call->arena, call->subject, ALD_JINJA_LIST_PLAIN, &items));
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, &names));
    for (size_t i = 0; i < items.list->count; ++i)
        ALD_TRY(ald_jinja_push(call->arena, &names, items.list->items[i].list->items[by_value]));
    ALD_TRY(keys_of(call, &names, NULL, given(a[0]), &keys));
    ALD_TRY(sorted(call, &items, &keys, given(a[2]), out));
done:
    return status;
}

ald_status_t ald_jinja_unique(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items, keys, seen;
    bool known = false;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    ALD_JINJA_CHECK(items.list->count <= MOST_SORTED, "unique of more than %d items", MOST_SORTED);
    ALD_TRY(keys_of(call, &items, a[1], given(a[0]), &keys));
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_PLAIN, &seen));
    ALD_TRY(ald_jinja_list(call->arena, ALD_JINJA_LIST_GENERATOR, out));
    for (size_t i = 0; i < items.list->count; ++i) {
        ALD_TRY(ald_jinja_contains(&seen, &keys.list->items[i], &known));
        if (known)
            continue;
        ALD_TRY(ald_jinja_push(call->arena, &seen, keys.list->items[i]));
        ALD_TRY(ald_jinja_push(call->arena, out, items.list->items[i]));
    }
done:
    return status;
}

ald_status_t ald_jinja_extreme(const call_t *call, const value_t *const *a, value_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    value_t items, keys;
    size_t best = 0;
    int order = 0;
    ALD_TRY(ald_jinja_items(call->arena, call->subject, &items));
    ALD_TRY(keys_of(call, &items, a[1], given(a[0]), &keys));
    for (size_t i = 1; i < items.list->count; ++i) {
        ALD_TRY(ald_jinja_compare(&keys.list->items[i], &keys.list->items[best], &order));
        if (strcmp(call->name, "min") == 0 ? order < 0 : order > 0)
            best = i;
    }
    *out = items.list->count == 0 ? ald_jinja_undefined(NULL) : items.list->items[best];
done:
    return status;
}
