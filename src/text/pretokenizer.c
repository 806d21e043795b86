/* Cuts text into pieces by the stages of the "pre_tokenizer" of tokenizer.json. A piece is a span
 * of the text, so that most stages copy nothing. */
#include "text/pretokenizer_impl.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/regex_impl.h"
#include "text/unicode_impl.h"

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

static ald_status_t load_behavior(const ald_json_t *json, const char *otherwise, ald_split_t *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *given = ald_json_get(json, "behavior");
    const char *behavior = given == NULL ? otherwise : ald_json_text(given, NULL);
    int found = -1;
    for (int i = 0; i < 5 && behavior != NULL; ++i)
        found = strcmp(behavior, names[i]) == 0 ? i : found;
    ALD_CHECK(found >= 0, ALD_STATUS_INPUT, "pre_tokenizer.behavior \"%s\" is not supported",
              behavior == NULL ? "" : behavior);
    *out = (ald_split_t)found;
done:
    return status;
}

static ald_status_t load_split(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_stage_t stage = {.kind = ALD_STAGE_SPLIT,
                         .invert = ald_json_bool(ald_json_get(json, "invert"), false)};
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type pattern behavior invert"));
    ALD_TRY(load_behavior(json, NULL, &stage.behavior));
    ALD_TRY(ald_regex_load(json, "pre_tokenizer", &stage.regex));
    ALD_TRY(add_stage(out, &stage));
    stage.regex = NULL;
done:
    ald_regex_destroy(stage.regex);
    return status;
}

static ald_status_t load_digits(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool individual = ald_json_bool(ald_json_get(json, "individual_digits"), false);
    ald_stage_t stage = {.kind = ALD_STAGE_CLASS,
                         .is_member = ald_unicode_is_numeric,
                         .behavior = individual ? ALD_SPLIT_ISOLATED : ALD_SPLIT_CONTIGUOUS};
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type individual_digits"));
    ALD_TRY(add_stage(out, &stage));
done:
    return status;
}

static ald_status_t load_punctuation(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_stage_t stage = {.kind = ALD_STAGE_CLASS, .is_member = ald_unicode_is_punctuation};
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type behavior"));
    ALD_TRY(load_behavior(json, "Isolated", &stage.behavior));
    ALD_TRY(add_stage(out, &stage));
done:
    return status;
}

static ald_status_t load_whitespace_split(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_stage_t stage = {
        .kind = ALD_STAGE_CLASS, .is_member = ald_unicode_is_space, .behavior = ALD_SPLIT_REMOVED};
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type"));
    ALD_TRY(add_stage(out, &stage));
done:
    return status;
}

static ald_status_t load_whitespace(const ald_json_t *json, ald_pretokenizer_t *out)
{
    static const char pattern[] = "\\w+|[^\\w\\s]+";
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_component_check(json, "pre_tokenizer", "type"));
    ALD_TRY(add_split(out, pattern, strlen(pattern), false, ALD_SPLIT_REMOVED, true));
done:
    return status;
}

ald_status_t ald_metaspace_load(const ald_json_t *json, const char *place, char replacement[8],
                                ald_prepend_t *prepend, bool *split)
{
    static const char *const schemes[] = {"always", "first", "never"};
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0, step = 0;
    const char *text = ald_json_text(ald_json_get(json, "replacement"), &length);
    const ald_json_t *given = ald_json_get(json, "prepend_scheme");
    const char *scheme = ald_json_text(given, NULL);
    int found = given == NULL ? ALD_PREPEND_ALWAYS : -1;
    ALD_TRY(ald_component_check(json, place,
                                "type replacement prepend_scheme split add_prefix_space str_rep"));
    ALD_CHECK(text != NULL && length > 0 && ald_utf8_next(text, length, &step) >= 0 &&
                  step == length,
              ALD_STATUS_INPUT, "%s.replacement: expected one character", place);
    memcpy(replacement, text, length);
    replacement[length] = '\0';
    for (int i = 0; i < 3 && scheme != NULL; ++i)
        found = strcmp(scheme, schemes[i]) == 0 ? i : found;
    ALD_CHECK(found >= 0, ALD_STATUS_INPUT, "%s.prepend_scheme \"%s\" is not supported", place,
              scheme == NULL ? "" : scheme);
    *prepend = (ald_prepend_t)found;
    *split = ald_json_bool(ald_json_get(json, "split"), true);
    if (!ald_json_bool(ald_json_get(json, "add_prefix_space"), true)) { /* the older spelling */
        ALD_CHECK(given == NULL || found == ALD_PREPEND_NEVER, ALD_STATUS_INPUT,
                  "%s.add_prefix_space false contradicts prepend_scheme \"%s\"", place, scheme);
        *prepend = ALD_PREPEND_NEVER;
    }
done:
    return status;
}

static ald_status_t load_metaspace(const ald_json_t *json, ald_pretokenizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool split = true;
    ald_stage_t stage = {.kind = ALD_STAGE_METASPACE};
    ALD_TRY(ald_metaspace_load(json, "pre_tokenizer", stage.replacement, &stage.prepend, &split));
    ALD_TRY(add_stage(out, &stage));
    if (split)
        ALD_TRY(add_split(out, stage.replacement, strlen(stage.replacement), true,
                          ALD_SPLIT_MERGED_WITH_NEXT, false));
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

/* Loads a pre-tokenizer or a sequence of them; `depth` limits the nesting, for hostile files. */
static ald_status_t load(const ald_json_t *json, int depth, ald_pretokenizer_t *out)
{
    static const struct {
        const char *name;
        ald_status_t (*load)(const ald_json_t *, ald_pretokenizer_t *);
    } loaders[] = {{"ByteLevel", load_byte_level},
                   {"Metaspace", load_metaspace},
                   {"Split", load_split},
                   {"Digits", load_digits},
                   {"Punctuation", load_punctuation},
                   {"Whitespace", load_whitespace},
                   {"WhitespaceSplit", load_whitespace_split}};
    ald_status_t status = ALD_STATUS_OK;
    const char *type = NULL;
    const ald_json_t *list = ald_json_get(json, "pretokenizers");
    ALD_TRY(ald_component_type(json, "pre_tokenizer", &type));
    ALD_CHECK(!out->bytes, ALD_STATUS_INPUT,
              "pre_tokenizer.type \"%s\" after ByteLevel is not supported", type);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; ++i)
        if (strcmp(loaders[i].name, type) == 0)
            return loaders[i].load(json, out);
    if (strcmp(type, "Sequence") != 0)
        return ald_component_unsupported("pre_tokenizer", type,
                                         "ByteLevel, Metaspace, Split, Digits, Punctuation, "
                                         "Whitespace, WhitespaceSplit or Sequence");
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
    memset(out, 0, sizeof *out);
    return ald_json_is_null(json) ? ALD_STATUS_OK : load(json, 0, out);
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

/* The state of splitting one span: its parts, matched or not, arrive from left to right. */
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

static ald_status_t split_by_class(splitter_t *splitter, const ald_pieces_t *pieces,
                                   ald_span_t span)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t end = span.start + span.length, run = span.start, step = 1;
    for (size_t at = span.start; at < end; at += step) {
        if (!splitter->stage->is_member(ald_utf8_next(pieces->text + at, end - at, &step)))
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

static ald_vec_t *next_buffer(ald_pieces_t *pieces)
{
    bool second = pieces->text == pieces->buffers[0].data;
    ald_vec_t *buffer = &pieces->buffers[second];
    buffer->count = 0;
    return buffer;
}

static ald_status_t put_metaspace(const ald_stage_t *stage, const char *from, size_t length,
                                  bool first, ald_vec_t *buffer)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t width = strlen(stage->replacement);
    bool visible =
        from[0] == ' ' || (length >= width && memcmp(from, stage->replacement, width) == 0);
    if (!visible &&
        (stage->prepend == ALD_PREPEND_ALWAYS || (stage->prepend == ALD_PREPEND_FIRST && first)))
        ALD_TRY(ald_vec_append(buffer, stage->replacement, width));
    while (length > 0) {
        const char *space = memchr(from, ' ', length);
        size_t before = space == NULL ? length : (size_t)(space - from);
        ALD_TRY(ald_vec_append(buffer, from, before));
        if (space != NULL)
            ALD_TRY(ald_vec_append(buffer, stage->replacement, width));
        from += before + (space != NULL);
        length -= before + (space != NULL);
    }
done:
    return status;
}

/* Copies the text with its spaces made visible, and moves the pieces. */
static ald_status_t make_metaspaces(const ald_stage_t *stage, ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *buffer = next_buffer(pieces);
    for (size_t i = 0; i < pieces->spans.count; ++i) {
        ald_span_t *span = &ALD_VEC_AT(&pieces->spans, ald_span_t, i);
        size_t start = buffer->count;
        ALD_TRY(put_metaspace(stage, pieces->text + span->start, span->length,
                              pieces->first && span->start == 0, buffer));
        *span = (ald_span_t){start, buffer->count - start};
    }
    pieces->text = buffer->data;
done:
    return status;
}

/* Copies the text with a space before each piece that has none, and moves the pieces. */
static ald_status_t add_prefixes(ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *buffer = next_buffer(pieces);
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
    if (stage->kind == ALD_STAGE_METASPACE)
        return make_metaspaces(stage, pieces);
    ald_vec_t before = pieces->spans;
    pieces->spans = pieces->before;
    pieces->before = before;
    pieces->spans.count = 0;
    for (size_t i = 0; i < before.count; ++i) {
        ald_span_t span = ALD_VEC_AT(&before, ald_span_t, i);
        splitter_t splitter = {stage, &pieces->spans, pieces->spans.count, false};
        if (stage->kind == ALD_STAGE_CLASS)
            ALD_TRY(split_by_class(&splitter, pieces, span));
        else
            ALD_TRY(split_by_regex(&splitter, pieces, span));
    }
done:
    return status;
}

ald_status_t ald_pretokenizer_split(const ald_pretokenizer_t *pretokenizer, const char *text,
                                    size_t length, bool first, ald_pieces_t *pieces)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_span_t whole = {0, length};
    pieces->text = text;
    pieces->first = first;
    pieces->spans.count = 0;
    if (length == 0)
        return status;
    ALD_TRY(ald_vec_push(&pieces->spans, &whole));
    for (int i = 0; i < pretokenizer->count; ++i)
        ALD_TRY(run_stage(&pretokenizer->stages[i], pieces));
done:
    return status;
}
