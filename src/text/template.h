/* Recognises chat templates by what they say, not by how they are laid out. Layer: text. */
#ifndef ALD_TEXT_TEMPLATE_H
#define ALD_TEXT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/status.h"
#include "ald/vec.h"

/* What a template does with messages; all of them write ChatML. */
typedef enum {
    ALD_TEMPLATE_PLAIN,   /* every message as it is */
    ALD_TEMPLATE_SMOLLM2, /* the same, after a default system message */
    ALD_TEMPLATE_QWEN25,  /* the same, and tool messages in a way of their own */
    ALD_TEMPLATE_QWEN3,   /* removes and adds <think> parts of assistants' messages */
} ald_template_t;

/* Appends a template in a form where layout, quotes, x['y'] against x.y, and text against printed
 * literals make no difference, under transformers' settings (trim_blocks, lstrip_blocks). */
ald_status_t ald_template_canonical(const char *text, ald_vec_t *out);
/* Whether the template is a known one; then which, and its default system message ("" for none),
 * in up to `size` bytes with the NUL. */
ald_status_t ald_template_recognise(const char *text, bool *known, ald_template_t *kind,
                                    char *default_system, size_t size);

#endif
