/* A table of tokens as text, as JSON lines, and as one HTML page. Layer: tokens. */
#ifndef ALD_TOKENS_WRITE_H
#define ALD_TOKENS_WRITE_H

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/tokens/table.h"

/* Writes the table to a file, atomically, or with NULL to stdout. Text of files is spelled out
 * where it would command a terminal, and is never markup of the page. Local. */
ald_status_t ald_tokens_write(const ald_tokens_t *tokens, ald_table_format_t format,
                              const char *path);

#endif
