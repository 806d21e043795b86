/* Applies the "normalizer" of tokenizer.json: Unicode forms, replacing, stripping. Long runs of
 * combining marks are ordered here, since utf8proc would need quadratic time for them. */
#include "text/normalizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/regex_impl.h"
#include "text/unicode_impl.h"

static ald_status_t copy_text(const ald_json_t *json, const char *key, ald_normalize_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *value = ald_json_get(json, key);
    const char *text = ald_json_text(value, &out->length);
    ALD_CHECK(text != NULL, ALD_STATUS_INPUT, "normalizer.%s: expected a string, found %s", key,
              ald_json_type_name(value));
    out->text = ald_calloc(out->length + 1, 1);
    ALD_CHECK_MEMORY(out->text, out->length + 1);
    memcpy(out->text, text, out->length);
done:
    return status;
}

static ald_status_t load_form(const ald_json_t *json, ald_normalize_step_t *out)
{
    static const struct {
        const char *name;
        int options;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    const char *type = ald_json_text(ald_json_get(json, "type"), NULL);
    out->kind = ALD_NORMALIZE_FORM;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; ++i)
        if (strcmp(forms[i].name, type) == 0)
            out->form = forms[i].options;
    return ald_component_check(json, "normalizer", "type");
}

static ald_status_t load_prepend(const ald_json_t *json, ald_normalize_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    out->kind = ALD_NORMALIZE_PREPEND;
    ALD_TRY(ald_component_check(json, "normalizer", "type prepend"));
    ALD_TRY(copy_text(json, "prepend", out));
done:
    return status;
}

static ald_status_t load_replace(const ald_json_t *json, ald_normalize_step_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    out->kind = ALD_NORMALIZE_REPLACE;
    ALD_TRY(ald_component_check(json, "normalizer", "type pattern content"));
    ALD_TRY(copy_text(json, "content", out));
    ALD_TRY(ald_regex_load(json, "normalizer", &out->regex));
done:
    return status;
}

static ald_status_t load_lowercase(const ald_json_t *json, ald_normalize_step_t *out)
{
    out->kind = ALD_NORMALIZE_LOWERCASE;
    return ald_component_check(json, "normalizer", "type");
}

static ald_status_t load_strip(const ald_json_t *json, ald_normalize_step_t *out)
{
    out->kind = ALD_NORMALIZE_STRIP;
    out->left = ald_json_bool(ald_json_get(json, "strip_left"), true);
    out->right = ald_json_bool(ald_json_get(json, "strip_right"), true);
    return ald_component_check(json, "normalizer", "type strip_left strip_right");
}

static ald_status_t load_step(const ald_json_t *json, const char *type, ald_normalizer_t *out)
{
    static const struct {
        const char *name;
        ald_status_t (*load)(const ald_json_t *, ald_normalize_step_t *);
    } loaders[] = {{"NFC", load_form},
                   {"NFD", load_form},
                   {"NFKC", load_form},
                   {"NFKD", load_form},
                   {"Prepend", load_prepend},
                   {"Replace", load_replace},
                   {"Lowercase", load_lowercase},
                   {"Strip", load_strip}};
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(out->count < ALD_NORMALIZER_STEPS, ALD_STATUS_INPUT,
              "normalizer: more than %d steps are not supported", ALD_NORMALIZER_STEPS);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; ++i)
        if (strcmp(loaders[i].name, type) == 0)
            return loaders[i].load(json, &out->steps[out->count++]);
    return ald_component_unsupported(
        "normalizer", type, "NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip or Sequence");
done:
    return status;
}

/* Loads a normalizer or a sequence of them; `depth` limits the nesting, for hostile files. */
static ald_status_t load(const ald_json_t *json, int depth, ald_normalizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = NULL;
    const ald_json_t *list = ald_json_get(json, "normalizers");
    ALD_TRY(ald_component_type(json, "normalizer", &type));
    if (strcmp(type, "Sequence") != 0)
        return load_step(json, type, out);
    ALD_TRY(ald_component_check(json, "normalizer", "type normalizers"));
    ALD_CHECK(ald_json_is_array(list) && depth < 4, ALD_STATUS_INPUT,
              "normalizer.normalizers: expected a list, found %s", ald_json_type_name(list));
    for (size_t i = 0; i < ald_json_count(list); ++i)
        ALD_TRY(load(ald_json_at(list, i), depth + 1, out));
done:
    return status;
}

ald_status_t ald_normalizer_load(const ald_json_t *json, ald_normalizer_t *out)
{
    memset(out, 0, sizeof *out);
    return ald_json_is_null(json) ? ALD_STATUS_OK : load(json, 0, out);
}

void ald_normalizer_reset(ald_normalizer_t *normalizer)
{
    for (int i = 0; i < normalizer->count; ++i) {
        ald_free(normalizer->steps[i].text);
        ald_regex_destroy(normalizer->steps[i].regex);
    }
    memset(normalizer, 0, sizeof *normalizer);
}

static bool is_ascii(const char *text, size_t length)
{
    unsigned char all = 0;
    for (size_t i = 0; i < length; ++i)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

/* A character that composition may reorder, and its class. */
typedef struct {
    int32_t character, class;
    size_t place;
} mark_t;

/* Characters of a run from which it is ordered here: text of real languages has a few in a row. */
enum { LONG_RUN = 64 };

static int compare_marks(const void *left, const void *right)
{
    const mark_t *a = left, *b = right;
    if (a->class != b->class)
        return a->class < b->class ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static int32_t class_of(int32_t c)
{
    return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

/* Whether the character belongs to a run of marks. One that decomposes into marks alone does,
 * though it has no combining class itself. */
static bool is_mark(int32_t c)
{
    return class_of(c) != 0 || c == 0xF73 || c == 0xF75 || c == 0xF81;
}

static ald_status_t push_mark(int32_t c, int form, ald_vec_t *marks)
{
    ald_status_t status = ALD_STATUS_OK;
    utf8proc_int32_t parts[32];
    int boundary = 0;
    int options = (form & ~UTF8PROC_COMPOSE) | UTF8PROC_DECOMPOSE;
    utf8proc_ssize_t count =
        utf8proc_decompose_char(c, parts, 32, (utf8proc_option_t)options, &boundary);
    ALD_CHECK(count >= 0 && count <= 32, ALD_STATUS_INTERNAL, "U+%04X does not decompose",
              (unsigned)c);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
        const mark_t mark = {parts[i], class_of(parts[i]), marks->count};
        ALD_TRY(ald_vec_push(marks, &mark));
    }
done:
    return status;
}

/* Appends a run of marks in canonical order. */
static ald_status_t put_run(const char *run, size_t length, int form, ald_vec_t *marks,
                            ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t step = 0;
    marks->count = 0;
    for (size_t at = 0; at < length; at += step)
        ALD_TRY(push_mark(ald_utf8_next(run + at, length - at, &step), form, marks));
    qsort(marks->data, marks->count, sizeof(mark_t), compare_marks);
    for (size_t i = 0; i < marks->count; ++i) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t size = utf8proc_encode_char(ALD_VEC_AT(marks, mark_t, i).character, bytes);
        ALD_TRY(ald_vec_append(out, bytes, (size_t)size));
    }
done:
    return status;
}

/* Copies text with its long runs of combining marks in order: utf8proc would take a time that grows
 * with the square of their lengths. */
static ald_status_t order_runs(const char *text, size_t length, int form, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t marks;
    size_t step = 0, run = 0, count = 0, copied = 0;
    ald_vec_init(&marks, sizeof(mark_t));
    for (size_t at = 0; at <= length; at += step) {
        step = 1;
        if (at < length && is_mark(ald_utf8_next(text + at, length - at, &step))) {
            run = count++ == 0 ? at : run;
            continue;
        }
        if (count > LONG_RUN) {
            ALD_TRY(ald_vec_append(out, text + copied, run - copied));
            ALD_TRY(put_run(text + run, at - run, form, &marks, out));
            copied = at;
        }
        count = 0;
    }
    ALD_TRY(ald_vec_append(out, text + copied, length - copied));
done:
    ald_vec_reset(&marks);
    return status;
}

static ald_status_t apply_form(int form, const char *text, size_t length, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    utf8proc_uint8_t *mapped = NULL;
    ald_vec_t ordered;
    ald_vec_init(&ordered, 1);
    if (is_ascii(text, length)) /* no form changes ASCII */
        return ald_vec_append(out, text, length);
    ALD_TRY(order_runs(text, length, form, &ordered));
    utf8proc_ssize_t size = utf8proc_map(ordered.data, (utf8proc_ssize_t)ordered.count, &mapped,
                                         (utf8proc_option_t)form);
    ALD_CHECK(size >= 0, size == UTF8PROC_ERROR_NOMEM ? ALD_STATUS_RESOURCE : ALD_STATUS_INPUT,
              "cannot normalise the text: %s", utf8proc_errmsg(size));
    ALD_TRY(ald_vec_append(out, mapped, (size_t)size));
done:
    free(mapped);
    ald_vec_reset(&ordered);
    return status;
}

/* Lowers character by character; one of them, U+0130, becomes two. */
static ald_status_t apply_lowercase(const char *text, size_t length, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t step = 0;
    for (size_t at = 0; at < length; at += step) {
        utf8proc_uint8_t bytes[4];
        int32_t c = ald_utf8_next(text + at, length - at, &step);
        if (c == 0x130) {
            ALD_TRY(ald_vec_append(out, "i\xCC\x87", 3));
            continue;
        }
        utf8proc_ssize_t size = utf8proc_encode_char(utf8proc_tolower(c), bytes);
        ALD_TRY(ald_vec_append(out, bytes, (size_t)size));
    }
done:
    return status;
}

static ald_status_t apply_strip(const ald_normalize_step_t *step, const char *text, size_t length,
                                ald_vec_t *out)
{
    size_t width = 0, last;
    while (step->left && length > 0 && ald_unicode_is_space(ald_utf8_next(text, length, &width))) {
        text += width;
        length -= width;
    }
    while (step->right && length > 0) {
        last = ald_utf8_last(text, length);
        if (!ald_unicode_is_space(ald_utf8_next(text + last, length - last, &width)))
            break;
        length = last;
    }
    return ald_vec_append(out, text, length);
}

/* `most` bounds the result of a Replace, the one step that can multiply a text. */
static ald_status_t apply_step(const ald_normalize_step_t *step, const char *text, size_t length,
                               size_t most, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_replacement_t by = {step->text, step->length, out->count + most};
    switch (step->kind) {
    case ALD_NORMALIZE_FORM:
        return apply_form(step->form, text, length, out);
    case ALD_NORMALIZE_PREPEND:
        if (length > 0)
            ALD_TRY(ald_vec_append(out, step->text, step->length));
        return ald_vec_append(out, text, length);
    case ALD_NORMALIZE_REPLACE:
        return ald_regex_replace(step->regex, text, length, &by, out);
    case ALD_NORMALIZE_LOWERCASE:
        return apply_lowercase(text, length, out);
    case ALD_NORMALIZE_STRIP:
        return apply_strip(step, text, length, out);
    }
done:
    return status;
}

ald_status_t ald_normalizer_apply(const ald_normalizer_t *normalizer, const char *text,
                                  size_t length, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t buffers[2];
    const size_t most = ald_regex_most(length);
    ald_vec_init(&buffers[0], 1);
    ald_vec_init(&buffers[1], 1);
    for (int i = 0; i + 1 < normalizer->count; ++i) {
        ald_vec_t *buffer = &buffers[i % 2];
        buffer->count = 0;
        ALD_TRY(apply_step(&normalizer->steps[i], text, length, most, buffer));
        text = buffer->count == 0 ? "" : buffer->data;
        length = buffer->count;
    }
    ALD_TRY(normalizer->count == 0
                ? ald_vec_append(out, text, length)
                : apply_step(&normalizer->steps[normalizer->count - 1], text, length, most, out));
done:
    ald_vec_reset(&buffers[0]);
    ald_vec_reset(&buffers[1]);
    return status;
}
