/* Counts Markdown for Arena-Hard's style control. The numbers must be those that its own script
 * would give, as they are compared with those of other models. */
#include "ald/text/style.h"

#include <string.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/regex_impl.h"

/* Python's \s in texts has four control characters more than Oniguruma's. */
#define SPACE "[\\s\\x1C-\\x1F]"

/* Calls `take` with each match of a pattern in the text, from left to right. */
static ald_status_t each_match(const char *pattern, const char *text, size_t length,
                               ald_status_t (*take)(void *to, const char *match, size_t size),
                               void *to)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_regex_t *regex = NULL;
    ald_regex_match_t *match = NULL;
    size_t at = 0, start = 0, end = 0;
    bool found = true;
    ALD_TRY(ald_regex_compile(pattern, strlen(pattern), false, &regex));
    ALD_TRY(ald_regex_match_new(&match));
    while (at < length) {
        ALD_TRY(ald_regex_next(regex, match, text, length, at, &found, &start, &end));
        if (!found)
            break;
        ALD_TRY(take(to, text + start, end - start));
        at = end;
    }
done:
    ald_regex_match_destroy(match);
    ald_regex_destroy(regex);
    return status;
}

static ald_status_t count_one(void *to, const char *match, size_t size)
{
    (void)match;
    (void)size;
    ++*(int64_t *)to;
    return ALD_STATUS_OK;
}

/* Takes the inside of a block of code out of a text, wherever it occurs there. */
static ald_status_t take_out(void *to, const char *match, size_t size)
{
    ald_vec_t *text = to;
    const char *block = match + 3; /* between the backquotes */
    const size_t length = size - 6;
    char *out = text->data;
    const char *at = text->data, *end = at + text->count, *found = NULL;
    while (length > 0 && (found = memmem(at, (size_t)(end - at), block, length)) != NULL) {
        memmove(out, at, (size_t)(found - at));
        out += found - at;
        at = found + length;
    }
    memmove(out, at, (size_t)(end - at));
    text->count = (size_t)(out + (end - at) - (char *)text->data);
    return ALD_STATUS_OK;
}

ald_status_t ald_style_count(const char *text, size_t length, ald_style_t *out)
{
    const struct {
        const char *pattern;
        int64_t *count;
    } kinds[] = {
        {"^#{1}" SPACE, &out->headers[0]},           {"^#{2}" SPACE, &out->headers[1]},
        {"^#{3}" SPACE, &out->headers[2]},           {"^#{4}" SPACE, &out->headers[3]},
        {"^#{5}" SPACE, &out->headers[4]},           {"^#{6}" SPACE, &out->headers[5]},
        {"^" SPACE "*\\d+\\." SPACE, &out->ordered}, {"^" SPACE "*[-*+]" SPACE, &out->unordered},
        {"\\*\\*[^*\\n]+\\*\\*", &out->stars},       {"__[^_\\n]+__", &out->underscores}};
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t plain;
    ald_vec_init(&plain, 1);
    *out = (ald_style_t){0};
    if (length == 0)
        return status;
    ALD_TRY(ald_vec_append(&plain, text, length));
    ALD_TRY(each_match("```[^`]*```", text, length, take_out, &plain));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
        ALD_TRY(each_match(kinds[i].pattern, plain.data, plain.count, count_one, kinds[i].count));
done:
    ald_vec_reset(&plain);
    return status;
}
