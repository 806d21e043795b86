/* A chat template cut into text and tags, as Jinja2 cuts it. Layer: text. */
#ifndef ALD_TEXT_JINJA_SOURCE_IMPL_H
#define ALD_TEXT_JINJA_SOURCE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

/* A template being read. */
typedef struct {
    char *lines; /* owned: the template with its lines ended by \n alone */
    const char *at, *end;
    bool after_block, trim_left; /* what the last tag was, and asked for */
    bool text_next;
} ald_jinja_source_t;

typedef enum {
    ALD_JINJA_PIECE_END,
    ALD_JINJA_PIECE_TEXT,
    ALD_JINJA_PIECE_OUTPUT,   /* {{ }} */
    ALD_JINJA_PIECE_BLOCK,    /* {% %} */
    ALD_JINJA_PIECE_UNCLOSED, /* a tag without its end */
} ald_jinja_piece_kind_t;

/* A run of text as it is written, or the inside of a tag, in the source's lines. */
typedef struct {
    ald_jinja_piece_kind_t kind;
    const char *from, *to;
} ald_jinja_piece_t;

/* Copies the template, without the end of its last line. */
ald_status_t ald_jinja_source_open(const char *text, ald_jinja_source_t *out);
void ald_jinja_source_close(ald_jinja_source_t *source); /* takes a zeroed one */
/* The next piece under transformers' settings (trim_blocks, lstrip_blocks); comments are skipped,
 * and text may be empty. */
ald_jinja_piece_t ald_jinja_source_next(ald_jinja_source_t *source);

/* What an escape in a literal stands for. */
typedef struct {
    char bytes[4];
    size_t length; /* 0: nothing, at a line that goes on */
    bool known;    /* false: one that isn't read here, as \N{NAME} */
} ald_jinja_escape_t;

/* Reads the escape whose letter is at *at (before `end`), as Python's unicode-escape has it, which
 * Jinja2 uses, and moves *at behind it. */
ald_jinja_escape_t ald_jinja_escape(const char **at, const char *end);

#endif
