/* Finds added tokens in text, before it is cut into pieces. There may be thousands and they are
 * looked for at every byte, hence the index by first byte. */
#include "text/added_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/normalizer_impl.h"
#include "text/unicode_impl.h"

/* Larger ids are taken for damage: tables are indexed by id, and large vocabularies have about
 * 2^18. */
enum { LARGEST_ID = 1 << 24 };

static ald_status_t load_token(const ald_json_t *json, size_t index,
                               const ald_normalizer_t *normalizer, ald_arena_t *arena,
                               ald_added_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char place[40];
    ald_vec_t text;
    ald_vec_init(&text, 1);
    snprintf(place, sizeof place, "added_tokens[%zu]", index);
    ALD_TRY(ald_component_check(json, place,
                                "id content single_word lstrip rstrip normalized special"));
    const char *content = ald_json_text(ald_json_get(json, "content"), &out->content_length);
    int64_t id = ald_json_integer(ald_json_get(json, "id"), -1);
    ALD_CHECK(content != NULL && id >= 0 && id <= LARGEST_ID, ALD_STATUS_INPUT,
              "%s: expected {\"id\": integer from 0, \"content\": string, ...}", place);
    out->id = (int32_t)id;
    out->special = ald_json_bool(ald_json_get(json, "special"), false);
    out->normalized = ald_json_bool(ald_json_get(json, "normalized"), !out->special);
    out->lstrip = ald_json_bool(ald_json_get(json, "lstrip"), false);
    out->rstrip = ald_json_bool(ald_json_get(json, "rstrip"), false);
    out->single_word = ald_json_bool(ald_json_get(json, "single_word"), false);
    out->content = ald_arena_strdup(arena, content, out->content_length);
    if (out->normalized)
        ALD_TRY(ald_normalizer_apply(normalizer, content, out->content_length, &text));
    out->length = out->normalized ? text.count : out->content_length;
    out->pattern = out->normalized ? ald_arena_strdup(arena, text.data, text.count) : out->content;
    ALD_CHECK(out->content != NULL && (out->pattern != NULL || out->length == 0),
              ALD_STATUS_RESOURCE, "out of memory: added tokens");
done:
    ald_vec_reset(&text);
    return status;
}

/* Orders tokens by first byte, then the longest first, then as in the file. */
static int compare(const void *left, const void *right)
{
    const ald_added_t *a = *(const ald_added_t *const *)left;
    const ald_added_t *b = *(const ald_added_t *const *)right;
    if (a->pattern[0] != b->pattern[0])
        return (unsigned char)a->pattern[0] < (unsigned char)b->pattern[0] ? -1 : 1;
    if (a->length != b->length)
        return a->length > b->length ? -1 : 1;
    return a < b ? -1 : a > b;
}

static ald_status_t make_set(const ald_added_list_t *list, bool normalized, ald_arena_t *arena,
                             ald_added_set_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint32_t count = 0;
    out->tokens = ald_arena_calloc(arena, list->count + 1, sizeof *out->tokens);
    ALD_CHECK_MEMORY(out->tokens, list->count);
    for (size_t i = 0; i < list->count; ++i)
        if (list->tokens[i].normalized == normalized && list->tokens[i].length > 0)
            out->tokens[count++] = &list->tokens[i];
    qsort(out->tokens, count, sizeof out->tokens[0], compare);
    for (uint32_t i = 0; i < count; ++i)
        out->first[(unsigned char)out->tokens[i]->pattern[0] + 1]++;
    for (int b = 0; b < 256; ++b)
        out->first[b + 1] += out->first[b];
done:
    return status;
}

ald_status_t ald_added_load(const ald_json_t *json, const ald_normalizer_t *normalizer,
                            ald_arena_t *arena, ald_added_list_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    memset(out, 0, sizeof *out);
    ALD_CHECK(ald_json_is_array(json) || ald_json_is_null(json), ALD_STATUS_INPUT,
              "added_tokens: expected a list, found %s", ald_json_type_name(json));
    out->count = ald_json_count(json);
    out->tokens = ald_arena_calloc(arena, out->count + 1, sizeof *out->tokens);
    ALD_CHECK_MEMORY(out->tokens, out->count * sizeof *out->tokens);
    for (size_t i = 0; i < out->count; ++i)
        ALD_TRY(load_token(ald_json_at(json, i), i, normalizer, arena, &out->tokens[i]));
    ALD_TRY(make_set(out, false, arena, &out->raw));
    ALD_TRY(make_set(out, true, arena, &out->normalized));
done:
    return status;
}

static const ald_added_t *match_at(const ald_added_set_t *set, const char *text, size_t left)
{
    unsigned char first = (unsigned char)text[0];
    for (uint32_t i = set->first[first]; i < set->first[first + 1]; ++i) {
        const ald_added_t *token = set->tokens[i];
        if (token->length <= left && memcmp(token->pattern, text, token->length) == 0)
            return token;
    }
    return NULL;
}

static bool stands_alone(const char *text, size_t length, size_t start, size_t end)
{
    size_t step = 0;
    if (start > 0) {
        size_t last = ald_utf8_last(text, start);
        if (ald_unicode_is_word(ald_utf8_next(text + last, start - last, &step)))
            return false;
    }
    return end == length || !ald_unicode_is_word(ald_utf8_next(text + end, length - end, &step));
}

/* Widens a match over the white space that lstrip and rstrip include, but not before `floor`. */
static void strip(const ald_added_t *token, const char *text, size_t length, size_t floor,
                  size_t *start, size_t *end)
{
    size_t step = 0;
    while (token->lstrip && *start > floor) {
        size_t last = ald_utf8_last(text, *start);
        if (!ald_unicode_is_space(ald_utf8_next(text + last, *start - last, &step)))
            break;
        *start = last;
    }
    while (token->rstrip && *end < length &&
           ald_unicode_is_space(ald_utf8_next(text + *end, length - *end, &step)))
        *end += step;
}

ald_status_t ald_added_split(const ald_added_set_t *set, const char *text, size_t length,
                             ald_vec_t *segments)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = 0, done_to = 0;
    while (at < length) {
        const ald_added_t *token = match_at(set, text + at, length - at);
        if (token == NULL) {
            ++at;
            continue;
        }
        size_t start = at, end = at + token->length;
        at = end; /* the next match begins here, also if this one is discarded below */
        if (token->single_word && !stands_alone(text, length, start, end))
            continue;
        strip(token, text, length, done_to, &start, &end);
        const ald_segment_t between = {NULL, done_to, start}, found = {token, start, end};
        if (done_to < start)
            ALD_TRY(ald_vec_push(segments, &between));
        ALD_TRY(ald_vec_push(segments, &found));
        done_to = end;
        at = end;
    }
    const ald_segment_t rest = {NULL, done_to, length};
    if (done_to < length)
        ALD_TRY(ald_vec_push(segments, &rest));
done:
    return status;
}
