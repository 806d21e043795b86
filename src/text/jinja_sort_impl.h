/* Filters of templates that put values in order. Layer: text. */
#ifndef ALD_TEXT_JINJA_SORT_IMPL_H
#define ALD_TEXT_JINJA_SORT_IMPL_H

#include "ald/base/status.h"
#include "text/jinja_call_impl.h"
#include "text/jinja_value_impl.h"

/* Functions of the table of filters; their parameters are there. */
ald_status_t ald_jinja_sort(const ald_jinja_call_t *call, const ald_jinja_value_t *const *a,
                            ald_jinja_value_t *out);
ald_status_t ald_jinja_dictsort(const ald_jinja_call_t *call, const ald_jinja_value_t *const *a,
                                ald_jinja_value_t *out);
ald_status_t ald_jinja_unique(const ald_jinja_call_t *call, const ald_jinja_value_t *const *a,
                              ald_jinja_value_t *out);
/* min and max. */
ald_status_t ald_jinja_extreme(const ald_jinja_call_t *call, const ald_jinja_value_t *const *a,
                               ald_jinja_value_t *out);

#endif
