/* Makes tokens of one row. A response's tokens are those of the whole conversation behind the
 * prompt's, since a tokenizer may join the end of a prompt with what follows it. */
#include "data/pairs_row_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/layout_convert.h"
#include "ald/data/members.h"
#include "ald/data/pairs.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"

static const char *const wanted = "a string or a list of messages";

/* Copies ids into the arena, `count` of them from `first`. */
static ald_status_t keep_ids(const ald_pairs_reader_t *reader, const ald_vec_t *ids, size_t first,
                             size_t count, ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int32_t *copy = ALD_ARENA_ARRAY(reader->arena, int32_t, count + 1);
    ALD_CHECK_MEMORY(copy, count * sizeof *copy);
    if (count > 0)
        memcpy(copy, (const int32_t *)ids->data + first, count * sizeof *copy);
    out->ids = copy;
    out->count = (int64_t)count;
done:
    return status;
}

static ald_status_t keep_text(const ald_pairs_reader_t *reader, const char *text, size_t length,
                              ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(length == 0 || memchr(text, '\0', length) == NULL, ALD_STATUS_INPUT,
              "contains a NUL character");
    out->text = ald_arena_strdup(reader->arena, length == 0 ? "" : text, length);
    ALD_CHECK_MEMORY(out->text, length);
done:
    return status;
}

/* Reads ids that the file has in place of text: integers within the vocabulary. */
static ald_status_t read_ids(const ald_pairs_reader_t *reader, const ald_json_t *json,
                             const char *key, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t size = ald_tokenizer_size(reader->options->tokenizer);
    ALD_CHECK(ald_json_is_array(json) && ald_json_count(json) > 0, ALD_STATUS_INPUT,
              "\"%s\": expected a list of token ids, found %s", key,
              ald_json_is_array(json) ? "an empty one" : ald_json_type_name(json));
    for (size_t i = 0; i < ald_json_count(json); ++i) {
        int64_t id = ald_json_integer(ald_json_at(json, i), -1);
        int32_t narrow = (int32_t)id;
        ALD_CHECK(id >= 0 && id < size, ALD_STATUS_INPUT,
                  "\"%s\"[%zu]: expected a token id from 0 to %lld", key, i, (long long)size - 1);
        ALD_TRY(ald_vec_push(ids, &narrow));
    }
done:
    return status;
}

static bool has_role(const ald_json_t *message, const char *role)
{
    const char *found = ald_json_text(ald_json_get(message, "role"), NULL);
    return found != NULL && strcmp(found, role) == 0;
}

/* Whether the messages that a response has before its answer are those of the prompt, whose system
 * message may be missing there. */
static bool repeats_prompt(const ald_json_t *list, const ald_json_t *prompt)
{
    size_t before = ald_json_count(list) - 1, length = 0, prompt_length = 0;
    if (before == 0)
        return true;
    const char *text = ald_json_text(prompt, &prompt_length);
    if (text != NULL) {
        const char *first = ald_json_text(ald_json_get(ald_json_at(list, 0), "content"), &length);
        return before == 1 && first != NULL && length == prompt_length &&
               memcmp(first, text, length) == 0;
    }
    size_t first =
        ald_json_count(prompt) == before + 1 && has_role(ald_json_at(prompt, 0), "system");
    bool same = before + first == ald_json_count(prompt);
    for (size_t i = 0; i < before && same; ++i)
        same = ald_messages_same(ald_json_at(list, i), ald_json_at(prompt, i + first));
    return same;
}

/* The member KEY_text: a part of the conversation that is taken as it is, markup included. */
static const ald_json_t *given_text(const ald_json_t *row, const char *key)
{
    char name[32];
    snprintf(name, sizeof name, "%s_text", key);
    const ald_json_t *json = ald_json_get(row, name);
    bool chosen = strcmp(key, "chosen") == 0;
    if (json == NULL && chosen && ald_json_get(row, key) == NULL)
        json = ald_json_get(row, "response_text"); /* of a row with one response */
    return json;
}

bool ald_pairs_has_response(const ald_json_t *row, const char *key)
{
    return ald_json_get(row, key) != NULL || given_text(row, key) != NULL;
}

/* Finds the assistant's message that ends a list, in which at most the prompt comes before it. */
static ald_status_t last_content(const ald_json_t *row, const char *key, ald_skip_t *skip,
                                 const ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, key);
    ALD_TRY(ald_messages_check(list, key));
    const ald_json_t *last = ald_json_at(list, ald_json_count(list) - 1);
    ALD_CHECK(has_role(last, "assistant"), ald_skip(skip, ALD_SKIP_NO_ASSISTANT),
              "\"%s\": expected a list that ends in a message of role \"assistant\"", key);
    ALD_CHECK(ald_json_count(ald_json_get(last, "tool_calls")) == 0,
              ald_skip(skip, ALD_SKIP_REFUSED), "\"%s\": \"tool_calls\" are not supported", key);
    ALD_CHECK(repeats_prompt(list, ald_json_get(row, "prompt")), ald_skip(skip, ALD_SKIP_PROMPTS),
              "\"%s\": expected one message of role \"assistant\", alone or after the messages "
              "of \"prompt\"",
              key);
    *out = ald_json_get(last, "content");
done:
    return status;
}

ald_status_t ald_pairs_response_text(const ald_json_t *row, const char *key, ald_skip_t *skip,
                                     const char **text, size_t *length)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *given = given_text(row, key);
    const ald_json_t *json = given != NULL ? given : ald_json_get(row, key);
    if (json == NULL && strcmp(key, "chosen") == 0 && ald_json_get(row, "response_ids") == NULL)
        json = ald_json_get(row, "response"); /* the one answer of a row without others */
    ALD_CHECK(json != NULL, ALD_STATUS_INPUT, "\"%s\" is missing; expected %s", key, wanted);
    if (given == NULL && ald_json_is_array(json))
        ALD_TRY(last_content(row, key, skip, &json));
    *text = ald_json_text(json, length);
    ALD_CHECK(*text != NULL, ALD_STATUS_INPUT, "\"%s\": expected %s, found %s", key, wanted,
              ald_json_type_name(json));
done:
    return status;
}

/* A row between text and tokens. The tokens of a response are those of the whole conversation after
 * the tokens of the prompt. */
typedef struct {
    ald_vec_t text;           /* of the prompt, as rendered or given */
    ald_vec_t markup;         /* ald_chat_span_t in it */
    ald_vec_t ids;            /* of the prompt alone */
    ald_vec_t whole;          /* text of prompt and answer */
    const ald_json_t *prompt; /* that was rendered; NULL: its text was given */
    bool joined;              /* responses are tokenised together with the prompt's text */
    size_t shared;            /* how many of `ids` begin every response's conversation */
    ald_pairs_note_t *note;
    struct {
        ald_vec_t ids; /* of the conversation, after the first `shared` ones of the prompt */
        size_t shared;
        ald_text_t *out; /* NULL: not read */
        bool *cut;
    } responses[3];
} row_t;

static void row_init(row_t *row, ald_pairs_note_t *note)
{
    memset(row, 0, sizeof *row);
    row->note = note;
    ald_vec_init(&row->text, 1);
    ald_vec_init(&row->whole, 1);
    ald_vec_init(&row->markup, sizeof(ald_chat_span_t));
    ald_vec_init(&row->ids, sizeof(int32_t));
    for (int i = 0; i < 3; ++i)
        ald_vec_init(&row->responses[i].ids, sizeof(int32_t));
}

static void row_reset(row_t *row)
{
    ald_vec_reset(&row->text);
    ald_vec_reset(&row->whole);
    ald_vec_reset(&row->markup);
    ald_vec_reset(&row->ids);
    for (int i = 0; i < 3; ++i)
        ald_vec_reset(&row->responses[i].ids);
}

/* Drops what the format writes after the end token, mostly a newline: it isn't part of the answer.
 */
static ald_status_t drop_after_end(const ald_pairs_reader_t *reader, size_t shared,
                                   ald_skip_t *skip, ald_vec_t *ids)
{
    size_t count = ids->count;
    while (count > shared &&
           ALD_VEC_AT(ids, int32_t, count - 1) != reader->options->chat->end_token)
        --count;
    if (count == shared)
        return ald_status_raise(ald_skip(skip, ALD_SKIP_BOUNDARY),
                                "the end token is not among its tokens");
    ids->count = count;
    return ALD_STATUS_OK;
}

static void drop_first(ald_vec_t *ids, size_t count)
{
    int32_t *data = ids->data;
    ids->count -= count;
    if (ids->count > 0)
        memmove(data, data + count, ids->count * sizeof *data);
}

typedef struct {
    const char *data;
    size_t length;
} text_span_t;

/* Whether the text of prompt and answer begins with the prompt's, up to the markup at its end,
 * which a template may write otherwise before an answer that is there. */
static bool begins_with_prompt(const row_t *row)
{
    size_t needed = row->text.count, same = 0;
    if (row->markup.count > 0) {
        const ald_chat_span_t last =
            ALD_VEC_AT(&row->markup, ald_chat_span_t, row->markup.count - 1);
        needed = last.end == needed ? last.start : needed;
    }
    const char *a = row->text.data, *b = row->whole.data;
    while (same < needed && same < row->whole.count && a[same] == b[same])
        ++same;
    return same == needed;
}

/* Makes the text of prompt and response. */
static ald_status_t join_text(const ald_pairs_reader_t *reader, row_t *row, text_span_t text,
                              bool given)
{
    ald_status_t status = ALD_STATUS_OK;
    row->whole.count = 0;
    ALD_TRY(ald_vec_append(&row->whole, row->text.data, row->text.count));
    if (given)
        return ald_vec_append(&row->whole, text.data, text.length);
    status = ald_chat_render_answer(reader->options->chat, row->prompt, text.data, text.length,
                                    &row->whole);
    if (status == ALD_STATUS_INPUT && !reader->options->chat->unknown)
        ald_skip(&row->note->skip, ALD_SKIP_REFUSED);
    ALD_TRY(status);
    ALD_CHECK(begins_with_prompt(row), ald_skip(&row->note->skip, ALD_SKIP_BOUNDARY),
              "where it begins cannot be found: the chat template writes the prompt otherwise "
              "before an answer");
done:
    return status;
}

/* Tokenises prompt and response as one text. The response begins where the tokens differ from those
 * of the prompt alone. */
static ald_status_t encode_joined(const ald_pairs_reader_t *reader, row_t *row, const char *text,
                                  size_t length, bool given, int slot)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *ids = &row->responses[slot].ids;
    size_t shared = 0;
    ALD_TRY(join_text(reader, row, (text_span_t){text, length}, given));
    ALD_TRY(
        ald_tokenizer_encode(reader->options->tokenizer, row->whole.data, row->whole.count, ids));
    while (shared < ids->count && shared < row->ids.count &&
           ALD_VEC_AT(ids, int32_t, shared) == ALD_VEC_AT(&row->ids, int32_t, shared))
        ++shared;
    ALD_CHECK(shared > 0, ald_skip(&row->note->skip, ALD_SKIP_BOUNDARY),
              "where it begins cannot be found: its conversation's tokens have nothing in common "
              "with the prompt's");
    if (!given)
        ALD_TRY(drop_after_end(reader, shared, &row->note->skip, ids));
    ALD_CHECK(ids->count > shared + (given || shared < row->ids.count ? 0 : 1),
              ald_skip(&row->note->skip, ALD_SKIP_TOKENS), "has no tokens in this vocabulary");
    drop_first(ids, shared);
    row->responses[slot].shared = shared;
    row->shared = shared < row->shared ? shared : row->shared;
done:
    return status;
}

static ald_status_t encode_alone(const ald_pairs_reader_t *reader, const char *text, size_t length,
                                 ald_skip_t *skip, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_tokenizer_encode(reader->options->tokenizer, text, length, ids));
    ALD_CHECK(ids->count > 0, ald_skip(skip, ALD_SKIP_TOKENS), "has no tokens in this vocabulary");
    if (reader->options->chat->end_token >= 0)
        ALD_TRY(ald_vec_push(ids, &reader->options->chat->end_token));
done:
    return status;
}

static ald_status_t read_response(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                  const char *key, int slot, row_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *text = NULL;
    size_t length = 0;
    ald_vec_t *ids = &row->responses[slot].ids;
    const ald_json_t *given = slot == 2 ? ald_json_get(json, "response_ids") : NULL;
    bool as_is = given_text(json, key) != NULL;
    row->responses[slot].shared = row->ids.count;
    ALD_TRY(ald_pairs_response_text(json, key, &row->note->skip, &text, &length));
    ALD_CHECK(length > 0 || given != NULL, ald_skip(&row->note->skip, ALD_SKIP_EMPTY),
              "\"%s\" is empty", key);
    status = keep_text(reader, text, length, row->responses[slot].out);
    if (status == ALD_STATUS_OK && given != NULL)
        return read_ids(reader, given, "response_ids", ids);
    if (status == ALD_STATUS_OK)
        status = row->joined ? encode_joined(reader, row, text, length, as_is, slot)
                             : encode_alone(reader, text, length, &row->note->skip, ids);
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "\"%s\"", key);
done:
    return status;
}

/* An answer that goes on with a turn of the prompt's would need a format without the turn's end. */
static ald_status_t check_prompt(const ald_chat_t *chat, const ald_json_t *prompt, ald_skip_t *skip)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(prompt != NULL, ALD_STATUS_INPUT, "\"prompt\" is missing; expected %s", wanted);
    if (ald_json_is_string(prompt))
        return status;
    ALD_CHECK(ald_json_is_array(prompt), ALD_STATUS_INPUT, "\"prompt\": expected %s, found %s",
              wanted, ald_json_type_name(prompt));
    ALD_CHECK(ald_json_count(prompt) > 0, ald_skip(skip, ALD_SKIP_NO_PROMPT),
              "\"prompt\": the list of messages is empty");
    ALD_TRY(ald_messages_check(prompt, "prompt"));
    ALD_CHECK(
        chat->none || !has_role(ald_json_at(prompt, ald_json_count(prompt) - 1), "assistant"),
        ald_skip(skip, ALD_SKIP_BEGUN),
        "\"prompt\": the last message is the assistant's, which an answer can't go on with in "
        "chat format %s",
        chat->name);
done:
    return status;
}

/* Makes the text of the prompt: "prompt_text" as it is, or the prompt rendered. */
static ald_status_t prompt_text(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                row_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *prompt = ald_json_get(json, "prompt"), *given = given_text(json, "prompt");
    size_t length = 0;
    const char *text = ald_json_text(given, &length);
    ALD_CHECK(given == NULL || text != NULL, ALD_STATUS_INPUT,
              "\"prompt_text\": expected a string, found %s", ald_json_type_name(given));
    if (text == NULL && !ald_json_is_null(ald_json_get(json, "prompt_ids")))
        text = ald_json_text(prompt,
                             &length); /* `generate` wrote ids beside it, and has rendered it */
    if (text != NULL)
        return ald_vec_append(&row->text, text, length);
    ALD_TRY(check_prompt(reader->options->chat, prompt, &row->note->skip));
    row->prompt = prompt;
    status = ald_chat_render_prompt(reader->options->chat, prompt, &row->text, &row->markup);
    if (status == ALD_STATUS_INPUT && !reader->options->chat->unknown)
        ald_skip(&row->note->skip,
                 ALD_SKIP_REFUSED); /* its types are right, so the row isn't damaged */
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "\"prompt\"");
done:
    return status;
}

/* Tokenises a text without markup: behind the tokens that the post-processor puts before it, unless
 * the text begins with them itself. */
static ald_status_t encode_raw(const ald_pairs_reader_t *reader, const char *text, size_t length,
                               ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t count = 0;
    const int32_t *front = ald_tokenizer_front(reader->options->tokenizer, &count);
    if (length > 0)
        ALD_TRY(ald_vec_append(ids, front, count));
    ALD_TRY(ald_tokenizer_encode(reader->options->tokenizer, length == 0 ? "" : text, length, ids));
    if (count > 0 && ids->count >= 2 * count &&
        memcmp((const int32_t *)ids->data + count, front, count * sizeof *front) == 0)
        drop_first(ids, count);
done:
    return status;
}

static ald_status_t read_prompt(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                row_t *row, ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *given = ald_json_get(json, "prompt_ids");
    ALD_TRY(prompt_text(reader, json, row));
    status = keep_text(reader, row->text.data, row->text.count, out);
    if (status != ALD_STATUS_OK) {
        status = ald_status_prefix(status, "\"prompt\"");
        goto done;
    }
    bool rendered = !reader->options->chat->none || given_text(json, "prompt") != NULL;
    if (!ald_json_is_null(given))
        ALD_TRY(read_ids(reader, given, "prompt_ids", &row->ids));
    else if (rendered)
        ALD_TRY(ald_tokenizer_encode(reader->options->tokenizer,
                                     row->text.count == 0 ? "" : row->text.data, row->text.count,
                                     &row->ids));
    else
        ALD_TRY(encode_raw(reader, row->text.data, row->text.count, &row->ids));
    ALD_CHECK(row->ids.count > 0, ald_skip(&row->note->skip, ALD_SKIP_NO_PROMPT),
              "\"prompt\" is empty");
    row->shared = row->ids.count;
    row->joined = ald_json_is_null(given) && rendered;
done:
    return status;
}

/* Where token `index` begins in the text of the prompt: after what the tokens before it spell, and
 * what the decoder removes at the front of every text. */
static ald_status_t token_offset(const ald_pairs_reader_t *reader, const row_t *row, size_t index,
                                 size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_tokenizer_decode(reader->options->tokenizer, row->ids.data, row->ids.count, false,
                                 &text));
    size_t lost = row->text.count > text.count ? row->text.count - text.count : 0;
    text.count = 0;
    ALD_TRY(ald_tokenizer_decode(reader->options->tokenizer, row->ids.data, index, false, &text));
    *out = text.count + lost;
done:
    ald_vec_reset(&text);
    return status;
}

/* Moves a cut that falls into markup to the end of that markup. */
static ald_status_t leave_markup(const ald_pairs_reader_t *reader, const row_t *row, size_t *first)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = 0, end = 0;
    ALD_TRY(token_offset(reader, row, *first, &at));
    for (size_t i = 0; i < row->markup.count; ++i) {
        const ald_chat_span_t *span = &ALD_VEC_AT(&row->markup, ald_chat_span_t, i);
        if (span->start < at && at < span->end)
            end = span->end;
    }
    while (at < end && *first < row->shared) {
        ++*first;
        ALD_TRY(token_offset(reader, row, *first, &at));
    }
    ALD_CHECK(*first < row->shared, ALD_STATUS_INPUT,
              "\"prompt\": the chat markup before the answer is longer than "
              "data.max_prompt_tokens = %lld",
              (long long)reader->options->max_prompt);
done:
    return status;
}

static ald_status_t finish_prompt(const ald_pairs_reader_t *reader, const row_t *row, bool *cut,
                                  ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t most = (size_t)reader->options->max_prompt, count = row->shared,
           first = count > most ? count - most : 0;
    *cut = first > 0;
    if (first > 0 && row->markup.count > 0)
        ALD_TRY(leave_markup(reader, row, &first));
    ALD_TRY(keep_ids(reader, &row->ids, first, count - first, out));
done:
    return status;
}

/* Puts the tokens of the prompt that not all responses share in front of this response, and cuts
 * it.
 */
static ald_status_t finish_response(const ald_pairs_reader_t *reader, row_t *row, int slot)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t whole, *ids = &row->responses[slot].ids;
    size_t most = (size_t)reader->options->max_response,
           before = row->responses[slot].shared - row->shared;
    ald_vec_init(&whole, sizeof(int32_t));
    ALD_TRY(ald_vec_append(&whole, (const int32_t *)row->ids.data + row->shared, before));
    ALD_TRY(ald_vec_append(&whole, ids->data, ids->count));
    *row->responses[slot].cut = whole.count > most;
    ALD_TRY(keep_ids(reader, &whole, 0, whole.count > most ? most : whole.count,
                     row->responses[slot].out));
done:
    ald_vec_reset(&whole);
    return status;
}

/* Reads a row {"text"}, which has no markup. */
static ald_status_t read_text(const ald_pairs_reader_t *reader, const ald_json_t *row,
                              ald_pairs_note_t *note, ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids;
    size_t length = 0;
    const ald_json_t *json = ald_json_get(row, "text");
    const char *text = ald_json_text(json, &length);
    const int32_t eos = ald_tokenizer_eos(reader->options->tokenizer);
    ald_vec_init(&ids, sizeof(int32_t));
    ALD_CHECK(text != NULL, ALD_STATUS_INPUT, "\"text\": expected a string, found %s",
              ald_json_type_name(json));
    ALD_TRY(keep_text(reader, "", 0, &out->prompt));
    if (keep_text(reader, text, length, &out->chosen) != ALD_STATUS_OK) {
        status = ald_status_prefix(ALD_STATUS_INPUT, "\"text\"");
        goto done;
    }
    ALD_TRY(encode_raw(reader, text, length, &ids));
    if (eos >= 0 && ids.count > 0 && ALD_VEC_AT(&ids, int32_t, ids.count - 1) != eos)
        ALD_TRY(ald_vec_push(&ids, &eos));
    ALD_CHECK(ids.count > 1, ALD_STATUS_INPUT, "\"text\": expected at least 2 tokens, found %zu",
              ids.count);
    const size_t most = (size_t)reader->options->max_response + 1,
                 kept = ids.count < most ? ids.count : most;
    note->cut[1] = kept < ids.count;
    ALD_TRY(keep_ids(reader, &ids, 0, 1, &out->prompt));
    ALD_TRY(keep_ids(reader, &ids, 1, kept - 1, &out->chosen));
done:
    ald_vec_reset(&ids);
    return status;
}

/* Which of the three responses are read from this row. */
static int needed(const ald_pairs_reader_t *reader, const ald_json_t *row)
{
    int need = (int)reader->options->need;
    if ((need & ALD_PAIRS_PRESENT) != 0 && ald_pairs_has_response(row, "chosen") &&
        ald_pairs_has_response(row, "rejected"))
        return need | ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED;
    if ((need & ALD_PAIRS_SCORED) == 0)
        return need;
    bool ranked = ald_pairs_has_response(row, "chosen") && ald_pairs_has_response(row, "rejected");
    return ald_pairs_has_response(row, "response") && !ranked
               ? ALD_PAIRS_RESPONSE
               : ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED;
}

static ald_status_t read_conversation(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                      int need, row_t *row, ald_pair_t *out)
{
    static const char *const keys[] = {"chosen", "rejected", "response"};
    static const int needs[] = {ALD_PAIRS_CHOSEN, ALD_PAIRS_REJECTED, ALD_PAIRS_RESPONSE};
    ald_text_t *const texts[] = {&out->chosen, &out->rejected, &out->response};
    ald_status_t status = ALD_STATUS_OK;
    bool *cuts = row->note->cut;
    ALD_TRY(read_prompt(reader, json, row, &out->prompt));
    for (int i = 0; i < 3; ++i) {
        if ((need & needs[i]) == 0)
            continue;
        row->responses[i].out = texts[i];
        row->responses[i].cut = &cuts[1 + i];
        ALD_TRY(read_response(reader, json, keys[i], i, row));
    }
    ALD_TRY(finish_prompt(reader, row, &cuts[0], &out->prompt));
    for (int i = 0; i < 3; ++i)
        if (row->responses[i].out != NULL)
            ALD_TRY(finish_response(reader, row, i));
    row->note->boundary = row->shared < row->ids.count;
done:
    return status;
}

/* INPUT when the row has another layout than the file, or none. */
static ald_status_t check_layout(const ald_pairs_reader_t *reader, const ald_json_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_layout_t found = ald_layout_of(row);
    ALD_CHECK(found != ALD_LAYOUT_AUTO || reader->options->layout != ALD_LAYOUT_AUTO ||
                  !ald_layout_is_plain(reader->layout),
              ALD_STATUS_INPUT,
              "\"prompt\" is missing; expected %s, or the members of another layout (%s: "
              "src/data/README.md has a row of each)",
              wanted, ald_choice_names(ALD_CHOICES_DATA_LAYOUTS) + strlen("auto|"));
    if (reader->options->layout != ALD_LAYOUT_AUTO || found == ALD_LAYOUT_AUTO)
        return status; /* the layout is forced, or a missing member gets a message of its own */
    ALD_CHECK(ald_layouts_mix(found, reader->layout), ALD_STATUS_INPUT,
              "a row of layout \"%s\" in a file of layout \"%s\" (that of its first rows)",
              ald_layout_name(found), ald_layout_name(reader->layout));
done:
    return status;
}

static bool is_tie(const ald_json_t *row)
{
    const ald_json_t *chosen = ald_json_get(row, "score_chosen"),
                     *rejected = ald_json_get(row, "score_rejected");
    return ald_json_is_number(chosen) && ald_json_is_number(rejected) &&
           ald_json_number(chosen, 0) == ald_json_number(rejected, 0);
}

/* Reads a row that has prompt and answers as members. */
static ald_status_t read_plain(const ald_pairs_reader_t *reader, const ald_json_t *json,
                               ald_pairs_note_t *note, ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int need = needed(reader, json);
    row_t row;
    row_init(&row, note);
    if ((need & ALD_PAIRS_TEXT) && ald_json_get(json, "prompt") == NULL &&
        ald_json_get(json, "text") != NULL)
        return read_text(reader, json, note, out);
    ALD_TRY(read_conversation(reader, json, need, &row, out));
    if (need & ALD_PAIRS_RESPONSE)
        ALD_TRY(ald_pairs_read_generation(reader, json, out));
done:
    row_reset(&row);
    return status;
}

ald_status_t ald_pairs_convert(const ald_pairs_reader_t *reader, const ald_json_t *json,
                               ald_pairs_note_t *note, ald_json_t **made)
{
    ald_status_t status = ALD_STATUS_OK;
    bool unread = false;
    *made = NULL;
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "expected an object, found %s",
              ald_json_type_name(json));
    ALD_TRY(check_layout(reader, json));
    note->unread = ald_members_unread(reader->layout, json);
    ALD_TRY(ald_layout_convert(reader->layout, json, &note->skip, made));
    ALD_TRY(ald_system_put(reader->layout, json, made, &unread));
    note->unread |= (unsigned)unread << ALD_MEMBER_SYSTEM;
done:
    return status;
}

ald_status_t ald_pairs_read_row(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                ald_pair_t *out, ald_pairs_note_t *note)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *made = NULL;
    out->policy_step = -1;
    ALD_TRY(ald_pairs_convert(reader, json, note, &made));
    ALD_TRY(read_plain(reader, made != NULL ? made : json, note, out));
    ALD_TRY(ald_pairs_keep_extra(reader, json, out));
    note->tie = is_tie(json);
done:
    ald_json_free(made);
    return status;
}
