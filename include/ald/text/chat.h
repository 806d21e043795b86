/* Chat formats: conversations rendered to text, as the model's chat template does. Layer: text. */
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
    char name[24];            /* "chatml", "llama3.1", "none", ...; "jinja-" and 12 digits of the
                                 template's sha256; the shard attribute `chat_format` */
    bool none;                /* strings joined as they are, no markup */
    bool unknown;             /* the template can't be rendered: rows must bring their text */
    char why[200];            /* of `unknown`: what in the template isn't known */
    struct ald_jinja *jinja;  /* the template, where it is run; owned, else NULL */
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

/* Finds the format: `format` is data.chat_format; "auto" takes the tokenizer's template (none at
 * all means "none"): one that is recognised has its renderer, another is run. One that uses what
 * isn't known here is `unknown`, and rendering is INPUT then, with the command that helps. INPUT
 * for an end token that the tokenizer lacks. Local; the tokenizer has to stay. Freed by
 * ald_chat_close. */
ald_status_t ald_chat_open(ald_chat_format_t format, const ald_tokenizer_t *tokenizer,
                           ald_chat_t *out);

void ald_chat_close(ald_chat_t *chat); /* takes a zeroed one, and one that failed to open */

/* Appends the text of a prompt, generation prompt included, to `text` (a vec of bytes), and the
 * places of markup in it to `markup` (ald_chat_span_t; may be NULL). `prompt` is a JSON string (one
 * user message; under "none" the text itself) or a list of {"role","content"}. INPUT naming what is
 * wrong, without the file (the caller prefixes file and line). */
ald_status_t ald_chat_render_prompt(const ald_chat_t *chat, const ald_json_t *prompt,
                                    ald_vec_t *text, ald_vec_t *markup);
/* Turns `text`, that of a prompt, into that of prompt and answer: mostly by appending the content,
 * the end token and what may follow it (under "none" the content alone). A template that is run
 * writes all anew, so that only what both texts begin with is shared. `prompt` is as above, or NULL
 * where the text was made elsewhere: INPUT with a template that is run. */
ald_status_t ald_chat_render_answer(const ald_chat_t *chat, const ald_json_t *prompt,
                                    const char *content, size_t length, ald_vec_t *text);
/* Appends the whole conversation as the model's template would write it. */
ald_status_t ald_chat_render(const ald_chat_t *chat, const ald_json_t *messages,
                             bool add_generation_prompt, ald_vec_t *text);

#endif
