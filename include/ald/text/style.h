/* What Arena-Hard's style control counts in an answer. Layer: text. */
#ifndef ALD_TEXT_STYLE_H
#define ALD_TEXT_STYLE_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

/* Marks of Markdown outside of blocks of code. */
typedef struct {
    int64_t headers[6];         /* "# " to "###### " at the beginning of a line */
    int64_t ordered, unordered; /* items of lists, "1. " and "- " */
    int64_t stars, underscores; /* bold text, **x** and __x__ */
} ald_style_t;

/* Counts in UTF-8 text as utils/add_markdown_info.py of lmarena/arena-hard-auto does, Python's
 * regular expressions and the way in which it takes out blocks of code included. Local. */
ald_status_t ald_style_count(const char *text, size_t length, ald_style_t *out);

#endif
