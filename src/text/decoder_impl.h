/* Makes text of tokens, as the "decoder" of tokenizer.json says. Layer: text. */
#ifndef ALD_TEXT_DECODER_IMPL_H
#define ALD_TEXT_DECODER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/bpe_impl.h"
#include "text/pretokenizer_impl.h"
#include "text/regex_impl.h"

enum { ALD_DECODER_STEPS = 16 }; /* far more than published files have */

typedef enum {
    ALD_DECODE_BYTE_LEVEL,
    ALD_DECODE_BYTE_FALLBACK, /* <0x0A> is a byte */
    ALD_DECODE_FUSE,          /* the steps after it see one token */
    ALD_DECODE_STRIP,
    ALD_DECODE_REPLACE,
    ALD_DECODE_METASPACE,
} ald_decode_t;

typedef struct {
    ald_decode_t kind;
    int64_t start, stop;   /* Strip: the most characters to remove at either end */
    char text[64];         /* Strip, Metaspace: the character; Replace: the new text */
    ald_prepend_t prepend; /* Metaspace */
    ald_regex_t *regex;    /* Replace; owned */
} ald_decode_step_t;

typedef struct {
    ald_decode_step_t steps[ALD_DECODER_STEPS];
    int count;
    bool spaced; /* the file has no decoder: tokens are joined by spaces */
    int16_t symbol_bytes[ALD_BYTE_SYMBOL_END];
} ald_decoder_t;

/* Tokens between two steps: all their text, and where each ends. */
typedef struct {
    ald_vec_t text, ends; /* bytes, size_t */
    size_t most;          /* bytes that the text may become */
    bool within;          /* they stand within a text, whose ends aren't theirs */
} ald_decoded_t;

/* INPUT naming what isn't supported, without the file; what was loaded until then is kept. */
ald_status_t ald_decoder_load(const ald_json_t *json, ald_decoder_t *out);
void ald_decoder_reset(ald_decoder_t *decoder); /* takes a zeroed one */

/* The commonest kind: ByteLevel alone, which looks at one token at a time. */
bool ald_decoder_is_plain(const ald_decoder_t *decoder);
/* Appends a token as ByteLevel reads it: bytes where every character stands for one, else itself.
 */
ald_status_t ald_decoder_put_bytes(const ald_decoder_t *decoder, const char *token, size_t length,
                                   ald_vec_t *text);

void ald_decoded_init(ald_decoded_t *tokens);
void ald_decoded_reset(ald_decoded_t *tokens);
ald_status_t ald_decoded_push(ald_decoded_t *tokens, const char *text, size_t length);
/* Appends the text of the tokens, which are used up. Bytes that don't form UTF-8 are kept. */
ald_status_t ald_decoder_run(const ald_decoder_t *decoder, ald_decoded_t *tokens, ald_vec_t *text);

#endif
