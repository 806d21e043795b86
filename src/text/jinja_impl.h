/* Runs chat templates: the part of Jinja2 that they use, under transformers' settings. Layer: text.
 */
#ifndef ALD_TEXT_JINJA_IMPL_H
#define ALD_TEXT_JINJA_IMPL_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/text/chat_parts.h"

typedef struct ald_jinja ald_jinja_t; /* immutable */

/* What a template sees beside its messages; as in transformers, `tools` and `documents` are none.
 */
typedef struct {
    const ald_json_t *messages;
    bool add_generation_prompt;
    const char *bos, *eos; /* "": undefined */
} ald_jinja_input_t;

/* INPUT naming what isn't known here. The text may go. */
ald_status_t ald_jinja_compile(const char *text, ald_jinja_t **out);
void ald_jinja_destroy(ald_jinja_t *jinja); /* takes NULL */
/* Appends what the template writes. INPUT with raise_exception's message, or with what Jinja2 would
 * raise for, or with what isn't known here. Local; any number of threads at a time. */
ald_status_t ald_jinja_render(const ald_jinja_t *jinja, const ald_jinja_input_t *input,
                              ald_chat_writer_t *writer);

#endif
