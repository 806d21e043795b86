/* Translates patterns from Oniguruma's dialect, in which tokenizer.json has them, to PCRE2's.
 * What the two would read differently is refused, since it would change tokens silently. */
#include "text/regex_impl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/vec.h"

struct ald_regex {
    pcre2_code *code;
    pcre2_match_context *context;
};

struct ald_regex_match {
    pcre2_match_data *data;
};

/* \s and \w as Oniguruma has them, which are Unicode's sets: PCRE2's \s also has U+180E, and its \w
 * lacks marks and connectors. */
static const char *const space_class = "\\p{Z}\\t-\\r\\x{85}";
static const char *const word_class = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

/* A pattern that is being translated. */
typedef struct {
    const char *text;
    size_t length, at;
    int depth; /* of square brackets */
    ald_vec_t out;
} translation_t;

static ald_status_t refuse(const translation_t *translation, const char *what)
{
    return ald_status_raise(ALD_STATUS_INPUT, "%s in the pattern \"%.*s\" is not supported", what,
                            (int)(translation->length < 400 ? translation->length : 400),
                            translation->text);
}

static ald_status_t put_class(translation_t *translation, const char *members, bool negated)
{
    ald_status_t status = ALD_STATUS_OK;
    if (translation->depth == 0)
        ALD_TRY(ald_vec_printf(&translation->out, "[%s%s]", negated ? "^" : "", members));
    else if (!negated)
        ALD_TRY(ald_vec_printf(&translation->out, "%s", members));
    else if (members == space_class)
        /* in brackets a negated set can't be written; PCRE2's \S differs in U+180E alone */
        ALD_TRY(ald_vec_printf(&translation->out, "\\S\\x{180E}"));
    else
        ALD_TRY(refuse(translation, "\\W in brackets"));
done:
    return status;
}

static ald_status_t put_escape(translation_t *translation)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(translation->at + 1 < translation->length, ALD_STATUS_INPUT,
              "the pattern ends in a backslash");
    char c = translation->text[translation->at + 1];
    bool plain = (unsigned char)c >= 0x80 || strchr("rntfdDpPx0", c) != NULL ||
                 strspn((char[]){c, 0}, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "123456789") == 0;
    if (c == 's' || c == 'S') {
        ALD_TRY(put_class(translation, space_class, c == 'S'));
    } else if (c == 'w' || c == 'W') {
        ALD_TRY(put_class(translation, word_class, c == 'W'));
    } else if (plain) {
        ALD_TRY(ald_vec_append(&translation->out, translation->text + translation->at, 2));
    } else {
        ALD_TRY(refuse(translation, (char[]){'\\', c, 0}));
    }
    translation->at += 2;
done:
    return status;
}

/* Whether the brace that closes at `at` is that of an interval, {1,3}, and not of a \p{...}. */
static bool closes_interval(const translation_t *translation)
{
    size_t open = translation->at;
    while (open > 0 && translation->text[open] != '{')
        --open;
    return open + 1 + strspn(translation->text + open + 1, "0123456789,") == translation->at;
}

/* Refuses what both dialects accept and read differently. */
static ald_status_t check_syntax(const translation_t *translation)
{
    const char *here = translation->text + translation->at;
    size_t left = translation->length - translation->at;
    if (translation->depth > 0)
        return left > 1 && here[0] == '&' && here[1] == '&' ? refuse(translation, "&&")
                                                            : ALD_STATUS_OK;
    if (left > 2 && here[0] == '(' && here[1] == '?') {
        size_t flags = 2;
        while (flags < left && (here[flags] == 'i' || here[flags] == '-'))
            ++flags;
        if (flags == left || strchr(":=!<>)", here[flags]) == NULL)
            return refuse(translation, "an inline option other than i");
    }
    if (left > 1 && here[0] == '}' && here[1] == '+' && closes_interval(translation))
        return refuse(translation, "+ after an interval"); /* possessive in PCRE2 only */
    return ALD_STATUS_OK;
}

static ald_status_t translate(translation_t *translation)
{
    ald_status_t status = ALD_STATUS_OK;
    while (translation->at < translation->length) {
        char c = translation->text[translation->at];
        ALD_TRY(check_syntax(translation));
        if (c == '\\') {
            ALD_TRY(put_escape(translation));
            continue;
        }
        if (c == '[' && translation->depth > 0 && translation->text[translation->at + 1] != ':')
            ALD_TRY(refuse(translation, "a set within a set"));
        translation->depth += c == '[' ? 1 : c == ']' && translation->depth > 0 ? -1 : 0;
        ALD_TRY(ald_vec_append(&translation->out, &c, 1));
        translation->at++;
    }
done:
    return status;
}

static ald_status_t compile(const char *pattern, size_t length, bool literal, ald_regex_t *regex)
{
    ald_status_t status = ALD_STATUS_OK;
    int error = 0;
    PCRE2_SIZE offset = 0;
    PCRE2_UCHAR text[200] = "";
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    ALD_CHECK_MEMORY(context, 100);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, length, options, &error, &offset, context);
    if (regex->code == NULL)
        pcre2_get_error_message(error, text, sizeof text);
    ALD_CHECK(regex->code != NULL, ALD_STATUS_INPUT, "bad pattern \"%.*s\": %s at %zu",
              (int)(length < 400 ? length : 400), pattern, (const char *)text, (size_t)offset);
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* if it fails, PCRE2 interprets */
    regex->context = pcre2_match_context_create(NULL);
    ALD_CHECK_MEMORY(regex->context, 100);
    pcre2_set_match_limit(regex->context, 100000000);
done:
    pcre2_compile_context_free(context);
    return status;
}

ald_status_t ald_regex_compile(const char *pattern, size_t length, bool literal, ald_regex_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    translation_t translation = {.text = pattern, .length = length};
    ald_vec_init(&translation.out, 1);
    ald_regex_t *regex = ald_calloc(1, sizeof *regex);
    ALD_CHECK_MEMORY(regex, sizeof *regex);
    if (literal)
        ALD_TRY(ald_vec_append(&translation.out, pattern, length));
    else
        ALD_TRY(translate(&translation));
    ALD_TRY(compile(translation.out.data == NULL ? "" : translation.out.data, translation.out.count,
                    literal, regex));
    *out = regex;
    regex = NULL;
done:
    ald_vec_reset(&translation.out);
    ald_regex_destroy(regex);
    return status;
}

ald_status_t ald_regex_load(const ald_json_t *component, const char *place, ald_regex_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *pattern = ald_json_get(component, "pattern");
    size_t length = 0;
    const char *text = ald_json_text(ald_json_get(pattern, "Regex"), &length);
    bool literal = text == NULL;
    if (literal)
        text = ald_json_text(ald_json_get(pattern, "String"), &length);
    ALD_CHECK(text != NULL && length > 0, ALD_STATUS_INPUT,
              "%s.pattern: expected {\"Regex\": ...} or {\"String\": ...}", place);
    if (ald_regex_compile(text, length, literal, out) != ALD_STATUS_OK)
        status = ald_status_prefix(ALD_STATUS_INPUT, "%s.pattern", place);
done:
    return status;
}

void ald_regex_destroy(ald_regex_t *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    pcre2_match_context_free(regex->context);
    ald_free(regex);
}

ald_status_t ald_regex_match_new(ald_regex_match_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_regex_match_t *match = ald_calloc(1, sizeof *match);
    ALD_CHECK_MEMORY(match, sizeof *match);
    match->data = pcre2_match_data_create(1, NULL);
    ALD_CHECK_MEMORY(match->data, 100);
    *out = match;
    match = NULL;
done:
    ald_regex_match_destroy(match);
    return status;
}

void ald_regex_match_destroy(ald_regex_match_t *match)
{
    if (match == NULL)
        return;
    pcre2_match_data_free(match->data);
    ald_free(match);
}

ald_status_t ald_regex_next(const ald_regex_t *regex, ald_regex_match_t *match, const char *text,
                            size_t length, size_t from, bool *found, size_t *start, size_t *end)
{
    ald_status_t status = ALD_STATUS_OK;
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match->data);
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    PCRE2_UCHAR reason[200] = "";
    int result = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, options, match->data,
                             regex->context);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        result = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, options | PCRE2_NO_JIT,
                             match->data, regex->context);
    *found = result >= 0;
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
        pcre2_get_error_message(result, reason, sizeof reason);
    ALD_CHECK(result >= 0 || result == PCRE2_ERROR_NOMATCH, ALD_STATUS_INPUT,
              "a pattern of the tokenizer failed at byte %zu of %zu: %s", from, length,
              (const char *)reason);
    *start = bounds[0];
    *end = bounds[1];
done:
    return status;
}

size_t ald_regex_most(size_t length)
{
    return 4096 + 64 * length;
}

ald_status_t ald_regex_replace(const ald_regex_t *regex, const char *text, size_t length,
                               const ald_replacement_t *by, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_regex_match_t *match = NULL;
    size_t at = 0, start = 0, end = 0;
    bool found = false;
    ALD_TRY(ald_regex_match_new(&match));
    while (at < length) {
        ALD_TRY(ald_regex_next(regex, match, text, length, at, &found, &start, &end));
        if (!found)
            break;
        ALD_CHECK(
            start - at + by->length <= by->most &&
                out->count <= by->most - by->length - (start - at),
            ALD_STATUS_INPUT,
            "a Replace of the tokenizer makes more than %zu bytes of a text, which is more than "
            "is allowed for its length",
            by->most);
        ALD_TRY(ald_vec_append(out, text + at, start - at));
        ALD_TRY(ald_vec_append(out, by->text, by->length));
        at = end;
    }
    ALD_TRY(ald_vec_append(out, text + at, length - at));
done:
    ald_regex_match_destroy(match);
    return status;
}
