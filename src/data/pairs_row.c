#include "data/pairs_row.h"

#include <math.h>
#include <string.h>

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

/* Ids given in the file instead of text: whole numbers of the vocabulary. */
static ald_status_t read_ids(const ald_pairs_reader_t *reader, const ald_json_t *json,
                             const char *key, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t size = ald_tokenizer_size(reader->tokenizer);
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

/* Messages that a response repeats before its own must be those of the prompt. */
static bool same_message(const ald_json_t *a, const ald_json_t *b)
{
    static const char *const keys[] = {"role", "content"};
    for (int i = 0; i < 2; ++i) {
        size_t la = 0, lb = 0;
        const char *ta = ald_json_text(ald_json_get(a, keys[i]), &la);
        const char *tb = ald_json_text(ald_json_get(b, keys[i]), &lb);
        if (ta == NULL || tb == NULL || la != lb || memcmp(ta, tb, la) != 0)
            return false;
    }
    return true;
}

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
    bool same = before == ald_json_count(prompt);
    for (size_t i = 0; i < before && same; ++i)
        same = same_message(ald_json_at(list, i), ald_json_at(prompt, i));
    return same;
}

/* The text of a response: a string, or the assistant's message that ends a list. */
static ald_status_t response_text(const ald_json_t *row, const char *key, const char **text,
                                  size_t *length)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *json = ald_json_get(row, key);
    ALD_CHECK(json != NULL, ALD_STATUS_INPUT, "\"%s\" is missing; expected %s", key, wanted);
    if (ald_json_is_array(json)) {
        const ald_json_t *last = ald_json_at(json, ald_json_count(json) - 1);
        const char *role = ald_json_text(ald_json_get(last, "role"), NULL);
        ALD_CHECK(role != NULL && strcmp(role, "assistant") == 0, ALD_STATUS_INPUT,
                  "\"%s\": expected a list that ends in a message of role \"assistant\"", key);
        ALD_CHECK(ald_json_count(ald_json_get(last, "tool_calls")) == 0, ALD_STATUS_INPUT,
                  "\"%s\": \"tool_calls\" are not supported", key);
        ALD_CHECK(repeats_prompt(json, ald_json_get(row, "prompt")), ALD_STATUS_INPUT,
                  "\"%s\": expected one message of role \"assistant\", alone or after the messages "
                  "of \"prompt\"",
                  key);
        json = ald_json_get(last, "content");
    }
    *text = ald_json_text(json, length);
    ALD_CHECK(*text != NULL, ALD_STATUS_INPUT, "\"%s\": expected %s, found %s", key, wanted,
              ald_json_type_name(json));
done:
    return status;
}

static ald_status_t finish_response(const ald_pairs_reader_t *reader, const ald_vec_t *ids,
                                    bool *cut, ald_text_t *out)
{
    size_t most = (size_t)reader->max_response;
    *cut = ids->count > most;
    return keep_ids(reader, ids, 0, *cut ? most : ids->count, out);
}

static ald_status_t read_response(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  const char *key, bool *cut, ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids;
    const char *text = NULL;
    size_t length = 0;
    const ald_json_t *given =
        strcmp(key, "response") == 0 ? ald_json_get(row, "response_ids") : NULL;
    ald_vec_init(&ids, sizeof(int32_t));
    ALD_TRY(response_text(row, key, &text, &length));
    ALD_CHECK(length > 0 || given != NULL, ALD_STATUS_INPUT, "\"%s\" is empty", key);
    if (keep_text(reader, text, length, out) != ALD_STATUS_OK) {
        status = ald_status_prefix(ALD_STATUS_INPUT, "\"%s\"", key);
        goto done;
    }
    if (given != NULL) {
        ALD_TRY(read_ids(reader, given, "response_ids", &ids));
    } else {
        ALD_TRY(ald_tokenizer_encode(reader->tokenizer, text, length, &ids));
        ALD_CHECK(ids.count > 0, ALD_STATUS_INPUT, "\"%s\" has no tokens in this vocabulary", key);
        if (reader->chat->end_token >= 0)
            ALD_TRY(ald_vec_push(&ids, &reader->chat->end_token));
    }
    ALD_TRY(finish_response(reader, &ids, cut, out));
done:
    ald_vec_reset(&ids);
    return status;
}

static ald_status_t read_prompt(const ald_pairs_reader_t *reader, const ald_json_t *row, bool *cut,
                                ald_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text, ids;
    const ald_json_t *prompt = ald_json_get(row, "prompt"),
                     *given = ald_json_get(row, "prompt_ids");
    ald_vec_init(&text, 1);
    ald_vec_init(&ids, sizeof(int32_t));
    ALD_CHECK(prompt != NULL, ALD_STATUS_INPUT, "\"prompt\" is missing; expected %s", wanted);
    status = ald_chat_render_prompt(reader->chat, prompt, &text, NULL);
    if (status == ALD_STATUS_OK)
        status = keep_text(reader, text.data, text.count, out);
    if (status != ALD_STATUS_OK) {
        status = ald_status_prefix(status, "\"prompt\"");
        goto done;
    }
    if (ald_json_is_null(given))
        ALD_TRY(ald_tokenizer_encode(reader->tokenizer, text.count == 0 ? "" : text.data,
                                     text.count, &ids));
    else
        ALD_TRY(read_ids(reader, given, "prompt_ids", &ids));
    ALD_CHECK(ids.count > 0, ALD_STATUS_INPUT, "\"prompt\" is empty");
    size_t most = (size_t)reader->max_prompt, first = ids.count > most ? ids.count - most : 0;
    *cut = first > 0;
    ALD_TRY(keep_ids(reader, &ids, first, ids.count - first, out));
done:
    ald_vec_reset(&text);
    ald_vec_reset(&ids);
    return status;
}

/* A plain text, without a chat's markup. */
static ald_status_t read_text(const ald_pairs_reader_t *reader, const ald_json_t *row, bool *cut,
                              ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids;
    size_t length = 0;
    const ald_json_t *json = ald_json_get(row, "text");
    const char *text = ald_json_text(json, &length);
    const int32_t eos = ald_tokenizer_eos(reader->tokenizer);
    ald_vec_init(&ids, sizeof(int32_t));
    ALD_CHECK(text != NULL, ALD_STATUS_INPUT, "\"text\": expected a string, found %s",
              ald_json_type_name(json));
    ALD_TRY(keep_text(reader, "", 0, &out->prompt));
    if (keep_text(reader, text, length, &out->chosen) != ALD_STATUS_OK) {
        status = ald_status_prefix(ALD_STATUS_INPUT, "\"text\"");
        goto done;
    }
    ALD_TRY(ald_tokenizer_encode(reader->tokenizer, text, length, &ids));
    if (eos >= 0 && ids.count > 0 && ALD_VEC_AT(&ids, int32_t, ids.count - 1) != eos)
        ALD_TRY(ald_vec_push(&ids, &eos));
    ALD_CHECK(ids.count > 1, ALD_STATUS_INPUT, "\"text\": expected at least 2 tokens, found %zu",
              ids.count);
    const size_t most = (size_t)reader->max_response + 1,
                 kept = ids.count < most ? ids.count : most;
    *cut = kept < ids.count;
    ALD_TRY(keep_ids(reader, &ids, 0, 1, &out->prompt));
    ALD_TRY(keep_ids(reader, &ids, 1, kept - 1, &out->chosen));
done:
    ald_vec_reset(&ids);
    return status;
}

/* One for each of response_ids; a response that was cut here loses the same ones. */
static ald_status_t read_logprobs(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, "logprobs");
    size_t given = ald_json_count(ald_json_get(row, "response_ids"));
    if (ald_json_is_null(list))
        return status;
    ALD_CHECK(ald_json_is_array(list) && given > 0 && ald_json_count(list) == given,
              ALD_STATUS_INPUT, "\"logprobs\": expected a list as long as \"response_ids\", %zu",
              given);
    float *values = ALD_ARENA_ARRAY(reader->arena, float, given);
    ALD_CHECK_MEMORY(values, given * sizeof *values);
    for (size_t i = 0; i < given; ++i) {
        const ald_json_t *value = ald_json_at(list, i);
        ALD_CHECK(ald_json_is_number(value) || ald_json_is_null(value), ALD_STATUS_INPUT,
                  "\"logprobs\"[%zu]: expected a number or null, found %s", i,
                  ald_json_type_name(value));
        values[i] = (float)ald_json_number(value, NAN);
    }
    out->logprobs = values;
done:
    return status;
}

static ald_status_t read_integer(const ald_json_t *row, const char *key, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *json = ald_json_get(row, key);
    ALD_CHECK(ald_json_is_null(json) || ald_json_is_integer(json), ALD_STATUS_INPUT,
              "\"%s\": expected an integer, found %s", key, ald_json_type_name(json));
    *out = ald_json_integer(json, *out);
done:
    return status;
}

static ald_status_t read_generation(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                    bool *cuts, ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(read_response(reader, row, "response", &cuts[3], &out->response));
    ALD_TRY(read_logprobs(reader, row, out));
    ALD_TRY(read_integer(row, "sample", &out->sample));
    ALD_TRY(read_integer(row, "policy_step", &out->policy_step));
    out->id = ald_json_integer(ald_json_get(row, "id"), out->id); /* other data's ids are text */
done:
    return status;
}

static ald_status_t keep_strings(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                 const char *key, const ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, key);
    if (ald_json_is_null(list))
        return status;
    ALD_CHECK(ald_json_is_array(list), ALD_STATUS_INPUT,
              "\"%s\": expected a list of strings, found %s", key, ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list); ++i)
        ALD_CHECK(ald_json_is_string(ald_json_at(list, i)), ALD_STATUS_INPUT,
                  "\"%s\"[%zu]: expected a string, found %s", key, i,
                  ald_json_type_name(ald_json_at(list, i)));
    ald_json_t *copy = ald_json_copy(list);
    ALD_CHECK_MEMORY(copy, 1);
#pragma omp critical(ald_pairs_kept)
    status = ald_vec_push(reader->kept, &copy);
    if (status == ALD_STATUS_OK)
        *out = copy;
    else
        ald_json_free(copy);
done:
    return status;
}

/* Which of the three responses this row is read for. */
static int needed(const ald_pairs_reader_t *reader, const ald_json_t *row)
{
    int need = (int)reader->need;
    if ((need & ALD_PAIRS_PRESENT) != 0 && ald_json_get(row, "chosen") != NULL &&
        ald_json_get(row, "rejected") != NULL)
        return need | ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED;
    if ((need & ALD_PAIRS_SCORED) == 0)
        return need;
    return ald_json_get(row, "response") != NULL ? ALD_PAIRS_RESPONSE
                                                 : ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED;
}

ald_status_t ald_pairs_read_row(const ald_pairs_reader_t *reader, const ald_json_t *json,
                                ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool *cuts = reader->cuts + 4 * (out - reader->rows);
    int need = needed(reader, json);
    out->policy_step = -1;
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "expected an object, found %s",
              ald_json_type_name(json));
    if ((need & ALD_PAIRS_TEXT) && ald_json_get(json, "prompt") == NULL &&
        ald_json_get(json, "text") != NULL)
        return read_text(reader, json, &cuts[1], out);
    ALD_TRY(read_prompt(reader, json, &cuts[0], &out->prompt));
    if (need & ALD_PAIRS_CHOSEN)
        ALD_TRY(read_response(reader, json, "chosen", &cuts[1], &out->chosen));
    if (need & ALD_PAIRS_REJECTED)
        ALD_TRY(read_response(reader, json, "rejected", &cuts[2], &out->rejected));
    if (need & ALD_PAIRS_RESPONSE)
        ALD_TRY(read_generation(reader, json, cuts, out));
    ALD_TRY(keep_strings(reader, json, "required", &out->required));
    ALD_TRY(keep_strings(reader, json, "forbidden", &out->forbidden));
done:
    return status;
}
