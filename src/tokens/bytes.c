/* The bytes of a token, which need not be whole characters: a tokenizer of bytes may cut one in
 * two. Writers show them as text where they are, and as hexadecimal digits where not. */
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/tokenizer.h"
#include "ald/tokens/table.h"
#include "tokens/write_impl.h"

ald_status_t ald_token_bytes(const ald_tokens_t *tokens, int32_t id, ald_vec_t *text)
{
    text->count = 0;
    if (tokens->tokenizer == NULL)
        return ald_vec_append(text, "", 0);
    return ald_tokenizer_token(tokens->tokenizer, id, text);
}

ald_status_t ald_token_hex(const ald_vec_t *bytes, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < bytes->count; ++i)
        ALD_TRY(ald_vec_printf(out, "%02x", ALD_VEC_AT(bytes, unsigned char, i)));
done:
    return status;
}
