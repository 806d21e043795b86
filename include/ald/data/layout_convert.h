/* Rows of any layout turned into pairs, and checks of lists of messages. Layer: data. */
#ifndef ALD_DATA_LAYOUT_CONVERT_H
#define ALD_DATA_LAYOUT_CONVERT_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"

/* Turns a row of `layout` into {"prompt", "chosen", "rejected"}, with those members that the row
 * has; answers become strings or stay as they are. For rows that have these members anyway *out is
 * NULL, and the caller reads the row itself. INPUT, without file and line, when a member has the
 * wrong type or is missing. A row that can't be used but isn't damaged is INPUT too, with the
 * reason in *skip, which otherwise stays as it was. Local. */
ald_status_t ald_layout_convert(ald_layout_t layout, const ald_json_t *row, ald_skip_t *skip,
                                ald_json_t **out);
/* INPUT for what isn't a list of {"role", "content"}; the message begins with KEY. */
ald_status_t ald_messages_check(const ald_json_t *list, const char *key);
/* Whether two messages have the same role and content. */
bool ald_messages_same(const ald_json_t *a, const ald_json_t *b);

#endif
