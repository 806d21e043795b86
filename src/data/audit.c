/* The pass over the rows of a file: each row gives a small record, in whichever order the threads
 * take them, so that what is kept of a million rows is bounded and the same on any number of ranks.
 */
#include "ald/data/audit.h"

#include <omp.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/minhash.h"
#include "ald/data/row_file.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"
#include "data/audit_impl.h"
#include "data/pairs_impl.h"

/* --- reasons --------------------------------------------------------------------------------- */

static const struct {
    const char *name, *meaning;
} reasons[ALD_REASON_COUNT] = {
#define REASON(constant, name, meaning) {name, meaning},
    ALD_REASONS(REASON)
#undef REASON
};

const char *ald_reason_name(ald_reason_t reason)
{
    return reasons[reason].name;
}

const char *ald_reason_meaning(ald_reason_t reason)
{
    return reasons[reason].meaning;
}

static ald_status_t refuse_reason(const char *text, size_t length, const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t names;
    ald_vec_init(&names, 1);
    for (int i = 0; i < ALD_REASON_COUNT && status == ALD_STATUS_OK; ++i)
        status = ald_vec_printf(&names, "%s%s", i > 0 ? ", " : "", reasons[i].name);
    if (status == ALD_STATUS_OK)
        status = ald_status_raise(ALD_STATUS_USAGE, "%s: \"%.*s\" is no reason; expected one of %s",
                                  place, (int)length, text, (const char *)names.data);
    ald_vec_reset(&names);
    return status;
}

ald_status_t ald_reason_find(const char *text, size_t length, const char *place, ald_reason_t *out)
{
    for (int i = 0; i < ALD_REASON_COUNT; ++i)
        if (strlen(reasons[i].name) == length && memcmp(reasons[i].name, text, length) == 0) {
            *out = (ald_reason_t)i;
            return ALD_STATUS_OK;
        }
    return refuse_reason(text, length, place);
}

/* Rows with these teach nothing, teach both sides, or are read by no stage. */
static const uint32_t standard = 1u << ALD_REASON_DUPLICATE_PAIR | 1u << ALD_REASON_CONTRADICTION |
                                 1u << ALD_REASON_SAME_ANSWERS | 1u << ALD_REASON_SAME_CUT |
                                 1u << ALD_REASON_EMPTY | 1u << ALD_REASON_WRONG_ROLES |
                                 1u << ALD_REASON_PROMPTS_DIFFER | 1u << ALD_REASON_NOT_USED |
                                 1u << ALD_REASON_EVAL_PROMPT;

ald_status_t ald_reasons_parse(const char *list, const char *place, uint32_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = 0;
    for (const char *at = list; *at != '\0'; at += strspn(at, ", ")) {
        const size_t length = strcspn(at, ", ");
        ald_reason_t reason = ALD_REASON_COUNT;
        const bool all = length == strlen("standard") && memcmp(at, "standard", length) == 0;
        if (!all)
            ALD_TRY(ald_reason_find(at, length, place, &reason));
        *out |= all ? standard : 1u << reason;
        at += length;
    }
done:
    return status;
}

/* --- what rows are held against -------------------------------------------------------------- */

/* Opens the tokenizer of the model that the configuration trains, where it names one. */
static ald_status_t open_tokenizer(const ald_config_t *config, ald_audit_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    out->model = config->sft.model[0] != '\0' ? config->sft.model : config->dpo.policy;
    if (out->model[0] == '\0' || !ald_path_is_directory(out->model)) {
        out->model = NULL; /* dpo.policy may be a model that sft has yet to make */
        return status;
    }
    ALD_TRY(ald_tokenizer_open(out->model, &out->tokenizer));
    status = ald_chat_open(config->data.chat_format, out->tokenizer, &out->chat);
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "%s", out->model);
done:
    return status;
}

ald_status_t ald_audit_open(const ald_config_t *config, ald_audit_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_audit_t){.config = config};
    const int64_t bands = config->audit.bands, rows = config->audit.rows;
    ALD_CHECK(bands * rows <= ALD_MINHASH_MOST, ALD_STATUS_USAGE,
              "audit.bands * audit.rows: %lld hash functions; expected at most %d",
              (long long)(bands * rows), ALD_MINHASH_MOST);
    ald_minhash_init(bands, rows, &out->minhash);
    ALD_CHECK(config->data.train[0] != '\0', ALD_STATUS_USAGE,
              "data.train: not set; expected a JSONL file");
    ALD_TRY(ald_audit_phrases(config->audit.refusals, ald_audit_refusals, &out->refusals));
    ALD_TRY(ald_audit_phrases(config->audit.terms, NULL, &out->terms));
    ALD_TRY(open_tokenizer(config, out));
    ALD_TRY(ald_audit_eval_read(config, &out->eval));
    ALD_TRY(ald_row_file_open(config->data.train, &out->file));
    ALD_CHECK(out->file.rows.count < UINT32_MAX, ALD_STATUS_INPUT,
              "%s: %zu rows; expected fewer than 2^32", config->data.train, out->file.rows.count);
    out->layout = ald_pairs_find_layout(config->data.layout, &out->file);
done:
    return status;
}

void ald_audit_close(ald_audit_t *audit)
{
    ald_row_file_close(&audit->file);
    ald_audit_eval_reset(&audit->eval);
    ald_json_free(audit->refusals);
    ald_json_free(audit->terms);
    ald_chat_close(&audit->chat);
    ald_tokenizer_destroy(audit->tokenizer);
    *audit = (ald_audit_t){0};
}

/* --- the pass -------------------------------------------------------------------------------- */

/* The reason that stands for what keeps the texts of a row from being found. */
static ald_reason_t reason_of(ald_skip_t skip)
{
    switch (skip) {
    case ALD_SKIP_EMPTY:
    case ALD_SKIP_NO_PROMPT:
        return ALD_REASON_EMPTY;
    case ALD_SKIP_SAME:
        return ALD_REASON_SAME_ANSWERS;
    case ALD_SKIP_PROMPTS:
        return ALD_REASON_PROMPTS_DIFFER;
    case ALD_SKIP_NO_ASSISTANT:
    case ALD_SKIP_BEGUN:
    case ALD_SKIP_ROLES:
        return ALD_REASON_WRONG_ROLES;
    default:
        return ALD_REASON_NOT_USED;
    }
}

static ald_status_t sign(const ald_audit_t *audit, ald_audit_texts_t *texts, int64_t i,
                         ald_audit_part_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint32_t signature[ALD_MINHASH_MOST];
    for (int text = 0; text < ALD_AUDIT_TEXTS; ++text) {
        ALD_TRY(ald_audit_grams(audit, (ald_audit_text_t)text, texts));
        if (texts->grams.count == 0)
            continue;
        ald_minhash_sign(&audit->minhash, &texts->grams, signature);
        for (int64_t b = 0; b < audit->minhash.bands; ++b)
            out->bands[text][b * out->count + i] = ald_minhash_band(&audit->minhash, signature, b);
    }
done:
    return status;
}

static ald_status_t measure(const ald_audit_t *audit, ald_audit_texts_t *texts, int64_t i,
                            ald_audit_part_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_row_t *row = &out->rows[i];
    row->read = true;
    ald_audit_hash(texts->key.data, texts->key.count, row->prompt);
    ALD_TRY(ald_audit_answers(audit, texts, row));
    ald_audit_personal(texts, row);
    ALD_TRY(ald_audit_eval_find(audit, texts, row));
    ALD_TRY(ald_audit_tokens(audit, texts, row));
    ALD_TRY(sign(audit, texts, i, out));
done:
    return status;
}

static ald_status_t read_row(const ald_audit_t *audit, ald_audit_texts_t *texts, int64_t i,
                             ald_audit_part_t *out)
{
    const size_t index = (size_t)(out->first + i);
    ald_status_t status =
        ald_audit_texts_read(&audit->file, audit->config->data.layout, audit->layout, index, texts);
    if (status != ALD_STATUS_OK)
        return status;
    if (texts->skip != ALD_SKIP_NONE) {
        ald_audit_set(&out->rows[i], reason_of(texts->skip), true);
        ald_audit_personal(texts, &out->rows[i]);
        return status;
    }
    status = measure(audit, texts, i, out);
    return status == ALD_STATUS_OK
               ? status
               : ald_row_file_place(&audit->file,
                                    ALD_VEC_AT(&audit->file.rows, ald_raw_row_t, index).number,
                                    status);
}

/* Reads all rows with threads; *failed becomes the first that can't be read, or `count`. */
static void read_rows(const ald_audit_t *audit, ald_audit_part_t *out, int64_t *failed)
{
    int64_t first = out->count;
#pragma omp parallel
    {
        ald_audit_texts_t texts;
        ald_audit_texts_init(&texts);
#pragma omp for schedule(dynamic, 16) reduction(min : first)
        for (int64_t i = 0; i < out->count; ++i)
            if (read_row(audit, &texts, i, out) != ALD_STATUS_OK && i < first)
                first = i;
        ald_audit_texts_reset(&texts);
    }
    *failed = first;
}

ald_status_t ald_audit_read(const ald_audit_t *audit, int part, int parts, ald_audit_part_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_texts_t texts;
    int64_t failed;
    ald_audit_texts_init(&texts);
    *out =
        (ald_audit_part_t){.first = (int64_t)ald_pairs_part_begin(&audit->file.rows, part, parts)};
    out->count = (int64_t)ald_pairs_part_begin(&audit->file.rows, part + 1, parts) - out->first;
    const size_t rows = (size_t)out->count + 1, bands = (size_t)audit->minhash.bands;
    out->rows = ald_calloc(rows, sizeof *out->rows);
    ALD_CHECK_MEMORY(out->rows, rows * sizeof *out->rows);
    for (int text = 0; text < ALD_AUDIT_TEXTS; ++text) {
        out->bands[text] = ald_calloc(rows * bands, sizeof *out->bands[text]);
        ALD_CHECK_MEMORY(out->bands[text], rows * bands * sizeof *out->bands[text]);
    }
    read_rows(audit, out, &failed);
    if (failed < out->count) /* once more, on this thread, for its message */
        status = read_row(audit, &texts, failed, out);
done:
    ald_audit_texts_reset(&texts);
    return status;
}

void ald_audit_part_reset(ald_audit_part_t *part)
{
    ald_free(part->rows);
    for (int text = 0; text < ALD_AUDIT_TEXTS; ++text)
        ald_free(part->bands[text]);
    *part = (ald_audit_part_t){0};
}

/* --- two rows -------------------------------------------------------------------------------- */

/* The sorted n-grams of a row's text, in texts->grams. */
static ald_status_t grams_of(const ald_audit_t *audit, ald_audit_text_t text, uint32_t row,
                             ald_audit_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(
        ald_audit_texts_read(&audit->file, audit->config->data.layout, audit->layout, row, texts));
    ALD_TRY(ald_audit_grams(audit, text, texts));
    ald_grams_sort(&texts->grams);
done:
    return status;
}

static ald_status_t compare(const ald_audit_t *audit, const ald_audit_candidates_t *candidates,
                            int64_t i, ald_audit_texts_t texts[2], uint8_t *same)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int k = 0; k < 2; ++k)
        ALD_TRY(grams_of(audit, candidates->text, candidates->pairs[2 * i + k], &texts[k]));
    same[i] =
        ald_grams_jaccard(&texts[0].grams, &texts[1].grams) >= audit->config->audit.similarity;
done:
    return status;
}

ald_status_t ald_audit_verify(const ald_audit_t *audit, const ald_audit_candidates_t *candidates,
                              uint8_t *same)
{
    bool failed = false;
#pragma omp parallel
    {
        ald_audit_texts_t texts[2];
        for (int k = 0; k < 2; ++k)
            ald_audit_texts_init(&texts[k]);
#pragma omp for schedule(dynamic, 16) reduction(|| : failed)
        for (int64_t i = candidates->first; i < candidates->count; i += candidates->step)
            failed = compare(audit, candidates, i, texts, same) != ALD_STATUS_OK || failed;
        for (int k = 0; k < 2; ++k)
            ald_audit_texts_reset(&texts[k]);
    }
    return failed ? ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: comparing rows")
                  : ALD_STATUS_OK;
}

ald_status_t ald_audit_excerpt(const ald_audit_t *audit, int64_t row, ald_vec_t *out)
{
    enum { BYTES = 80 };
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_texts_t texts;
    char shown[4 * BYTES];
    ald_audit_texts_init(&texts);
    ALD_TRY(ald_audit_texts_read(&audit->file, audit->config->data.layout, audit->layout,
                                 (size_t)row, &texts));
    const ald_slice_t text = texts.prompt.count > 0
                                 ? (ald_slice_t){texts.prompt.data, texts.prompt.count}
                                 : texts.answer[0];
    size_t length = text.length < BYTES ? text.length : BYTES;
    while (length > 0 && length < text.length && ((unsigned char)text.data[length] & 0xC0) == 0x80)
        --length; /* the beginning of a character */
    ALD_TRY(ald_vec_append(
        out, shown, ald_show(length > 0 ? text.data : "", length, false, shown, sizeof shown)));
done:
    ald_audit_texts_reset(&texts);
    return status;
}
