/* Chat formats: conversations rendered to text, without running their templates. Layer: text. */
#ifndef ALD_TEXT_CHAT_H
#define ALD_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/text/tokenizer.h"

typedef struct {
    char name[24];            /* "chatml", "llama3.1", "none", ...; the shard attribute
                                 `chat_format` */
    bool none;                /* strings joined as they are, no markup */
    bool unknown;             /* the tokenizer's template isn't known: rows must bring their text */
    const char *why;          /* of `unknown`: what is known about the template, or "" */
    const char *directory;    /* of the tokenizer, which owns the string */
    char default_system[512]; /* the system message of conversations without one; "": none */
    char bos[64], eos[64];    /* spelled as tokenizer_config.json has them; "": none */
    int32_t end_token;        /* closes a response: the format's, or the EOS under "none"; or -1 */
    int rules;                /* private: an ald_template_t, how the template treats roles */
} ald_chat_t;

/* A part of a rendered text that is markup of the format: [start, end) in bytes. */
typedef struct {
    size_t start, end;
} ald_chat_span_t;

/* Finds the format: `format` is data.chat_format; "auto" recognises the tokenizer's template (none
 * at all means "none"). A template that isn't known is `unknown`, and rendering is INPUT then, with
 * the command that helps. INPUT for an end token that the tokenizer lacks. Local; nothing
 * to free, but the tokenizer has to stay. */
ald_status_t ald_chat_open(ald_chat_format_t format, const ald_tokenizer_t *tokenizer,
                           ald_chat_t *out);

/* Appends the text of a prompt, generation prompt included, to `text` (a vec of bytes), and the
 * places of markup in it to `markup` (ald_chat_span_t; may be NULL). `prompt` is a JSON string (one
 * user message; under "none" the text itself) or a list of {"role","content"}. INPUT naming what is
 * wrong, without the file (the caller prefixes file and line). */
ald_status_t ald_chat_render_prompt(const ald_chat_t *chat, const ald_json_t *prompt,
                                    ald_vec_t *text, ald_vec_t *markup);
/* Appends what the format writes after the generation prompt for an answer: the content, the end
 * token and what may follow it. Under "none" the content alone. */
ald_status_t ald_chat_render_answer(const ald_chat_t *chat, const char *content, size_t length,
                                    ald_vec_t *text);
/* Appends the whole conversation as the model's template would write it. */
ald_status_t ald_chat_render(const ald_chat_t *chat, const ald_json_t *messages,
                             bool add_generation_prompt, ald_vec_t *text);

#endif
