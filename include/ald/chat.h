/* Chat formats: conversations to text, natively rendered. Layer: text. */
#ifndef ALD_CHAT_H
#define ALD_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/json.h"
#include "ald/status.h"
#include "ald/tokenizer.h"
#include "ald/vec.h"

typedef struct {
    char name[24];            /* "chatml", "chatml-qwen3", "none", ...; the shard attribute
                                 `chat_format` */
    bool none;                /* strings joined as they are, no markup */
    char default_system[512]; /* put first where a conversation has no system message; "": nothing */
    int32_t end_token;        /* closes a response: <|im_end|>, without a format the EOS; or -1 */
    int rules;                /* private: the template's treatment of roles */
} ald_chat_t;

/* Finds the format: `format` is data.chat_format; "auto" recognises the tokenizer's template (none
 * at all means "none"). INPUT for a template that isn't known or an end token that the tokenizer
 * lacks. Local; nothing to free. */
ald_status_t ald_chat_open(const char *format, const ald_tokenizer_t *tokenizer, ald_chat_t *out);

/* Appends the text of a prompt, generation prompt included, to `text` (a vec of bytes). `prompt` is
 * a JSON string (one user message; under "none" the text itself) or a list of {"role","content"}.
 * INPUT naming what is wrong, without the file (the caller prefixes file and line). */
ald_status_t ald_chat_render_prompt(const ald_chat_t *chat, const ald_json_t *prompt,
                                    ald_vec_t *text);
/* Appends the whole conversation as the model's template would write it. */
ald_status_t ald_chat_render(const ald_chat_t *chat, const ald_json_t *messages,
                             bool add_generation_prompt, ald_vec_t *text);

#endif
