/* BPE from a Hugging Face tokenizer.json. Layer: text. */
#ifndef ALD_TEXT_TOKENIZER_H
#define ALD_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Immutable after open; encode and decode may run on several threads at once. */
typedef struct ald_tokenizer ald_tokenizer_t;

/* Reads DIR/tokenizer.json, and of tokenizer_config.json, special_tokens_map.json,
 * generation_config.json, config.json and chat_template.jinja what is there. INPUT naming file and
 * component for anything missing, malformed or not supported. Local. Free with destroy. */
ald_status_t ald_tokenizer_open(const char *directory, ald_tokenizer_t **out);
void ald_tokenizer_destroy(ald_tokenizer_t *tokenizer); /* takes NULL */

/* Appends the ids (int32_t) of UTF-8 text to `ids`; added tokens in the text are recognised, none
 * are put around it (add_special_tokens = False). INPUT for invalid UTF-8, with the byte offset. */
ald_status_t ald_tokenizer_encode(const ald_tokenizer_t *tokenizer, const char *text, size_t length,
                                  ald_vec_t *ids);
/* Appends the text (bytes) of ids to `text`; bytes that don't form UTF-8 are kept as they are.
 * Special tokens are written out, or left out with skip_special. */
ald_status_t ald_tokenizer_decode(const ald_tokenizer_t *tokenizer, const int32_t *ids,
                                  size_t count, bool skip_special, ald_vec_t *text);
/* Appends the bytes of one token as it stands within a text: with its space, which decode leaves
 * out at the beginning. Those of all tokens of a text are the text, with a space before it where
 * the tokenizer puts one; a token may be a part of a character. Nothing for an id without a token.
 */
ald_status_t ald_tokenizer_token(const ald_tokenizer_t *tokenizer, int32_t id, ald_vec_t *text);
/* The id of a token spelled exactly so (an added token, or a vocabulary entry); -1 for none. */
int32_t ald_tokenizer_find(const ald_tokenizer_t *tokenizer, const char *token);
/* Whether an id is of an added token that is marked as special. */
bool ald_tokenizer_is_special(const ald_tokenizer_t *tokenizer, int32_t id);
/* As given to open. Borrowed. */
const char *ald_tokenizer_directory(const ald_tokenizer_t *tokenizer);
/* Largest id + 1. */
int64_t ald_tokenizer_size(const ald_tokenizer_t *tokenizer);
/* The end token: eos_token of tokenizer_config.json or special_tokens_map.json (that goes first
 * without "added_tokens_decoder" in the other, as in transformers), else the first eos_token_id of
 * generation_config.json, then of config.json; -1 for none. */
int32_t ald_tokenizer_eos(const ald_tokenizer_t *tokenizer);
/* The ids, `*count` of them, that the post-processor puts before a text: mostly the BOS, none with
 * "add_bos_token": false in tokenizer_config.json. What it puts behind is left out. Borrowed. */
const int32_t *ald_tokenizer_front(const ald_tokenizer_t *tokenizer, size_t *count);
/* bos_token and the end token as spelled in those files; "" for none. Borrowed. */
const char *ald_tokenizer_bos_text(const ald_tokenizer_t *tokenizer);
const char *ald_tokenizer_eos_text(const ald_tokenizer_t *tokenizer);
/* chat_template of tokenizer_config.json (or DIR/chat_template.jinja): the only one, or the one
 * named "default", "" when none of several is; NULL for none. Borrowed. */
const char *ald_tokenizer_chat_template(const ald_tokenizer_t *tokenizer);
/* sha256 of tokenizer.json's bytes, hexadecimal. Borrowed. */
const char *ald_tokenizer_sha256(const ald_tokenizer_t *tokenizer);

#endif
