/* Whether an answer has its required figures and none of the forbidden terms. A reward model's
 * score is an opinion; that a number was repeated correctly can be checked. */
#include "ald/text/figures.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "ald/base/json.h"
#include "ald/text/words.h"

typedef int (*compare_fn)(const char *, const char *, size_t);

/* Whether a number goes on at `at` behind a dot or a comma: "4.60" isn't a 4, nor a 60. */
static bool number_goes_on(const char *text, const char *at, const char *end)
{
    const bool before = at - text >= 2 && isdigit((unsigned char)*at) &&
                        (at[-1] == '.' || at[-1] == ',') && isdigit((unsigned char)at[-2]);
    return before || (isdigit((unsigned char)end[-1]) && (*end == '.' || *end == ',') &&
                      isdigit((unsigned char)end[1]));
}

static bool at_border(const char *text, const char *begin, const char *end)
{
    const char *before = begin;
    while (before > text && ((unsigned char)*--before & 0xC0) == 0x80)
        ;
    return (before == begin || !ald_word_has(before, (size_t)(begin - before))) &&
           !ald_word_has(end, strlen(end)) && !number_goes_on(text, begin, end);
}

/* The end of the first `term` at word borders from `from` on; NULL when there is none. */
static const char *find_term(const char *text, const char *from, const char *term,
                             compare_fn compare)
{
    const size_t length = strlen(term);
    for (const char *at = from; length > 0 && *at != '\0'; ++at)
        if (compare(at, term, length) == 0 && at_border(text, at, at + length))
            return at + length;
    return NULL;
}

const char *ald_figure_find(const char *text, const char *from, const char *term, bool any_case)
{
    const char *end = find_term(text, from, term, any_case ? strncasecmp : strncmp);
    return end != NULL ? end - strlen(term) : NULL;
}

/* The place behind it; a text of nothing, such as a group that matched none gives, is everywhere.
 */
static const char *find_required(const char *text, const char *from, const char *term)
{
    return term[0] == '\0' ? from : find_term(text, from, term, strncmp);
}

bool ald_figures_exact(const char *text, const ald_json_t *required)
{
    const char *place = text;
    for (size_t i = 0; i < ald_json_count(required) && place != NULL; ++i)
        place = find_required(text, place, ald_json_text(ald_json_at(required, i), NULL));
    return place != NULL;
}

int64_t ald_terms_found(const char *text, const ald_json_t *forbidden)
{
    int64_t found = 0;
    for (size_t i = 0; i < ald_json_count(forbidden); ++i)
        found += find_term(text, text, ald_json_text(ald_json_at(forbidden, i), NULL),
                           strncasecmp) != NULL;
    return found;
}
