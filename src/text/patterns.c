/* Lists of figures and terms for data whose rows don't have them: a person in charge knows how an
 * order's number looks in a prompt, and in an answer that repeats it.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "ald/text/patterns.h"

#include <pcre2.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/sha256.h"
#include "ald/base/vec.h"

struct ald_patterns {
    ald_json_t *items;  /* as read */
    pcre2_code **codes; /* [items], NULL: for every prompt */
    char sha256[ALD_SHA256_HEX];
};

static const char *const KEYS[] = {"required", "forbidden"};

static ald_status_t check_item(const ald_json_t *item)
{
    ald_status_t status = ALD_STATUS_OK;
    void *member = NULL;
    const char *key = NULL;
    const ald_json_t *value = NULL;
    ALD_CHECK(ald_json_is_object(item), ALD_STATUS_INPUT, "expected an object, found %s",
              ald_json_type_name(item));
    ALD_CHECK(ald_json_get(item, KEYS[0]) != NULL || ald_json_get(item, KEYS[1]) != NULL,
              ALD_STATUS_INPUT, "expected \"required\" or \"forbidden\"");
    while (ald_json_next(item, &member, &key, &value)) {
        const bool is_prompt = strcmp(key, "prompt") == 0;
        ALD_CHECK(is_prompt || strcmp(key, KEYS[0]) == 0 || strcmp(key, KEYS[1]) == 0,
                  ALD_STATUS_INPUT, "\"%s\": expected \"prompt\", \"required\" or \"forbidden\"",
                  key);
        ALD_CHECK(!is_prompt || ald_json_is_string(value), ALD_STATUS_INPUT,
                  "\"prompt\": expected a string, found %s", ald_json_type_name(value));
        ALD_CHECK(is_prompt || ald_json_is_array(value), ALD_STATUS_INPUT,
                  "\"%s\": expected a list of strings, found %s", key, ald_json_type_name(value));
        if (!is_prompt)
            ALD_TRY(ald_json_check_strings(item, key));
    }
done:
    return status;
}

static ald_status_t compile(const ald_json_t *pattern, pcre2_code **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const char *text = ald_json_text(pattern, &length);
    int error = 0;
    PCRE2_SIZE offset = 0;
    PCRE2_UCHAR reason[200] = "";
    *out = pcre2_compile((PCRE2_SPTR)text, length, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                         &error, &offset, NULL);
    if (*out == NULL)
        pcre2_get_error_message(error, reason, sizeof reason);
    ALD_CHECK(*out != NULL, ALD_STATUS_INPUT, "\"prompt\": bad pattern: %s at byte %zu",
              (const char *)reason, (size_t)offset);
done:
    return status;
}

/* The text with its groups filled in, appended to the list. A match that `data` holds, or NULL. */
static ald_status_t fill(const pcre2_code *code, pcre2_match_data *data, const char *prompt,
                         const ald_json_t *text, ald_json_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const char *from = ald_json_text(text, &length);
    const uint32_t options = PCRE2_SUBSTITUTE_MATCHED | PCRE2_SUBSTITUTE_REPLACEMENT_ONLY |
                             PCRE2_SUBSTITUTE_OVERFLOW_LENGTH | PCRE2_SUBSTITUTE_UNSET_EMPTY;
    PCRE2_UCHAR reason[200] = "";
    ald_vec_t out;
    ald_vec_init(&out, 1);
    PCRE2_SIZE room = length + 64;
    int result = PCRE2_ERROR_NOMEMORY;
    for (int i = 0; i < 2 && result == PCRE2_ERROR_NOMEMORY; ++i) {
        ALD_TRY(ald_vec_reserve(&out, room));
        result = pcre2_substitute(code, (PCRE2_SPTR)prompt, PCRE2_ZERO_TERMINATED, 0, options, data,
                                  NULL, (PCRE2_SPTR)from, length, out.data, &room);
    }
    if (result < 0)
        pcre2_get_error_message(result, reason, sizeof reason);
    ALD_CHECK(result >= 0, ALD_STATUS_INPUT, "\"%s\": %s", from, (const char *)reason);
    ald_json_push(list, ald_json_new_string(out.data));
done:
    ald_vec_reset(&out);
    return status;
}

static ald_status_t append(const pcre2_code *code, pcre2_match_data *data, const char *prompt,
                           const ald_json_t *texts, ald_json_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_json_count(texts); ++i) {
        const ald_json_t *text = ald_json_at(texts, i);
        if (code == NULL)
            ald_json_push(list, ald_json_new_string(ald_json_text(text, NULL)));
        else
            ALD_TRY(fill(code, data, prompt, text, list));
    }
done:
    return status;
}

/* The texts for each place that the pattern finds. */
static ald_status_t append_found(const pcre2_code *code, const char *prompt,
                                 const ald_json_t *texts, ald_json_t *list, bool *found)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t length = strlen(prompt);
    PCRE2_UCHAR reason[200] = "";
    int result = 1;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    ALD_CHECK_MEMORY(data, 100);
    for (size_t at = 0; at <= length && result > 0;) {
        result = pcre2_match(code, (PCRE2_SPTR)prompt, length, at, PCRE2_NOTEMPTY, data, NULL);
        if (result <= 0)
            break;
        *found = true;
        ALD_TRY(append(code, data, prompt, texts, list));
        at = pcre2_get_ovector_pointer(data)[1];
    }
    if (result != PCRE2_ERROR_NOMATCH && result < 0)
        pcre2_get_error_message(result, reason, sizeof reason);
    ALD_CHECK(result > 0 || result == PCRE2_ERROR_NOMATCH, ALD_STATUS_INPUT, "\"prompt\": %s",
              (const char *)reason);
done:
    pcre2_match_data_free(data);
    return status;
}

ald_status_t ald_patterns_of(const ald_patterns_t *patterns, const char *prompt, const char *key,
                             ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool found = false;
    ald_json_t *list = ald_json_new_array();
    for (size_t i = 0; i < ald_json_count(patterns->items); ++i) {
        const ald_json_t *texts = ald_json_get(ald_json_at(patterns->items, i), key);
        if (texts == NULL)
            continue;
        if (patterns->codes[i] != NULL) {
            status = append_found(patterns->codes[i], prompt, texts, list, &found);
        } else {
            status = append(NULL, NULL, prompt, texts, list);
            found = true;
        }
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "item %zu", i);
        ALD_TRY(status);
    }
    if (found) {
        *out = list;
        list = NULL;
    }
done:
    ald_json_free(list);
    return status;
}

ald_status_t ald_patterns_load(const char *path, ald_patterns_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_patterns_t *patterns = ald_calloc(1, sizeof *patterns);
    ALD_CHECK_MEMORY(patterns, sizeof *patterns);
    ALD_TRY(ald_json_read(path, &patterns->items));
    ALD_TRY(ald_sha256_file(path, patterns->sha256));
    const size_t count = ald_json_count(patterns->items);
    ALD_CHECK(ald_json_is_array(patterns->items) && count > 0, ALD_STATUS_INPUT,
              "%s: expected a list of objects", path);
    patterns->codes = ald_calloc(count, sizeof *patterns->codes);
    ALD_CHECK_MEMORY(patterns->codes, count * sizeof *patterns->codes);
    for (size_t i = 0; i < count && status == ALD_STATUS_OK; ++i) {
        const ald_json_t *item = ald_json_at(patterns->items, i);
        status = check_item(item);
        if (status == ALD_STATUS_OK && ald_json_get(item, "prompt") != NULL)
            status = compile(ald_json_get(item, "prompt"), &patterns->codes[i]);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "%s: item %zu", path, i);
    }
    ALD_TRY(status);
    *out = patterns;
    patterns = NULL;
done:
    ald_patterns_destroy(patterns);
    return status;
}

const char *ald_patterns_sha256(const ald_patterns_t *patterns)
{
    return patterns->sha256;
}

void ald_patterns_destroy(ald_patterns_t *patterns)
{
    if (patterns == NULL)
        return;
    for (size_t i = 0; patterns->codes != NULL && i < ald_json_count(patterns->items); ++i)
        pcre2_code_free(patterns->codes[i]);
    ald_free(patterns->codes);
    ald_json_free(patterns->items);
    ald_free(patterns);
}
