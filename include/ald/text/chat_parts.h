/* What the renderers of chat formats share: messages, pieces of text, markup. Layer: text. */
#ifndef ALD_TEXT_CHAT_PARTS_H
#define ALD_TEXT_CHAT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/chat.h"

/* A run of bytes within a message, or a literal. */
typedef struct {
    const char *data;
    size_t length;
} ald_slice_t;

/* The output of rendering a conversation: its text, and the places of the markup in it (NULL: not
 * wanted). */
typedef struct {
    ald_vec_t *text;   /* bytes */
    ald_vec_t *markup; /* ald_chat_span_t; spans that touch are united */
} ald_chat_writer_t;

/* A message of a conversation, borrowed from its JSON. */
typedef struct {
    ald_slice_t role, content;      /* content.data NULL: null or missing, beside tool calls */
    ald_slice_t reasoning;          /* reasoning.data NULL: none was given */
    const ald_json_t *json, *calls; /* calls: "tool_calls", NULL for none, null or an empty list */
} ald_message_t;

ald_slice_t ald_slice(const char *text);
bool ald_slice_is(ald_slice_t slice, const char *text);
ald_slice_t ald_slice_strip_newlines(ald_slice_t text, bool left, bool right);
bool ald_is_python_space(int32_t c); /* what Python's str.isspace says of a character */
/* The slice without white space at its ends, as Python's strip removes it. */
ald_slice_t ald_slice_strip(ald_slice_t text, bool left, bool right);
ald_slice_t ald_slice_trim(ald_slice_t text);
/* The part behind the last `mark`; all of the text when there is none. */
ald_slice_t ald_slice_after_last(ald_slice_t text, const char *mark);

ald_status_t ald_chat_put(ald_chat_writer_t *writer, ald_slice_t part);
ald_status_t ald_chat_mark(ald_chat_writer_t *writer, const char *markup);
/* The shortest digits that read back as the same finite number, laid out as Python's repr does. */
void ald_chat_real(double value, char *digits, size_t size);
/* JSON as Python's json.dumps writes it with ensure_ascii = False. */
ald_status_t ald_chat_json(ald_chat_writer_t *writer, const ald_json_t *value);

/* Reads message `index`. INPUT for what isn't a message; content that isn't a string is an error
 * unless there are calls. */
ald_status_t ald_message_read(const ald_json_t *messages, size_t index, ald_message_t *out);
/* The "function" of a call, or the call itself; INPUT unless it has a "name". */
ald_status_t ald_message_function(const ald_json_t *call, size_t index, const ald_json_t **out,
                                  ald_slice_t *name);

/* A family of formats: how it writes a list of messages, and the answer that follows the
 * generation prompt. */
typedef struct {
    ald_status_t (*render)(const ald_chat_t *chat, const ald_json_t *messages, bool generate,
                           ald_chat_writer_t *writer);
    ald_status_t (*answer)(const ald_chat_t *chat, ald_slice_t content, ald_chat_writer_t *writer);
} ald_chat_family_t;

extern const ald_chat_family_t ald_chat_chatml, ald_chat_llama3, ald_chat_llama2, ald_chat_mistral,
    ald_chat_zephyr;

#endif
