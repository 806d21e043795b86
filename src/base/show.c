/* Spells out what a terminal would obey. A name of a tensor or a token may hold any bytes, and who
 * looks at a model that others made must not have to trust them. */
#include "ald/base/show.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"

size_t ald_utf8_code(const char *text, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char c = (unsigned char)text[0];
    const size_t need = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
    *code = c;
    if (need <= 1 || need > left)
        return need > left ? 0 : need;
    uint32_t value = c & (0x7Fu >> need);
    for (size_t i = 1; i < need; ++i) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (text[i] & 0x3Fu);
    }
    if (value < least[need] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return 0;
    *code = value;
    return need;
}

static bool is_control(uint32_t c)
{
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0);
}

/* What changes the direction of the text behind it, or ends a line in a way of its own. */
static bool is_mark(uint32_t c)
{
    return c == 0x61C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

size_t ald_show(const char *text, size_t length, bool lines, char *out, size_t size)
{
    size_t used = 0;
    for (size_t at = 0, step; at<length; at += step> 0 ? step : 1) {
        char spelled[8];
        uint32_t c;
        const char *piece = text + at;
        size_t bytes = step = ald_utf8_code(piece, length - at, &c);
        if (c == '\n' && !lines)
            bytes = (size_t)snprintf(spelled, sizeof spelled, "\\n");
        else if (step == 0 || is_control(c))
            bytes = (size_t)snprintf(spelled, sizeof spelled, "\\x%02x", c);
        else if (is_mark(c))
            bytes = (size_t)snprintf(spelled, sizeof spelled, "\\u%04x", c);
        else
            memcpy(spelled, piece, bytes);
        if (used + bytes >= size)
            break;
        memcpy(out + used, spelled, bytes);
        used += bytes;
    }
    out[used] = '\0';
    return used;
}

size_t ald_show_json(const char *text, size_t length, char *out)
{
    size_t used = 0;
    for (size_t at = 0, step; at<length; at += step> 0 ? step : 1) {
        uint32_t c;
        char spelled[8];
        step = ald_utf8_code(text + at, length - at, &c);
        const bool spell = step > 0 && (is_control(c) || is_mark(c));
        const size_t bytes = spell      ? (size_t)snprintf(spelled, sizeof spelled, "\\u%04x", c)
                             : step > 0 ? step
                                        : 1;
        if (out != NULL)
            memcpy(out + used, spell ? spelled : text + at, bytes);
        used += bytes;
    }
    return used;
}

/* In pieces of which each has room, and that end with a character if there are any. */
static void print(const char *text, size_t length, bool lines)
{
    enum { PART = 1000, GROWTH = 4 };
    char out[GROWTH * PART + 1];
    while (length > 0) {
        size_t part = length < PART ? length : PART;
        for (int i = 0; i < 3 && part < length && (text[part] & 0xC0) == 0x80; ++i)
            --part;
        fwrite(out, 1, ald_show(text, part, lines, out, sizeof out), stdout);
        text += part;
        length -= part;
    }
}

void ald_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : ald_alloc((size_t)length + 1);
    if (text == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    print(text, (size_t)length, true);
    ald_free(text);
}

void ald_print_word(const char *text)
{
    print(text, strlen(text), false);
}
