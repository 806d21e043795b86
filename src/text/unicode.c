/* UTF-8 and classes of characters, by utf8proc, and the checks of a tokenizer's components. A
 * member that is not known is refused: it might change what the component does. */
#include "text/unicode_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "ald/base/json.h"
#include "ald/base/status.h"

int32_t ald_utf8_next(const char *text, size_t length, size_t *step)
{
    utf8proc_int32_t c = 0xFFFD;
    utf8proc_ssize_t used =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &c);
    *step = used > 0 ? (size_t)used : 1;
    return c;
}

size_t ald_utf8_last(const char *text, size_t length)
{
    size_t at = length - 1;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80)
        --at;
    return at;
}

ald_status_t ald_utf8_check(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        utf8proc_int32_t c;
        if ((unsigned char)text[at] < 0x80) {
            ++at;
            continue;
        }
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                 (utf8proc_ssize_t)(length - at), &c);
        if (used <= 0)
            return ald_status_raise(ALD_STATUS_INPUT, "invalid UTF-8 at byte %zu (0x%02X)", at,
                                    (unsigned)(unsigned char)text[at]);
        at += (size_t)used;
    }
    return ALD_STATUS_OK;
}

bool ald_unicode_is_space(int32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    utf8proc_category_t category = utf8proc_category(c);
    return c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

bool ald_unicode_is_word(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL;
    bool circled = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                   (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    bool joiner = c == 0x200C || c == 0x200D;
    return letter || circled || joiner || category == UTF8PROC_CATEGORY_PC;
}

bool ald_unicode_is_punctuation(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    if (c < 0x80)
        return c > ' ' && c < 0x7F && !(c >= '0' && c <= '9') &&
               !((c | 32) >= 'a' && (c | 32) <= 'z');
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool ald_unicode_is_printed(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return c == ' ' || (category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS);
}

bool ald_unicode_is_numeric(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

ald_status_t ald_component_check(const ald_json_t *object, const char *place, const char *known)
{
    void *iterator = NULL;
    const char *key = NULL;
    const ald_json_t *value = NULL;
    while (ald_json_next(object, &iterator, &key, &value)) {
        size_t length = strlen(key);
        bool found = false;
        for (const char *at = known; *at != '\0' && !found; at += strspn(at, " ")) {
            size_t word = strcspn(at, " ");
            found = word == length && memcmp(at, key, length) == 0;
            at += word;
        }
        if (!found)
            return ald_status_raise(ALD_STATUS_INPUT, "%s%s%s is not supported", place,
                                    place[0] == '\0' ? "" : ".", key);
    }
    return ALD_STATUS_OK;
}

ald_status_t ald_component_type(const ald_json_t *object, const char *place, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(ald_json_is_object(object), ALD_STATUS_INPUT, "%s: expected an object, found %s",
              place, ald_json_type_name(object));
    *out = ald_json_text(ald_json_get(object, "type"), NULL);
    ALD_CHECK(*out != NULL, ALD_STATUS_INPUT, "%s.type: expected a string, found %s", place,
              ald_json_type_name(ald_json_get(object, "type")));
done:
    return status;
}

ald_status_t ald_component_unsupported(const char *place, const char *type, const char *expected)
{
    return ald_status_raise(ALD_STATUS_INPUT, "%s.type \"%s\" is not supported; expected %s", place,
                            type, expected);
}
