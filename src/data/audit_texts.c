/* The texts of a row, without a tokenizer: the prompt, whose roles are looked at, and the answers.
 * They come by the same conversion as those that are trained on, so that counts are the stages'. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "ald/data/layout.h"
#include "ald/data/layout_convert.h"
#include "ald/data/minhash.h"
#include "ald/data/row_file.h"
#include "ald/text/words.h"
#include "data/audit_impl.h"
#include "data/pairs_row_impl.h"

void ald_audit_hash(const void *data, size_t size, uint64_t out[2])
{
    const char *at = data;
    uint64_t a = size, b = ~(uint64_t)size;
    for (size_t left = size; left > 0;) {
        const size_t taken = left < 8 ? left : 8;
        uint64_t word = 0;
        memcpy(&word, at, taken);
        a = ald_rng_mix(a, word);
        b = ald_rng_mix(b ^ word, a);
        at += taken;
        left -= taken;
    }
    out[0] = a;
    out[1] = b;
}

void ald_audit_texts_init(ald_audit_texts_t *texts)
{
    *texts = (ald_audit_texts_t){0};
    ald_vec_init(&texts->prompt, 1);
    ald_vec_init(&texts->key, 1);
    ald_vec_init(&texts->grams, sizeof(uint64_t));
    for (int i = 0; i < 3; ++i)
        ald_vec_init(&texts->words[i], sizeof(uint64_t));
}

void ald_audit_texts_clear(ald_audit_texts_t *texts)
{
    ald_json_free(texts->made);
    ald_json_free(texts->row);
    texts->made = texts->row = NULL;
    texts->prompt.count = texts->key.count = texts->grams.count = 0;
    for (int i = 0; i < 3; ++i)
        texts->words[i].count = 0;
    texts->answer[0] = texts->answer[1] = (ald_slice_t){NULL, 0};
    texts->wrong_roles = false;
    texts->skip = ALD_SKIP_NONE;
}

void ald_audit_texts_reset(ald_audit_texts_t *texts)
{
    ald_audit_texts_clear(texts);
    ald_vec_reset(&texts->prompt);
    ald_vec_reset(&texts->key);
    ald_vec_reset(&texts->grams);
    for (int i = 0; i < 3; ++i)
        ald_vec_reset(&texts->words[i]);
}

static ald_status_t check_nul(const char *text, size_t length, const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(length == 0 || memchr(text, '\0', length) == NULL, ALD_STATUS_INPUT,
              "\"%s\": contains a NUL character", key);
done:
    return status;
}

static ald_status_t put_text(ald_slice_t text, const char *key, ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(check_nul(text.data, text.length, key));
    ALD_TRY(ald_vec_append(&texts->prompt, text.data, text.length));
    ALD_TRY(ald_vec_append(&texts->key, text.data, text.length));
done:
    return status;
}

/* Whether messages are at most one of the system, then the user's and the assistant's in turn. */
static bool alternate(const ald_json_t *list)
{
    const ald_slice_t first =
        ald_slice(ald_json_text(ald_json_get(ald_json_at(list, 0), "role"), NULL));
    const size_t begin = ald_slice_is(first, "system");
    for (size_t i = begin; i < ald_json_count(list); ++i) {
        const char *role = ald_json_text(ald_json_get(ald_json_at(list, i), "role"), NULL);
        if (strcmp(role, (i - begin) % 2 == 0 ? "user" : "assistant") != 0)
            return false;
    }
    return ald_json_count(list) > begin;
}

/* Reads a prompt of several messages. The key begins each with its role, in marks that no text of
 * JSON has. */
static ald_status_t read_messages(const ald_json_t *list, ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t count = ald_json_count(list);
    ALD_CHECK(count > 0, ald_skip(&texts->skip, ALD_SKIP_NO_PROMPT), "\"prompt\" is empty");
    ALD_TRY(ald_messages_check(list, "prompt"));
    texts->wrong_roles = !alternate(list);
    const bool alone = count == 1 && !texts->wrong_roles;
    for (size_t i = 0; i < count; ++i) {
        const char *role = ald_json_text(ald_json_get(ald_json_at(list, i), "role"), NULL);
        ald_slice_t content = {NULL, 0};
        content.data =
            ald_json_text(ald_json_get(ald_json_at(list, i), "content"), &content.length);
        if (!alone)
            ALD_TRY(ald_vec_append(&texts->key, role, strlen(role) + 1));
        if (i > 0)
            ALD_TRY(ald_vec_append(&texts->prompt, "\n", 1));
        ALD_TRY(put_text(content, "prompt", texts));
        if (!alone)
            ALD_TRY(ald_vec_append(&texts->key, "", 1));
    }
    const char *last = ald_json_text(ald_json_get(ald_json_at(list, count - 1), "role"), NULL);
    ALD_CHECK(strcmp(last, "assistant") != 0, ald_skip(&texts->skip, ALD_SKIP_BEGUN),
              "\"prompt\": the last message is the assistant's");
done:
    return status;
}

static ald_status_t read_prompt(const ald_json_t *row, ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *prompt = ald_json_get(row, "prompt_text");
    ald_slice_t text = {NULL, 0};
    if (ald_json_is_null(prompt))
        prompt = ald_json_get(row, "prompt");
    if (prompt == NULL && ald_json_get(row, "text") != NULL)
        return status;
    if (ald_json_is_array(prompt))
        return read_messages(prompt, texts);
    text.data = ald_json_text(prompt, &text.length);
    ALD_CHECK(text.data != NULL, ALD_STATUS_INPUT,
              "\"prompt\": expected a string or a list of messages, found %s",
              ald_json_type_name(prompt));
    ALD_TRY(put_text(text, "prompt", texts));
done:
    return status;
}

static ald_status_t read_answer(const ald_json_t *row, const char *key, ald_audit_texts_t *texts,
                                ald_slice_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_slice_t text = {NULL, 0};
    ALD_TRY(ald_pairs_response_text(row, key, &texts->skip, &text.data, &text.length));
    ALD_TRY(check_nul(text.data, text.length, key));
    *out = text;
done:
    return status;
}

static ald_status_t read_answers(const ald_json_t *row, ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *text = ald_json_get(row, "text");
    if (text != NULL && ald_json_get(row, "prompt") == NULL) {
        texts->answer[0].data = ald_json_text(text, &texts->answer[0].length);
        ALD_CHECK(texts->answer[0].data != NULL, ALD_STATUS_INPUT,
                  "\"text\": expected a string, found %s", ald_json_type_name(text));
        return check_nul(texts->answer[0].data, texts->answer[0].length, "text");
    }
    if (ald_pairs_has_response(row, "chosen"))
        ALD_TRY(read_answer(row, "chosen", texts, &texts->answer[0]));
    else if (ald_pairs_has_response(row, "response"))
        ALD_TRY(read_answer(row, "response", texts, &texts->answer[0]));
    if (ald_pairs_has_response(row, "rejected"))
        ALD_TRY(read_answer(row, "rejected", texts, &texts->answer[1]));
done:
    return status;
}

static ald_status_t hash_words(ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_words_hash(texts->prompt.data, texts->prompt.count, &texts->words[0]));
    for (int i = 0; i < 2; ++i)
        ALD_TRY(
            ald_words_hash(texts->answer[i].data, texts->answer[i].length, &texts->words[1 + i]));
done:
    return status;
}

static ald_status_t read_texts(ald_layout_t forced, ald_layout_t layout, ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_pairs_options_t options = {.layout = forced};
    const ald_pairs_reader_t reader = {.options = &options, .layout = layout};
    ald_pairs_note_t note = {0};
    status = ald_pairs_convert(&reader, texts->row, &note, &texts->made);
    texts->skip = note.skip;
    ALD_TRY(status);
    const ald_json_t *row = texts->made != NULL ? texts->made : texts->row;
    ALD_TRY(read_prompt(row, texts));
    ALD_TRY(read_answers(row, texts));
    ALD_TRY(hash_words(texts));
done:
    return status;
}

ald_status_t ald_audit_texts_read(const ald_row_file_t *file, ald_layout_t forced,
                                  ald_layout_t layout, size_t index, ald_audit_texts_t *texts)
{
    const ald_raw_row_t *raw = &ALD_VEC_AT(&file->rows, ald_raw_row_t, index);
    ald_audit_texts_clear(texts);
    ald_status_t status = ald_row_file_parse(file, raw, &texts->row);
    if (status != ALD_STATUS_OK && file->array)
        return status; /* the message names the place */
    if (status == ALD_STATUS_OK)
        status = read_texts(forced, layout, texts);
    if (status == ALD_STATUS_OK || texts->skip != ALD_SKIP_NONE)
        return ALD_STATUS_OK;
    return ald_row_file_place(file, raw->number, status);
}

ald_status_t ald_audit_grams(const ald_audit_t *audit, ald_audit_text_t text,
                             ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    const int parts = text == ALD_AUDIT_PROMPT ? 1 : 3;
    texts->grams.count = 0;
    for (int i = 0; i < parts; ++i)
        ALD_TRY(ald_grams_make(&texts->words[i], audit->config->audit.shingle, &texts->grams));
done:
    return status;
}
