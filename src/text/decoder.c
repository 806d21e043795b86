/* Makes text of tokens by the steps of the "decoder" of tokenizer.json. All tokens lie in one
 * buffer with their ends, since a step may join or rewrite any of them. */
#include "text/decoder_impl.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/bpe_impl.h"
#include "text/pretokenizer_impl.h"
#include "text/regex_impl.h"
#include "text/unicode_impl.h"

static ald_status_t load_bare(const ald_json_t *json, ald_decode_step_t *out)
{
    (void)out;
    return ald_component_check(json, "decoder", "type add_prefix_space trim_offsets use_regex");
}

static ald_status_t load_strip(const ald_json_t *json, ald_decode_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0, step = 0;
    const char *text = ald_json_text(ald_json_get(json, "content"), &length);
    out->start = ald_json_integer(ald_json_get(json, "start"), -1);
    out->stop = ald_json_integer(ald_json_get(json, "stop"), -1);
    ALD_TRY(ald_component_check(json, "decoder", "type content start stop"));
    ALD_CHECK(text != NULL && length > 0 && ald_utf8_next(text, length, &step) >= 0 &&
                  step == length && out->start >= 0 && out->stop >= 0,
              ALD_STATUS_INPUT,
              "decoder: Strip: expected one character in \"content\", \"start\" and \"stop\"");
    memcpy(out->text, text, length);
done:
    return status;
}

static ald_status_t load_replace(const ald_json_t *json, ald_decode_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const char *text = ald_json_text(ald_json_get(json, "content"), &length);
    ALD_TRY(ald_component_check(json, "decoder", "type pattern content"));
    ALD_CHECK(text != NULL && length < sizeof out->text && strlen(text) == length, ALD_STATUS_INPUT,
              "decoder.content: expected a string of less than %zu bytes", sizeof out->text);
    memcpy(out->text, text, length);
    ALD_TRY(ald_regex_load(json, "decoder", &out->regex));
done:
    return status;
}

static ald_status_t load_metaspace(const ald_json_t *json, ald_decode_step_t *out)
{
    bool split = true;
    return ald_metaspace_load(json, "decoder", out->text, &out->prepend, &split);
}

static ald_status_t load_step(const ald_json_t *json, const char *type, ald_decoder_t *out)
{
    static const struct {
        const char *name;
        ald_decode_t kind;
        ald_status_t (*load)(const ald_json_t *, ald_decode_step_t *);
    } loaders[] = {{"ByteLevel", ALD_DECODE_BYTE_LEVEL, load_bare},
                   {"ByteFallback", ALD_DECODE_BYTE_FALLBACK, load_bare},
                   {"Fuse", ALD_DECODE_FUSE, load_bare},
                   {"Strip", ALD_DECODE_STRIP, load_strip},
                   {"Replace", ALD_DECODE_REPLACE, load_replace},
                   {"Metaspace", ALD_DECODE_METASPACE, load_metaspace}};
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(out->count < ALD_DECODER_STEPS, ALD_STATUS_INPUT,
              "decoder: more than %d steps are not supported", ALD_DECODER_STEPS);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; ++i)
        if (strcmp(loaders[i].name, type) == 0) {
            ald_decode_step_t *step = &out->steps[out->count++];
            step->kind = loaders[i].kind;
            return loaders[i].load(json, step);
        }
    return ald_component_unsupported(
        "decoder", type, "ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace or Sequence");
done:
    return status;
}

/* Loads a decoder or a sequence of decoders; `depth` limits the nesting, for hostile files. */
static ald_status_t load(const ald_json_t *json, int depth, ald_decoder_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = NULL;
    const ald_json_t *list = ald_json_get(json, "decoders");
    ALD_TRY(ald_component_type(json, "decoder", &type));
    if (strcmp(type, "Sequence") != 0)
        return load_step(json, type, out);
    ALD_TRY(ald_component_check(json, "decoder", "type decoders"));
    ALD_CHECK(ald_json_is_array(list) && depth < 4, ALD_STATUS_INPUT,
              "decoder.decoders: expected a list, found %s", ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list); ++i)
        ALD_TRY(load(ald_json_at(list, i), depth + 1, out));
done:
    return status;
}

ald_status_t ald_decoder_load(const ald_json_t *json, ald_decoder_t *out)
{
    memset(out, 0, sizeof *out);
    ald_symbol_bytes(out->symbol_bytes);
    out->spaced = ald_json_is_null(json);
    return out->spaced ? ALD_STATUS_OK : load(json, 0, out);
}

void ald_decoder_reset(ald_decoder_t *decoder)
{
    for (int i = 0; i < decoder->count; ++i)
        ald_regex_destroy(decoder->steps[i].regex);
    memset(decoder, 0, sizeof *decoder);
}

bool ald_decoder_is_plain(const ald_decoder_t *decoder)
{
    return decoder->count == 1 && decoder->steps[0].kind == ALD_DECODE_BYTE_LEVEL;
}

ald_status_t ald_decoder_put_bytes(const ald_decoder_t *decoder, const char *token, size_t length,
                                   ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t start = text->count, step = 0;
    for (size_t at = 0; at < length; at += step) {
        int32_t c = ald_utf8_next(token + at, length - at, &step);
        int16_t byte = c < ALD_BYTE_SYMBOL_END ? decoder->symbol_bytes[c] : -1;
        if (byte < 0) {
            text->count = start;
            return ald_vec_append(text, token, length);
        }
        char c_byte = (char)byte;
        ALD_TRY(ald_vec_append(text, &c_byte, 1));
    }
done:
    return status;
}

void ald_decoded_init(ald_decoded_t *tokens)
{
    ald_vec_init(&tokens->text, 1);
    ald_vec_init(&tokens->ends, sizeof(size_t));
    tokens->within = false;
}

void ald_decoded_reset(ald_decoded_t *tokens)
{
    ald_vec_reset(&tokens->text);
    ald_vec_reset(&tokens->ends);
}

ald_status_t ald_decoded_push(ald_decoded_t *tokens, const char *text, size_t length)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_append(&tokens->text, text, length));
    ALD_TRY(ald_vec_push(&tokens->ends, &tokens->text.count));
done:
    return status;
}

/* The byte that <0x0A> spells, or -1. */
static int fallback_byte(const char *token, size_t length)
{
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    if (length != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    const char *high = strchr(digits, token[3]), *low = strchr(digits, token[4]);
    if (high == NULL || low == NULL || *high == '\0' || *low == '\0')
        return -1;
    return (int)((high - digits) % 16 * 16 + (low - digits) % 16);
}

/* Appends a token without up to `start` and `stop` of the step's characters at its ends. */
static ald_status_t put_stripped(const ald_decode_step_t *step, const char *token, size_t length,
                                 ald_vec_t *text)
{
    size_t width = strlen(step->text);
    for (int64_t i = 0; i < step->start && length >= width; ++i) {
        if (memcmp(token, step->text, width) != 0)
            break;
        token += width;
        length -= width;
    }
    for (int64_t i = 0; i < step->stop && length >= width; ++i) {
        if (memcmp(token + length - width, step->text, width) != 0)
            break;
        length -= width;
    }
    return length == 0 ? ALD_STATUS_OK : ald_vec_append(text, token, length);
}

/* Appends a token with Metaspace's character turned into spaces. At the beginning of the first
 * token it becomes nothing, unless the pre-tokenizer never puts it in front. */
static ald_status_t put_spaces(const ald_decode_step_t *step, const char *token, size_t length,
                               bool first, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t width = strlen(step->text);
    bool silent = first && step->prepend != ALD_PREPEND_NEVER;
    for (size_t at = 0; at < length;) {
        const char *found = memmem(token + at, length - at, step->text, width);
        size_t before = found == NULL ? length - at : (size_t)(found - token) - at;
        ALD_TRY(ald_vec_append(text, token + at, before));
        at += before;
        if (found == NULL)
            break;
        if (!silent)
            ALD_TRY(ald_vec_append(text, " ", 1));
        at += width;
    }
done:
    return status;
}

static ald_status_t put_token(const ald_decoder_t *decoder, const ald_decode_step_t *step,
                              const char *token, size_t length, bool first, ald_decoded_t *to)
{
    ald_vec_t *text = &to->text;
    int byte = step->kind == ALD_DECODE_BYTE_FALLBACK ? fallback_byte(token, length) : -1;
    const char c = (char)byte;
    if (length == 0)
        return ALD_STATUS_OK;
    switch (step->kind) {
    case ALD_DECODE_BYTE_LEVEL:
        return ald_decoder_put_bytes(decoder, token, length, text);
    case ALD_DECODE_STRIP:
        return put_stripped(step, token, length, text);
    case ALD_DECODE_REPLACE:
        if (ald_utf8_check(token, length) !=
            ALD_STATUS_OK) /* these are bytes, which no pattern is meant for */
            break;
        return ald_regex_replace(step->regex, token, length,
                                 &(ald_replacement_t){step->text, strlen(step->text), to->most},
                                 text);
    case ALD_DECODE_METASPACE:
        return put_spaces(step, token, length, first, text);
    case ALD_DECODE_BYTE_FALLBACK:
    case ALD_DECODE_FUSE:
        break;
    }
    return byte >= 0 ? ald_vec_append(text, &c, 1) : ald_vec_append(text, token, length);
}

/* Applies one step to all tokens. Consecutive bytes become one token; Fuse and ByteLevel make one
 * of all tokens. */
static ald_status_t run_step(const ald_decoder_t *decoder, const ald_decode_step_t *step,
                             const ald_decoded_t *from, ald_decoded_t *to)
{
    ald_status_t status = ALD_STATUS_OK;
    bool fuses = step->kind == ALD_DECODE_FUSE || step->kind == ALD_DECODE_BYTE_LEVEL;
    bool bytes = false;
    size_t start = 0;
    to->text.count = to->ends.count = 0;
    ALD_TRY(ald_vec_reserve(&to->text, 1)); /* tokens of no text are somewhere, too */
    for (size_t i = 0; i < from->ends.count; ++i) {
        size_t end = ALD_VEC_AT(&from->ends, size_t, i);
        const char *token = (const char *)from->text.data + start;
        bool byte =
            step->kind == ALD_DECODE_BYTE_FALLBACK && fallback_byte(token, end - start) >= 0;
        if (to->ends.count > 0 && (fuses || (byte && bytes)))
            to->ends.count--;
        ALD_TRY(put_token(decoder, step, token, end - start, i == 0 && !from->within, to));
        ALD_TRY(ald_vec_push(&to->ends, &to->text.count));
        bytes = byte;
        start = end;
    }
done:
    return status;
}

/* Whether a step strips the ends of the whole text, as Strip does behind a step that makes one
 * token of all. */
static bool strips_text(const ald_decoder_t *decoder, int step)
{
    bool fused = false;
    for (int i = 0; i < step; ++i)
        fused = fused || decoder->steps[i].kind == ALD_DECODE_FUSE ||
                decoder->steps[i].kind == ALD_DECODE_BYTE_LEVEL;
    return fused && decoder->steps[step].kind == ALD_DECODE_STRIP;
}

static ald_status_t join(const ald_decoded_t *tokens, bool spaced, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t start = 0;
    for (size_t i = 0; i < tokens->ends.count; ++i) {
        size_t end = ALD_VEC_AT(&tokens->ends, size_t, i);
        if (spaced && (i > 0 || tokens->within))
            ALD_TRY(ald_vec_append(text, " ", 1));
        if (end > start)
            ALD_TRY(ald_vec_append(text, (const char *)tokens->text.data + start, end - start));
        start = end;
    }
done:
    return status;
}

ald_status_t ald_decoder_run(const ald_decoder_t *decoder, ald_decoded_t *tokens, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_decoded_t other;
    ald_decoded_init(&other);
    other.most = tokens->most = ald_regex_most(tokens->text.count);
    other.within = tokens->within;
    for (int i = 0; i < decoder->count; ++i) {
        if (tokens->within && strips_text(decoder, i))
            continue;
        ALD_TRY(run_step(decoder, &decoder->steps[i], tokens, &other));
        const ald_decoded_t done = other;
        other = *tokens;
        *tokens = done;
    }
    ALD_TRY(join(tokens, decoder->spaced, text));
done:
    ald_decoded_reset(&other);
    return status;
}
