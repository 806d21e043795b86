#include "text/pretokenizer.h"

#include <string.h>

#include "text/unicode.h"

/* The pattern that ByteLevel stands for, as GPT-2 published it. */
static const char byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static ald_status_t add_stage(ald_pretokenizer_t *out, const ald_stage_t *stage)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(out->count < ALD_PRETOKENIZER_STAGES, ALD_STATUS_INPUT,
              "pre_tokenizer: more than %d stages are not supported", ALD_PRETOKENIZER_STAGES);
    out->stages[out->count++] = *stage;
done:
    return status;
}

static ald_status_t add_split(ald_pretokenizer_t *out, const char *pattern, size_t length,
                              bool literal, ald_split_t behavior, bool invert)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_stage_t stage = {.kind = ALD_STAGE_SPLIT, .behavior = behavior, .invert = invert};
    if (ald_regex_compile(pattern, length, literal, &stage.regex) != ALD_STATUS_OK)
        return ald_status_prefix(ALD_STATUS_INPUT, "pre_tokenizer.pattern");
    ALD_TRY(add_stage(out, &stage));
    stage.regex = NULL;
done:
    ald_regex_destroy(stage.regex);
    return status;
}

static ald_status_t load_split(const ald_json_t *json, ald_pretokenizer_t *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    ald_status_t status = ALD_STATUS_OK;
    const char *behavior = ald_json_text(ald_json_get(json, "behavior"), NULL);
    const ald_json_t *pattern = ald_json_get(json, "pattern");
    size_t length = 0;
    int found = -1;
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type pattern behavior invert"));
    for (int i = 0; i < 5 && behavior != NULL; ++i)
        found = strcmp(behavior, names[i]) == 0 ? i : found;
    ALD_CHECK(found >= 0, ALD_STATUS_INPUT, "pre_tokenizer.behavior \"%s\" is not supported",
              behavior == NULL ? "" : behavior);
    const char *regex = ald_json_text(ald_json_get(pattern, "Regex"), &length);
    bool literal = regex == NULL;
    if (literal)
        regex = ald_json_text(ald_json_get(pattern, "String"), &length);
    ALD_CHECK(regex != NULL && length > 0, ALD_STATUS_INPUT,
              "pre_tokenizer.pattern: expected {\"Regex\": ...} or {\"String\": ...}");
    ALD_TRY(add_split(out, regex, length, literal, (ald_split_t)found,
                      ald_json_bool(ald_json_get(json, "invert"), false)));
done:
    return status;
}

static ald_status_t load_digits(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool individual = ald_json_bool(ald_json_get(json, "individual_digits"), false);
    ald_stage_t stage = {.kind = ALD_STAGE_DIGITS,
                         .behavior = individual ? ALD_SPLIT_ISOLATED : ALD_SPLIT_CONTIGUOUS};
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type individual_digits"));
    ALD_TRY(add_stage(out, &stage));
done:
    return status;
}

static ald_status_t load_byte_level(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_stage_t prefix = {.kind = ALD_STAGE_PREFIX};
    ALD_TRY(
        ald_component_check(json, "pre_tokenizer", "type add_prefix_space trim_offsets use_regex"));
    if (ald_json_bool(ald_json_get(json, "add_prefix_space"), true))
        ALD_TRY(add_stage(out, &prefix));
    if (ald_json_bool(ald_json_get(json, "use_regex"), true))
        ALD_TRY(add_split(out, byte_level_pattern, strlen(byte_level_pattern), false,
                          ALD_SPLIT_ISOLATED, false));
    out->bytes = true;
done:
    return status;
}

/* `depth` bounds what a hostile file can nest. */
static ald_status_t load(const ald_json_t *json, int depth, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = NULL;
    const ald_json_t *list = ald_json_get(json, "pretokenizers");
    ALD_TRY(ald_component_type(json, "pre_tokenizer", &type));
    ALD_CHECK(!out->bytes, ALD_STATUS_INPUT,
              "pre_tokenizer.type \"%s\" after ByteLevel is not supported", type);
    if (strcmp(type, "ByteLevel") == 0)
        return load_byte_level(json, out);
    if (strcmp(type, "Split") == 0)
        return load_split(json, out);
    if (strcmp(type, "Digits") == 0)
        return load_digits(json, out);
    if (strcmp(type, "Sequence") != 0)
        return ald_component_unsupported("pre_tokenizer", type,
                                         "ByteLevel, Split, Digits or Sequence");
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type pretokenizers"));
    ALD_CHECK(ald_json_is_array(list) && depth < 4, ALD_STATUS_INPUT,
              "pre_tokenizer.pretokenizers: expected a list, found %s", ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list); ++i)
        ALD_TRY(load(ald_json_at(list, i), depth + 1, out));
done:
    return status;
}

ald_status_t ald_pretokenizer_load(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    memset(out, 0, sizeof *out);
    ALD_CHECK(!ald_json_is_null(json), ALD_STATUS_INPUT,
              "pre_tokenizer null is not supported; expected one that ends in ByteLevel");
    ALD_TRY(load(json, 0, out));
    ALD_CHECK(out->bytes, ALD_STATUS_INPUT,
              "pre_tokenizer without ByteLevel is not supported (not a byte-level tokenizer)");
done:
    return status;
}

void ald_pretokenizer_reset(ald_pretokenizer_t *pretokenizer)
{
    for (int i = 0; i < pretokenizer->count; ++i)
        ald_regex_destroy(pretokenizer->stages[i].regex);
    memset(pretokenizer, 0, sizeof *pretokenizer);
}

ald_status_t ald_pieces_init(ald_pieces_t *pieces)
{
    memset(pieces, 0, sizeof *pieces);
    ald_vec_init(&pieces->spans, sizeof(ald_span_t));
    ald_vec_init(&pieces->before, sizeof(ald_span_t));
    ald_vec_init(&pieces->buffers[0], 1);
    ald_vec_init(&pieces->buffers[1], 1);
    return ald_regex_match_new(&pieces->match);
}

void ald_pieces_reset(ald_pieces_t *pieces)
{
    ald_vec_reset(&pieces->spans);
    ald_vec_reset(&pieces->before);
    ald_vec_reset(&pieces->buffers[0]);
    ald_vec_reset(&pieces->buffers[1]);
    ald_regex_match_destroy(pieces->match);
    memset(pieces, 0, sizeof *pieces);
}

/* One span's way through a split: its parts, matched or not, arrive from left to right. */
typedef struct {
    const ald_stage_t *stage;
    ald_vec_t *spans;
    size_t first;  /* of this span's pieces in `spans` */
    bool previous; /* whether the part before was a match */
} splitter_t;

static ald_status_t put_part(splitter_t *splitter, size_t start, size_t end, bool match)
{
    const ald_span_t part = {start, end - start};
    bool before = splitter->previous, extend = false;
    match = match != splitter->stage->invert;
    switch (splitter->stage->behavior) {
    case ALD_SPLIT_REMOVED:
        if (match)
            return ALD_STATUS_OK;
        break;
    case ALD_SPLIT_ISOLATED:
        break;
    case ALD_SPLIT_MERGED_WITH_PREVIOUS:
        extend = match && !before;
        break;
    case ALD_SPLIT_MERGED_WITH_NEXT:
        extend = !match && before;
        break;
    case ALD_SPLIT_CONTIGUOUS:
        extend = match == before;
        break;
    }
    splitter->previous = match;
    if (!extend || splitter->spans->count == splitter->first)
        return ald_vec_push(splitter->spans, &part);
    ALD_VEC_AT(splitter->spans, ald_span_t, splitter->spans->count - 1).length += part.length;
    return ALD_STATUS_OK;
}

static ald_status_t split_by_regex(splitter_t *splitter, const ald_pieces_t *pieces,
                                   ald_span_t span)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *text = pieces->text + span.start;
    size_t done_to = 0;
    for (;;) {
        size_t start = 0, end = 0;
        bool found = false;
        ALD_TRY(ald_regex_next(splitter->stage->regex, pieces->match, text, span.length, done_to,
                               &found, &start, &end));
        if (!found)
            break;
        if (start > done_to)
            ALD_TRY(put_part(splitter, span.start + done_to, span.start + start, false));
        ALD_TRY(put_part(splitter, span.start + start, span.start + end, true));
        done_to = end;
        if (done_to == span.length)
            break;
    }
    if (done_to < span.length)
        ALD_TRY(put_part(splitter, span.start + done_to, span.start + span.length, false));
done:
    return status;
}

static ald_status_t split_digits(splitter_t *splitter, const ald_pieces_t *pieces, ald_span_t span)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t end = span.start + span.length, run = span.start, step = 1;
    for (size_t at = span.start; at < end; at += step) {
        unsigned char c = (unsigned char)pieces->text[at];
        step = 1;
        bool digit =
            c < 0x80 ? c >= '0' && c <= '9'
                     : ald_unicode_is_numeric(ald_utf8_next(pieces->text + at, end - at, &step));
        if (!digit)
            continue;
        if (run < at)
            ALD_TRY(put_part(splitter, run, at, false));
        ALD_TRY(put_part(splitter, at, at + step, true));
        run = at + step;
    }
    if (run < end)
        ALD_TRY(put_part(splitter, run, end, false));
done:
    return status;
}

/* Copies the text with a space before each piece that has none, and moves the pieces. */
static ald_status_t add_prefixes(ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    bool second = pieces->text == pieces->buffers[0].data;
    ald_vec_t *buffer = &pieces->buffers[second];
    buffer->count = 0;
    for (size_t i = 0; i < pieces->spans.count; ++i) {
        ald_span_t *span = &ALD_VEC_AT(&pieces->spans, ald_span_t, i);
        const char *from = pieces->text + span->start;
        size_t start = buffer->count;
        if (from[0] != ' ')
            ALD_TRY(ald_vec_append(buffer, " ", 1));
        ALD_TRY(ald_vec_append(buffer, from, span->length));
        *span = (ald_span_t){start, buffer->count - start};
    }
    pieces->text = buffer->data;
done:
    return status;
}

static ald_status_t run_stage(const ald_stage_t *stage, ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    if (stage->kind == ALD_STAGE_PREFIX)
        return add_prefixes(pieces);
    ald_vec_t before = pieces->spans;
    pieces->spans = pieces->before;
    pieces->before = before;
    pieces->spans.count = 0;
    for (size_t i = 0; i < before.count; ++i) {
        ald_span_t span = ALD_VEC_AT(&before, ald_span_t, i);
        splitter_t splitter = {stage, &pieces->spans, pieces->spans.count, false};
        if (stage->kind == ALD_STAGE_DIGITS)
            ALD_TRY(split_digits(&splitter, pieces, span));
        else
            ALD_TRY(split_by_regex(&splitter, pieces, span));
    }
done:
    return status;
}

ald_status_t ald_pretokenizer_split(const ald_pretokenizer_t *pretokenizer, const char *text,
                                    size_t length, ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_span_t whole = {0, length};
    pieces->text = text;
    pieces->spans.count = 0;
    if (length == 0)
        return status;
    ALD_TRY(ald_vec_push(&pieces->spans, &whole));
    for (int i = 0; i < pretokenizer->count; ++i)
        ALD_TRY(run_stage(&pretokenizer->stages[i], pieces));
done:
    return status;
}
