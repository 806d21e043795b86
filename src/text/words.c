/* Words and scripts, as the audit of data compares texts by them. Scripts come from a table of
 * ranges, which is quick and is held to PCRE2's in the tests: utf8proc doesn't tell them. */
#include "ald/text/words.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/chat_parts.h"
#include "text/unicode_impl.h"

/* In ascending order. */
static const struct {
    int32_t first, last;
    ald_script_t script;
} ranges[] = {
    {0x41, 0x5A, ALD_SCRIPT_LATIN},         {0x61, 0x7A, ALD_SCRIPT_LATIN},
    {0xAA, 0xAA, ALD_SCRIPT_LATIN},         {0xBA, 0xBA, ALD_SCRIPT_LATIN},
    {0xC0, 0x2B8, ALD_SCRIPT_LATIN},        {0x2E0, 0x2E4, ALD_SCRIPT_LATIN},
    {0x370, 0x3E1, ALD_SCRIPT_GREEK},       {0x3F0, 0x3FF, ALD_SCRIPT_GREEK},
    {0x400, 0x52F, ALD_SCRIPT_CYRILLIC},    {0x531, 0x58F, ALD_SCRIPT_ARMENIAN},
    {0x591, 0x5F4, ALD_SCRIPT_HEBREW},      {0x600, 0x6FF, ALD_SCRIPT_ARABIC},
    {0x750, 0x77F, ALD_SCRIPT_ARABIC},      {0x870, 0x8FF, ALD_SCRIPT_ARABIC},
    {0x900, 0x97F, ALD_SCRIPT_DEVANAGARI},  {0x980, 0x9FF, ALD_SCRIPT_BENGALI},
    {0xA00, 0xA7F, ALD_SCRIPT_GURMUKHI},    {0xA80, 0xAFF, ALD_SCRIPT_GUJARATI},
    {0xB00, 0xB7F, ALD_SCRIPT_ODIA},        {0xB80, 0xBFF, ALD_SCRIPT_TAMIL},
    {0xC00, 0xC7F, ALD_SCRIPT_TELUGU},      {0xC80, 0xCFF, ALD_SCRIPT_KANNADA},
    {0xD00, 0xD7F, ALD_SCRIPT_MALAYALAM},   {0xD80, 0xDFF, ALD_SCRIPT_SINHALA},
    {0xE00, 0xE7F, ALD_SCRIPT_THAI},        {0xE80, 0xEFF, ALD_SCRIPT_LAO},
    {0xF00, 0xFFF, ALD_SCRIPT_TIBETAN},     {0x1000, 0x109F, ALD_SCRIPT_MYANMAR},
    {0x10A0, 0x10FF, ALD_SCRIPT_GEORGIAN},  {0x1100, 0x11FF, ALD_SCRIPT_HANGUL},
    {0x1200, 0x139F, ALD_SCRIPT_ETHIOPIC},  {0x1780, 0x17FF, ALD_SCRIPT_KHMER},
    {0x1800, 0x18AF, ALD_SCRIPT_MONGOLIAN}, {0x1C80, 0x1C8F, ALD_SCRIPT_CYRILLIC},
    {0x1C90, 0x1CBF, ALD_SCRIPT_GEORGIAN},  {0x1D00, 0x1D25, ALD_SCRIPT_LATIN},
    {0x1E00, 0x1EFF, ALD_SCRIPT_LATIN},     {0x1F00, 0x1FFF, ALD_SCRIPT_GREEK},
    {0x2071, 0x209C, ALD_SCRIPT_LATIN},     {0x2126, 0x2126, ALD_SCRIPT_GREEK},
    {0x212A, 0x212B, ALD_SCRIPT_LATIN},     {0x2132, 0x2132, ALD_SCRIPT_LATIN},
    {0x214E, 0x214E, ALD_SCRIPT_LATIN},     {0x2183, 0x2184, ALD_SCRIPT_LATIN},
    {0x2C60, 0x2C7F, ALD_SCRIPT_LATIN},     {0x2D00, 0x2D2F, ALD_SCRIPT_GEORGIAN},
    {0x2D80, 0x2DDF, ALD_SCRIPT_ETHIOPIC},  {0x2E80, 0x2FDF, ALD_SCRIPT_HAN},
    {0x3005, 0x3007, ALD_SCRIPT_HAN},       {0x3021, 0x3029, ALD_SCRIPT_HAN},
    {0x3031, 0x3035, ALD_SCRIPT_KANA},      {0x3038, 0x303B, ALD_SCRIPT_HAN},
    {0x303C, 0x303C, ALD_SCRIPT_KANA},      {0x3040, 0x30FF, ALD_SCRIPT_KANA},
    {0x3130, 0x318F, ALD_SCRIPT_HANGUL},    {0x31F0, 0x31FF, ALD_SCRIPT_KANA},
    {0x3400, 0x4DBF, ALD_SCRIPT_HAN},       {0x4E00, 0x9FFF, ALD_SCRIPT_HAN},
    {0xA640, 0xA69F, ALD_SCRIPT_CYRILLIC},  {0xA722, 0xA787, ALD_SCRIPT_LATIN},
    {0xA78B, 0xA7FF, ALD_SCRIPT_LATIN},     {0xA8E0, 0xA8FF, ALD_SCRIPT_DEVANAGARI},
    {0xA960, 0xA97F, ALD_SCRIPT_HANGUL},    {0xA9E0, 0xA9FF, ALD_SCRIPT_MYANMAR},
    {0xAA60, 0xAA7F, ALD_SCRIPT_MYANMAR},   {0xAB01, 0xAB2F, ALD_SCRIPT_ETHIOPIC},
    {0xAB30, 0xAB64, ALD_SCRIPT_LATIN},     {0xAB65, 0xAB65, ALD_SCRIPT_GREEK},
    {0xAB66, 0xAB69, ALD_SCRIPT_LATIN},     {0xAC00, 0xD7FF, ALD_SCRIPT_HANGUL},
    {0xF900, 0xFAFF, ALD_SCRIPT_HAN},       {0xFB00, 0xFB06, ALD_SCRIPT_LATIN},
    {0xFB13, 0xFB17, ALD_SCRIPT_ARMENIAN},  {0xFB1D, 0xFB4F, ALD_SCRIPT_HEBREW},
    {0xFB50, 0xFDFF, ALD_SCRIPT_ARABIC},    {0xFE70, 0xFEFC, ALD_SCRIPT_ARABIC},
    {0xFF21, 0xFF3A, ALD_SCRIPT_LATIN},     {0xFF41, 0xFF5A, ALD_SCRIPT_LATIN},
    {0xFF66, 0xFF9F, ALD_SCRIPT_KANA},      {0xFFA0, 0xFFDC, ALD_SCRIPT_HANGUL},
    {0x20000, 0x323AF, ALD_SCRIPT_HAN},
};

const char *ald_script_name(ald_script_t script)
{
#define NAME(name, text) text,
    static const char *const names[] = {ALD_SCRIPTS(NAME)};
#undef NAME
    return names[script];
}

ald_script_t ald_script_of(int32_t c)
{
    size_t low = 0, high = sizeof ranges / sizeof ranges[0];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (c < ranges[middle].first)
            high = middle;
        else if (c > ranges[middle].last)
            low = middle + 1;
        else
            return ranges[middle].script;
    }
    return ALD_SCRIPT_NONE;
}

static bool is_letter_ascii(int32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_letter(int32_t c)
{
    const utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

/* Counts Han as the other script, where that is a tenth of both or more. */
static void join_han(int64_t *counts, ald_script_t other)
{
    const int64_t han = counts[ALD_SCRIPT_HAN];
    if (counts[other] > 0 && counts[other] * 10 >= counts[other] + han) {
        counts[other] += han;
        counts[ALD_SCRIPT_HAN] = 0;
    }
}

ald_script_t ald_script_main(const char *text, size_t length)
{
    enum { FEWEST = 4 };
    int64_t counts[ALD_SCRIPT_COUNT] = {0};
    for (size_t at = 0, step = 1; at < length; at += step) {
        step = 1;
        if ((unsigned char)text[at] < 0x80) {
            counts[ALD_SCRIPT_LATIN] += is_letter_ascii(text[at]);
            continue;
        }
        const int32_t c = ald_utf8_next(text + at, length - at, &step);
        if (is_letter(c))
            ++counts[ald_script_of(c)];
    }
    join_han(counts, ALD_SCRIPT_KANA);
    join_han(counts, ALD_SCRIPT_HANGUL);
    ald_script_t most = ALD_SCRIPT_NONE;
    int64_t letters = 0;
    for (int i = 0; i < ALD_SCRIPT_COUNT; ++i) {
        letters += counts[i];
        if (counts[i] > counts[most])
            most = (ald_script_t)i;
    }
    return letters < FEWEST ? ALD_SCRIPT_NONE : most;
}

bool ald_word_has(const char *text, size_t left)
{
    size_t step = 1;
    if ((unsigned char)*text < 0x80)
        return is_letter_ascii(*text) || (*text >= '0' && *text <= '9');
    const int32_t c = ald_utf8_next(text, left, &step);
    const utf8proc_category_t category = utf8proc_category(c);
    switch (ald_script_of(c)) {
    case ALD_SCRIPT_LATIN:
    case ALD_SCRIPT_GREEK:
    case ALD_SCRIPT_CYRILLIC:
    case ALD_SCRIPT_ARMENIAN:
        return ald_unicode_is_word(c);
    case ALD_SCRIPT_NONE:
        return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ND;
    default:
        return category == UTF8PROC_CATEGORY_ND;
    }
}

static bool is_unspaced(int32_t c)
{
    switch (ald_script_of(c)) {
    case ALD_SCRIPT_HAN:
    case ALD_SCRIPT_KANA:
    case ALD_SCRIPT_THAI:
    case ALD_SCRIPT_LAO:
    case ALD_SCRIPT_KHMER:
    case ALD_SCRIPT_MYANMAR:
    case ALD_SCRIPT_TIBETAN:
        return true;
    default:
        return false;
    }
}

/* What a character is for words; in lower case. */
typedef enum { BETWEEN, PART, WHOLE } kind_t;

static kind_t read_character(const char *text, size_t left, size_t *step, int32_t *lower)
{
    int32_t c = (unsigned char)*text;
    *step = 1;
    if (c < 0x80) {
        const bool upper = c >= 'A' && c <= 'Z';
        *lower = upper ? c + 'a' - 'A' : c;
        return is_letter_ascii(c) || (c >= '0' && c <= '9') || c == '_' ? PART : BETWEEN;
    }
    c = ald_utf8_next(text, left, step);
    *lower = utf8proc_tolower(c);
    if (!ald_unicode_is_word(c))
        return BETWEEN;
    return is_unspaced(c) ? WHOLE : PART;
}

ald_status_t ald_words_hash(const char *text, size_t length, ald_vec_t *words)
{
    ald_status_t status = ALD_STATUS_OK;
    uint64_t hash = 0;
    bool open = false;
    for (size_t at = 0, step = 1; at < length; at += step) {
        int32_t c = 0;
        const kind_t kind = read_character(text + at, length - at, &step, &c);
        if (open && kind != PART) {
            ALD_TRY(ald_vec_push(words, &hash));
            open = false;
        }
        if (kind == BETWEEN)
            continue;
        hash = ald_rng_mix(open ? hash : 0, (uint64_t)c);
        open = kind == PART;
        if (!open)
            ALD_TRY(ald_vec_push(words, &hash));
    }
    if (open)
        ALD_TRY(ald_vec_push(words, &hash));
done:
    return status;
}

ald_status_t ald_phrases_read(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    *out = ald_json_new_array();
    ALD_TRY(ald_file_read(path, &text, &size));
    ALD_CHECK(ald_utf8_is_valid(text, size) && memchr(text, '\0', size) == NULL, ALD_STATUS_INPUT,
              "%s: expected lines of text in UTF-8", path);
    for (const char *at = text; *at != '\0'; at += strspn(at, "\n")) {
        const size_t length = strcspn(at, "\n");
        const ald_slice_t line = ald_slice_trim((ald_slice_t){at, length});
        if (line.length > 0)
            ald_json_push(*out, ald_json_new_text(line.data, line.length));
        at += length;
    }
done:
    ald_free(text);
    return status;
}
