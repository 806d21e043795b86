/* What the texts of one row show by themselves: each measure is a small function with its reason in
 * one table. They go by patterns, and their page (src/data/AUDIT.md) says what each can't see. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/data/minhash.h"
#include "ald/text/chat_parts.h"
#include "ald/text/figures.h"
#include "ald/text/words.h"
#include "data/audit_impl.h"

const char *const ald_audit_refusals[] = {
    "i'm sorry, but",
    "i am sorry, but",
    "sorry, but i can",
    "i cannot help",
    "i can't help",
    "i cannot assist",
    "i can't assist",
    "i cannot provide",
    "i can't provide",
    "i cannot fulfill",
    "i can't fulfill",
    "i cannot comply",
    "i can't comply",
    "i cannot answer",
    "i can't answer",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i won't be able to",
    "i must decline",
    "i'm not comfortable",
    "i am not comfortable",
    "as an ai language model",
    "as an ai assistant, i can",
    NULL,
};

ald_status_t ald_audit_phrases(const char *path, const char *const *standard, ald_json_t **out)
{
    if (path[0] != '\0')
        return ald_phrases_read(path, out);
    *out = ald_json_new_array();
    for (; standard != NULL && *standard != NULL; ++standard)
        ald_json_push(*out, ald_json_new_string(*standard));
    return ALD_STATUS_OK;
}

static bool is_blank(ald_slice_t text)
{
    return ald_slice_trim(text).length == 0;
}

static ald_slice_t prompt_of(const ald_audit_texts_t *texts)
{
    return (ald_slice_t){texts->prompt.data, texts->prompt.count};
}

static bool is_text_row(const ald_audit_texts_t *texts)
{
    return ald_json_get(texts->row, "text") != NULL && ald_json_get(texts->row, "prompt") == NULL;
}

static bool is_empty(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    (void)audit;
    bool empty = !is_text_row(texts) && is_blank(prompt_of(texts));
    for (int i = 0; i < 2; ++i)
        empty = empty || (texts->answer[i].data != NULL && is_blank(texts->answer[i]));
    return empty;
}

static bool is_same(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    (void)audit;
    const ald_slice_t a = texts->answer[0], b = texts->answer[1];
    return a.data != NULL && b.data != NULL && a.length == b.length &&
           memcmp(a.data, b.data, a.length) == 0;
}

static bool has_wrong_roles(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    (void)audit;
    return texts->wrong_roles;
}

/* Of 20 words or more, and the last character is a letter, a digit, a comma or an opening bracket;
 * or the row says that generation didn't end. */
static bool is_unfinished(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    enum { FEWEST = 20 };
    (void)audit;
    const ald_slice_t text = ald_slice_trim(texts->answer[0]);
    if (text.data == NULL)
        return false;
    if (!ald_json_bool(ald_json_get(texts->row, "finished"), true))
        return true;
    if (texts->words[1].count < FEWEST || text.length == 0)
        return false;
    const char last = text.data[text.length - 1];
    return isalnum((unsigned char)last) || strchr(",([{", last) != NULL;
}

/* Of 20 n-grams or more, more than half occur earlier in the answer. */
static bool is_repeated(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    enum { FEWEST = 20 };
    texts->grams.count = 0;
    if (ald_grams_make(&texts->words[1], audit->config->audit.shingle, &texts->grams) !=
        ALD_STATUS_OK)
        return false;
    const size_t all = texts->grams.count;
    ald_grams_sort(&texts->grams);
    return all >= FEWEST && texts->grams.count * 2 < all;
}

static bool differs_in_script(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    (void)audit;
    ald_script_t script[2];
    for (int i = 0; i < 2; ++i)
        script[i] = ald_script_main(texts->answer[i].data, texts->answer[i].length);
    return script[0] != script[1] && script[0] != ALD_SCRIPT_NONE && script[1] != ALD_SCRIPT_NONE;
}

/* Copies the beginning of a text with ' for the typographic apostrophe. */
static void plain_beginning(ald_slice_t text, char *out, size_t size)
{
    static const char apostrophe[] = "\xE2\x80\x99";
    size_t used = 0;
    for (size_t i = 0; i < text.length && used + 1 < size; ++i) {
        const bool mark =
            i + 3 <= text.length && memcmp(text.data + i, apostrophe, strlen(apostrophe)) == 0;
        out[used++] = mark ? '\'' : text.data[i];
        i += mark ? 2 : 0;
    }
    out[used] = '\0';
}

/* Whether one of the phrases is in the first 120 bytes, in upper or lower case. */
static bool refuses(const ald_audit_t *audit, ald_slice_t answer)
{
    char beginning[121];
    plain_beginning(answer, beginning, sizeof beginning);
    for (size_t i = 0; i < ald_json_count(audit->refusals); ++i)
        if (strcasestr(beginning, ald_json_text(ald_json_at(audit->refusals, i), NULL)) != NULL)
            return true;
    return false;
}

/* A list of strings of the row, or NULL. */
static const ald_json_t *list_of(const ald_audit_texts_t *texts, const char *key)
{
    const ald_json_t *list = ald_json_get(texts->row, key);
    for (size_t i = 0; i < ald_json_count(list); ++i)
        if (!ald_json_is_string(ald_json_at(list, i)))
            return NULL;
    return ald_json_is_array(list) ? list : NULL;
}

/* An answer is a string of JSON, so a NUL ends it. */
static bool has_forbidden(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    const char *answer = texts->answer[0].data;
    if (answer == NULL)
        return false;
    return ald_terms_found(answer, list_of(texts, "forbidden")) > 0 ||
           ald_terms_found(answer, audit->terms) > 0;
}

/* The next number of a text from *at on: digits with dots and commas between them; false at the
 * end.
 */
static bool next_number(ald_slice_t text, size_t *at, ald_slice_t *out)
{
    while (*at < text.length && !isdigit((unsigned char)text.data[*at]))
        ++*at;
    const size_t begin = *at;
    while (*at < text.length && (isdigit((unsigned char)text.data[*at]) ||
                                 (strchr(".,", text.data[*at]) != NULL && *at + 1 < text.length &&
                                  isdigit((unsigned char)text.data[*at + 1]))))
        ++*at;
    *out = (ald_slice_t){text.data + begin, *at - begin};
    return out->length > 0;
}

static uint64_t hash_of(ald_slice_t number)
{
    uint64_t hash[2];
    ald_audit_hash(number.data, number.length, hash);
    return hash[0];
}

/* Whether a text has a number that another, which has some, doesn't have. */
static bool has_other_numbers(ald_slice_t text, ald_slice_t other, ald_vec_t *hashes)
{
    ald_slice_t number;
    hashes->count = 0;
    for (size_t at = 0; next_number(other, &at, &number);) {
        const uint64_t hash = hash_of(number);
        if (ald_vec_push(hashes, &hash) != ALD_STATUS_OK)
            return false;
    }
    ald_grams_sort(hashes);
    for (size_t at = 0; hashes->count > 0 && next_number(text, &at, &number);)
        if (!ald_grams_have(hashes, hash_of(number)))
            return true;
    return false;
}

/* Where the row has "required", the figures that the answer lacks; else, with audit.figures,
 * numbers of the answer that the prompt, which has some, doesn't have. */
static bool has_wrong_figures(const ald_audit_t *audit, ald_audit_texts_t *texts)
{
    const ald_json_t *required = list_of(texts, "required");
    const ald_slice_t answer = texts->answer[0];
    if (answer.data == NULL)
        return false;
    if (ald_json_count(required) > 0)
        return !ald_figures_exact(answer.data, required);
    return audit->config->audit.figures &&
           has_other_numbers(answer, prompt_of(texts), &texts->grams);
}

static const struct {
    ald_reason_t reason;
    bool (*holds)(const ald_audit_t *audit, ald_audit_texts_t *texts);
} measures[] = {
    {ALD_REASON_EMPTY, is_empty},
    {ALD_REASON_SAME_ANSWERS, is_same},
    {ALD_REASON_WRONG_ROLES, has_wrong_roles},
    {ALD_REASON_UNFINISHED, is_unfinished},
    {ALD_REASON_REPEATED, is_repeated},
    {ALD_REASON_SCRIPTS, differs_in_script},
    {ALD_REASON_FORBIDDEN, has_forbidden},
    {ALD_REASON_FIGURES, has_wrong_figures},
};

static uint32_t characters(ald_slice_t text)
{
    const size_t count = ald_utf8_count(text.data, text.length);
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

ald_status_t ald_audit_answers(const ald_audit_t *audit, ald_audit_texts_t *texts,
                               ald_audit_row_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_slice_t shown = texts->answer[0].data != NULL ? texts->answer[0] : prompt_of(texts);
    ALD_TRY(ald_vec_reserve(&texts->grams, texts->words[1].count + 1));
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; ++i)
        ald_audit_set(out, measures[i].reason, measures[i].holds(audit, texts));
    out->script = (uint8_t)ald_script_main(shown.data, shown.length);
    for (int i = 0; i < 2; ++i) {
        const ald_slice_t answer = texts->answer[i];
        out->answered[i] = answer.data != NULL;
        out->length[i] = characters(answer);
        out->refuses[i] = answer.data != NULL && refuses(audit, answer);
        ald_audit_set(out, ALD_REASON_REFUSAL, i == 0 && out->refuses[i]);
        ald_audit_hash(answer.data, answer.length, out->answer[i]);
    }
done:
    return status;
}
