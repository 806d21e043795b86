/* Private to tokens: the forms that a table is written in, each appended to text (bytes). */
#ifndef ALD_TOKENS_WRITE_IMPL_H
#define ALD_TOKENS_WRITE_IMPL_H

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/tokens/table.h"

ald_status_t ald_tokens_text(const ald_tokens_t *tokens, ald_vec_t *out);
ald_status_t ald_tokens_lines(const ald_tokens_t *tokens, ald_vec_t *out);
ald_status_t ald_tokens_page(const ald_tokens_t *tokens, ald_vec_t *out);

/* The bytes of a token in place of what `text` had; none without a tokenizer. */
ald_status_t ald_token_bytes(const ald_tokens_t *tokens, int32_t id, ald_vec_t *text);
/* Appends bytes as hexadecimal digits, "e381". */
ald_status_t ald_token_hex(const ald_vec_t *bytes, ald_vec_t *out);

#endif
