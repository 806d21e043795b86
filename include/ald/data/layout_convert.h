/* Rows of any layout made into pairs, and what is checked in lists of messages. Layer: data. */
#ifndef ALD_DATA_LAYOUT_CONVERT_H
#define ALD_DATA_LAYOUT_CONVERT_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"

/* Makes a row {"prompt", "chosen", "rejected"} (what of it there is) out of a row of `layout`;
 * answers become strings. For the layouts that have such members already, *out is NULL and the row
 * is to be read itself. INPUT, without file and line, for what has the wrong type or is missing; a
 * row that can't be used but isn't damaged is INPUT too, with its reason in *skip, which otherwise
 * stays. Local. */
ald_status_t ald_layout_convert(ald_layout_t layout, const ald_json_t *row, ald_skip_t *skip,
                                ald_json_t **out);
/* INPUT for what isn't a list of {"role", "content"}; the message begins with KEY. */
ald_status_t ald_messages_check(const ald_json_t *list, const char *key);
/* Whether two messages have the same role and content. */
bool ald_messages_same(const ald_json_t *a, const ald_json_t *b);

#endif
