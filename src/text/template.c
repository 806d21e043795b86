/* Recognises a chat template by the digest of a canonical form. Published templates are copied
 * with other quotes, line breaks and default messages, which must not matter. */
#include "text/template_impl.h"

#include <ctype.h>
#include <string.h>

#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/jinja_source_impl.h"

#define PRINTED "\003" /* ends what is printed, as ; ends a statement */

/* The canonical form has literals in single quotes, with \n for newlines and \\ for a backslash. A
 * quote within a literal becomes a control character, so that '+' can only be what joins two
 * literals; the control characters that stand for something here are spelled out. */
static ald_status_t put_char(ald_vec_t *out, char c)
{
    if (c == '\n')
        return ald_vec_append(out, "\\n", 2);
    if (c == '\\')
        return ald_vec_append(out, "\\\\", 2);
    if (c == '\'')
        return ald_vec_append(out, "\x02", 1);
    if (c == 2 || c == 3)
        return ald_vec_printf(out, "\\x%02x", (unsigned)c);
    return ald_vec_append(out, &c, 1);
}

static ald_status_t put_text(ald_vec_t *out, const char *text, size_t length)
{
    ald_status_t status = ALD_STATUS_OK;
    if (length == 0)
        return status;
    ALD_TRY(ald_vec_append(out, "='", 2));
    for (size_t i = 0; i < length; ++i)
        ALD_TRY(put_char(out, text[i]));
    ALD_TRY(ald_vec_append(out, "'" PRINTED, 2));
done:
    return status;
}

/* Appends what the escape whose letter is at *at stands for, and moves *at behind it. One that
 * isn't read makes a form that nothing has. */
static ald_status_t put_escape(ald_vec_t *out, const char **at, const char *end)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_jinja_escape_t escape = ald_jinja_escape(at, end);
    if (!escape.known)
        return ald_vec_printf(out, "\\?");
    for (size_t i = 0; i < escape.length; ++i)
        ALD_TRY(put_char(out, escape.bytes[i]));
done:
    return status;
}

/* Appends the literal that starts at *at, and moves *at behind it. */
static ald_status_t put_literal(ald_vec_t *out, const char **at, const char *end)
{
    ald_status_t status = ALD_STATUS_OK;
    const char quote = **at, *p = *at + 1;
    ALD_TRY(ald_vec_append(out, "'", 1));
    while (p < end && *p != quote) {
        const char c = *p++;
        ALD_TRY(c == '\\' && p < end ? put_escape(out, &p, end) : put_char(out, c));
    }
    ALD_TRY(ald_vec_append(out, "'", 1));
    *at = p < end ? p + 1 : end;
done:
    return status;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The length of ['name'] at `p`, with the name's bounds; 0 for anything else. */
static size_t subscript(const char *p, const char *end, const char **name, size_t *length)
{
    if (end - p < 5 || p[0] != '[' || (p[1] != '\'' && p[1] != '"'))
        return 0;
    *name = p + 2;
    *length = 0;
    while (*name + *length < end && is_word((*name)[*length]))
        ++*length;
    const char *after = *name + *length;
    bool closed = *length > 0 && end - after >= 2 && after[0] == p[1] && after[1] == ']';
    return closed ? *length + 4 : 0;
}

/* Appends the inside of a tag without its white space. */
static ald_status_t put_code(ald_vec_t *out, const char *p, const char *end)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = NULL;
    size_t length = 0;
    while (p < end) {
        const char *text = out->data;
        size_t step = subscript(p, end, &name, &length);
        if (step > 0 && out->count > 0 &&
            (is_word(text[out->count - 1]) || text[out->count - 1] == ']')) {
            ALD_TRY(ald_vec_append(out, ".", 1));
            ALD_TRY(ald_vec_append(out, name, length));
            p += step;
        } else if (*p == '\'' || *p == '"') {
            ALD_TRY(put_literal(out, &p, end));
        } else if (isspace((unsigned char)*p)) {
            while (p < end && isspace((unsigned char)*p))
                ++p;
            if (p < end && is_word(*p) && out->count > 0 && is_word(text[out->count - 1]))
                ALD_TRY(ald_vec_append(out, " ", 1));
        } else {
            ALD_TRY(ald_vec_append(out, p++, 1));
        }
    }
done:
    return status;
}

/* Whether a tag only marks answers for a mask, which changes nothing of the text. */
static bool marks_generation(const char *tag, size_t length)
{
    static const char *const marks[] = {"%generation", "%endgeneration"};
    for (int i = 0; i < 2; ++i)
        if (length == strlen(marks[i]) && memcmp(tag, marks[i], length) == 0)
            return true;
    return false;
}

static ald_status_t put_tag(ald_vec_t *out, const ald_jinja_piece_t *tag)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool output = tag->kind == ALD_JINJA_PIECE_OUTPUT;
    const size_t begin = out->count;
    ALD_TRY(ald_vec_append(out, output ? "=" : "%", 1));
    ALD_TRY(put_code(out, tag->from, tag->to));
    if (!output && marks_generation((char *)out->data + begin, out->count - begin))
        out->count = begin;
    else
        ALD_TRY(ald_vec_append(out, output ? PRINTED : ";", 1));
done:
    return status;
}

/* Replaces `from` by `to`, which is not longer, in place. */
static void replace(ald_vec_t *text, const char *from, size_t length, const char *to)
{
    char *data = text->data, *out = data;
    const char *at = data, *end = data + text->count;
    while (at < end) {
        const char *found = memmem(at, (size_t)(end - at), from, length);
        size_t keep = (size_t)((found == NULL ? end : found) - at);
        memmove(out, at, keep);
        out += keep;
        at += keep;
        if (found != NULL) {
            memcpy(out, to, strlen(to));
            out += strlen(to);
            at += length;
        }
    }
    text->count = (size_t)(out - data);
}

/* Appends a template in a canonical form: layout, the kind of quotes, x['y'] or x.y, and text or
 * printed literals make no difference, under transformers' settings (trim_blocks, lstrip_blocks).
 */
static ald_status_t canonical_form(const char *text, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_jinja_source_t source;
    ald_jinja_piece_t piece;
    ALD_TRY(ald_jinja_source_open(text, &source));
    while ((piece = ald_jinja_source_next(&source)).kind != ALD_JINJA_PIECE_END) {
        if (piece.kind == ALD_JINJA_PIECE_TEXT)
            ALD_TRY(put_text(out, piece.from, (size_t)(piece.to - piece.from)));
        else if (piece.kind == ALD_JINJA_PIECE_UNCLOSED)
            ALD_TRY(ald_vec_printf(out, "unclosed"));
        else
            ALD_TRY(put_tag(out, &piece));
    }
    replace(out, PRINTED "=", 2,
            "+"); /* printing two literals one after the other is printing their sum */
    replace(out, "'+'", 3, "");
done:
    ald_jinja_source_close(&source);
    return status;
}

/* sha256 of canonical templates, with the default system message as "@". */
static const struct {
    ald_template_t kind;
    const char *sha256;
} known_templates[] = {
    {ALD_TEMPLATE_SMOLLM2, "02700763edcfd2912eac057e6d828c50ef13fdc07d93633f568314e49b23001e"},
    {ALD_TEMPLATE_QWEN25, "3c4a46e21649433819d30d1fb051dd2efe6cf23b2d35653e6189ffd8744411bc"},
    {ALD_TEMPLATE_QWEN3, "90d1762b086fed8fed3c4b86d68933eeffb1cbc631cf1d32ea46d6376acdae9c"},
    {ALD_TEMPLATE_QWEN25, "1e4d62c83eaccec0cb4a4e9393e8f482bd5ce1ee00a401b94cb15e0beb415951"},
    {ALD_TEMPLATE_QWEN3_INSTRUCT,
     "9c6fb190832498baa07fb2d40533412ef08f058bad643f98c06806824ca9461d"},
    {ALD_TEMPLATE_QWEN3_TRAINING,
     "0cb5af72a84f22bafed755dd31d82ba6f747d7557ece700f02965eeccfd148c4"},
    {ALD_TEMPLATE_LLAMA3, "d5141d43055ddaa822e4f506a019ca8366dca53762a1f244fa027d928cae236e"},
    {ALD_TEMPLATE_LLAMA3, "7db9ed1a4e698a5eeafcfbe46bba1fab3028fc7482bad53486ad4301b2ba9ab3"},
    {ALD_TEMPLATE_LLAMA3_OPEN, "1487622eafed4f8f8ddac9b7b409a65bf5b00fdfbe865fc0205ca65d406a8020"},
    {ALD_TEMPLATE_LLAMA31, "349bd2a34bfeb54a3cd56862f744678a9e786e9d3697f0306d94a0d120abb07c"},
    {ALD_TEMPLATE_LLAMA31, "4e02dd87f7bd17d1fcaeb807e06ff8e1cc16590672ffcefc1a0afa9bbfa3f8d9"},
    {ALD_TEMPLATE_LLAMA31, "c9896fb5adf5cd886aaccb9a91d3499751647d230266f8edaa9b21d89b459371"},
    {ALD_TEMPLATE_LLAMA2, "fc2f99bc1ad91e8a686debde7703ee1d22486b78601b231396290a72a578f5cb"},
    {ALD_TEMPLATE_LLAMA2, "888389dadcd3cbf30b209e6e9680c164d12f338bd8940fdaa265e0cf7d424aa8"},
    {ALD_TEMPLATE_LLAMA2, "98647f99820edf38533447aea783c60a0199272f71c9b821128f68953986f694"},
    {ALD_TEMPLATE_MISTRAL_OLD, "9812be66f7ba262934310c87d0dead0fbb1358dd2d85bceab89827234aff0ce9"},
    {ALD_TEMPLATE_MISTRAL_OLD_SPACE,
     "e3863970f99cda5759f2b6cead93b033ac85a61f9b966b8c4e0d91e1a419c1d8"},
    {ALD_TEMPLATE_MISTRAL_V1, "af1735ccaab9dbef49982880fabf14b8733f7bfbb085b71f86c0d2c0a552c3ac"},
    {ALD_TEMPLATE_MISTRAL_V3, "c6b395ef2a703bf4db924a667fcc148ae4f5c659f0da7f8e71d01f996c9d58bc"},
    {ALD_TEMPLATE_MISTRAL_TEKKEN,
     "5ac6a6ac05500105e704f7d75eed98db40fbc975f14a09b3bd687be2e8bed4f1"},
    {ALD_TEMPLATE_MISTRAL_TEKKEN,
     "9df2ade65202c1a7a693bee9cf85f3eddbca006070e932c7146a6f21e2087d04"},
    {ALD_TEMPLATE_ZEPHYR, "4f419fcf93f8008fa11941a49c43c2996070e8066c6ec1d64b515af24ee3f682"},
};
static const char plain_template[] =
    "%for message in "
    "messages;='<|im_start|>'+message.role+'\\n'+message.content+'<|im_end|>\\n'" PRINTED
    "%endfor;%if add_generation_prompt;='<|im_start|>assistant\\n'" PRINTED "%endif;";

/* Cuts the default system message, if the template has one, out into `message`; false when it
 * doesn't fit. */
static bool take_default(ald_vec_t *canonical, char *message, size_t size)
{
    static const char opening[] = "<|im_start|>system\\n", closing[] = "<|im_end|>\\n'";
    const char *from = canonical->data, *end = from + canonical->count;
    message[0] = '\0';
    while ((from = memmem(from, (size_t)(end - from), opening, strlen(opening))) != NULL) {
        from += strlen(opening);
        const char *quote = memchr(from, '\'', (size_t)(end - from));
        const char *to = memmem(from, (size_t)(end - from), closing, strlen(closing));
        if (to == NULL || quote == NULL || to > quote || to == from)
            continue;
        char copy[512];
        size_t length = (size_t)(to - from);
        if (length >= size || length >= sizeof copy || memchr(from, 2, length) != NULL ||
            memmem(from, length, "\\x", 2) != NULL || memmem(from, length, "\\?", 2) != NULL)
            return false;
        memcpy(message, from, length);
        message[length] = '\0';
        memcpy(copy, from, length);
        replace(canonical, copy, length, "@");
        return true;
    }
    return true;
}

/* Turns the canonical form's \n and \\ back into newlines and backslashes, in place. */
static void restore_escapes(char *text)
{
    char *to = text;
    for (; *text != '\0'; ++text, ++to) {
        *to = *text;
        if (text[0] == '\\' && (text[1] == 'n' || text[1] == '\\'))
            *to = *++text == 'n' ? '\n' : '\\';
    }
    *to = '\0';
}

ald_status_t ald_template_recognise(const char *text, bool *known, ald_template_t *kind,
                                    char *default_system, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t canonical;
    ald_sha256_t sha;
    char hex[ALD_SHA256_HEX];
    ald_vec_init(&canonical, 1);
    *known = false;
    ALD_TRY(canonical_form(text, &canonical));
    if (canonical.count == 0 || !take_default(&canonical, default_system, size))
        goto done;
    restore_escapes(default_system);
    if (canonical.count == strlen(plain_template) &&
        memcmp(canonical.data, plain_template, canonical.count) == 0) {
        *known = true;
        *kind = ALD_TEMPLATE_PLAIN;
    }
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, canonical.data, canonical.count);
    ald_sha256_final(&sha, hex);
    for (size_t i = 0; i < sizeof known_templates / sizeof known_templates[0]; ++i)
        if (strcmp(known_templates[i].sha256, hex) == 0) {
            *known = true;
            *kind = known_templates[i].kind;
        }
done:
    ald_vec_reset(&canonical);
    return status;
}
