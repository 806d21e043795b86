/* Cuts a chat template into text and tags. White space around tags is what templates differ in
 * most, so that the rules are here once, for what recognises templates and for what runs them. */
#include "text/jinja_source_impl.h"

#include <ctype.h>
#include <string.h>
#include <utf8proc.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/text/chat_parts.h"

ald_status_t ald_jinja_source_open(const char *text, ald_jinja_source_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *to = ald_alloc(strlen(text) + 1);
    *out = (ald_jinja_source_t){.lines = to, .at = to, .text_next = true};
    ALD_CHECK_MEMORY(to, strlen(text));
    ALD_CHECK(ald_utf8_is_valid(text, strlen(text)), ALD_STATUS_INPUT, "it is not valid UTF-8");
    for (; *text != '\0'; ++text)
        if (*text != '\r')
            *to++ = *text;
        else if (text[1] != '\n')
            *to++ = '\n';
    to -= to > out->lines && to[-1] == '\n'; /* jinja's keep_trailing_newline is off */
    *to = '\0';
    out->end = to;
done:
    return status;
}

void ald_jinja_source_close(ald_jinja_source_t *source)
{
    ald_free(source->lines);
    *source = (ald_jinja_source_t){0};
}

/* The end of the tag whose inside starts at `p`: its closing mark, not one within quotes or
 * brackets. */
static const char *tag_end(const char *p, const char *end, char kind)
{
    char quote = 0;
    int depth = 0;
    for (; p + 1 < end; ++p) {
        if (quote != 0 && *p == '\\' && kind != '#')
            ++p;
        else if (quote != 0)
            quote = *p == quote ? 0 : quote;
        else if ((*p == '\'' || *p == '"') && kind != '#')
            quote = *p;
        else if (depth == 0 && *p == (kind == '{' ? '}' : kind) && p[1] == '}')
            return p;
        else if (kind != '#' && strchr("([{", *p) != NULL)
            ++depth;
        else if (kind != '#' && strchr(")]}", *p) != NULL)
            depth -= depth > 0;
    }
    return NULL;
}

static const char *next_tag(const char *p, const char *end)
{
    for (; p + 1 < end; ++p)
        if (*p == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
    return end;
}

/* Reads the text up to the next tag, and trims it as the tags on both sides ask. */
static ald_jinja_piece_t read_text(ald_jinja_source_t *source)
{
    const char *from = source->at, *to = next_tag(from, source->end);
    bool tag = to < source->end, trim_right = tag && to + 2 < source->end && to[2] == '-';
    bool line_start = from == source->lines;
    source->at = to;
    if (source->after_block && from < to && *from == '\n') { /* trim_blocks */
        line_start = true;
        ++from;
    }
    const ald_slice_t kept_text =
        ald_slice_strip((ald_slice_t){from, (size_t)(to - from)}, source->trim_left, trim_right);
    from = kept_text.data;
    to = from + kept_text.length;
    bool kept = tag && to + 2 < source->end && to[2] == '+';
    if (tag && !trim_right && !kept && source->at[1] != '{') { /* lstrip_blocks */
        const char *line = to;
        while (line > from && (line[-1] == ' ' || line[-1] == '\t'))
            --line;
        if (line == from ? line_start : line[-1] == '\n')
            to = line;
    }
    return (ald_jinja_piece_t){ALD_JINJA_PIECE_TEXT, from, to};
}

ald_jinja_piece_t ald_jinja_source_next(ald_jinja_source_t *source)
{
    const bool text = source->text_next;
    source->text_next = !text;
    if (text && source->at < source->end)
        return read_text(source);
    if (source->at >= source->end)
        return (ald_jinja_piece_t){ALD_JINJA_PIECE_END, source->end, source->end};
    const char kind = source->at[1], *from = source->at + 2;
    const char *to = tag_end(from, source->end, kind);
    if (to == NULL) {
        source->at = source->end;
        return (ald_jinja_piece_t){ALD_JINJA_PIECE_UNCLOSED, from, source->end};
    }
    source->at = to + 2;
    source->trim_left = to > from && to[-1] == '-';
    source->after_block = kind != '{' && !(to > from && to[-1] == '+');
    to -= to > from && (source->trim_left || (to[-1] == '+' && kind != '{'));
    from += from < to && (*from == '-' || *from == '+');
    if (kind == '#')
        return ald_jinja_source_next(source);
    return (ald_jinja_piece_t){kind == '{' ? ALD_JINJA_PIECE_OUTPUT : ALD_JINJA_PIECE_BLOCK, from,
                               to};
}

/* Reads the digits of \x41, \u0041, \U00000041 or \101; false, and *at as it was, for others. */
static bool read_code(const char **at, const char *end, int32_t *code)
{
    const char kind = **at, *p = *at;
    const int width = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 3;
    const bool octal = kind >= '0' && kind <= '7';
    int count = 0;
    *code = 0;
    for (p += !octal; p < end && count < width; ++p, ++count) {
        if (octal ? *p < '0' || *p > '7' : !isxdigit((unsigned char)*p))
            break;
        const int digit = isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10;
        *code = (int32_t)((uint32_t)*code * (octal ? 8u : 16u) + (uint32_t)digit);
    }
    const bool whole = octal ? count > 0 : count == width;
    if (!whole || *code <= 0 || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000))
        return false;
    *at = p;
    return true;
}

ald_jinja_escape_t ald_jinja_escape(const char **at, const char *end)
{
    static const char letters[] = "ntrabfv\\'\"", values[] = "\n\t\r\a\b\f\v\\'\"";
    ald_jinja_escape_t out = {.known = true};
    const char *found = strchr(letters, **at);
    int32_t code = 0;
    if (**at == '\n') { /* goes on in the next line */
        ++*at;
    } else if (found != NULL && *found != '\0') {
        out.bytes[out.length++] = values[found - letters];
        ++*at;
    } else if (strchr("xuUN01234567", **at) == NULL) {
        out.bytes[out.length++] = '\\'; /* which stays */
    } else if (read_code(at, end, &code)) {
        utf8proc_uint8_t bytes[4];
        out.length = (size_t)utf8proc_encode_char(code, bytes);
        memcpy(out.bytes, bytes, out.length);
    } else {
        out.known = false;
    }
    return out;
}
