/* inspect of rows of data: how many there are, which fields they have, how long those are.
 * Rows are read as the stages read them, but without a tokenizer: lengths are in characters. */
#include <stdio.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/row_file.h"
#include "cli/inspect_impl.h"

/* Fields whose presence is counted; the first one that all rows have names the kind of file. */
static const struct {
    const char *name, *kind;
} fields[] = {
    {"response", "generations"}, {"chosen", "pairs"},
    {"rejected", "pairs"},       {"text", "texts"},
    {"prompt", "prompts"},       {"chosen_text", "pairs"},
    {"rejected_text", "pairs"},  {"response_text", "conversations"},
    {"prompt_text", "prompts"},
};
enum { FIELDS = sizeof fields / sizeof *fields };

typedef struct {
    int64_t rows, finished, samples, has[FIELDS];
    ald_vec_t characters[FIELDS], tokens; /* double; tokens: response_ids */
} counts_t;

/* Characters of a string, or of the contents of a message list. */
static double text_length(const ald_json_t *value)
{
    double sum = 0;
    size_t length = 0;
    const char *text = ald_json_text(value, &length);
    if (text != NULL)
        sum = (double)ald_utf8_count(text, length);
    for (size_t i = 0; text == NULL && i < ald_json_count(value); ++i)
        sum += text_length(ald_json_get(ald_json_at(value, i), "content"));
    return sum;
}

static ald_status_t add_row(counts_t *counts, const ald_json_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *ids = ald_json_get(row, "response_ids");
    int64_t sample = ald_json_integer(ald_json_get(row, "sample"), 0);
    ++counts->rows;
    counts->finished += ald_json_bool(ald_json_get(row, "finished"), false);
    counts->samples = sample + 1 > counts->samples ? sample + 1 : counts->samples;
    for (int f = 0; f < FIELDS; ++f) {
        const ald_json_t *value = ald_json_get(row, fields[f].name);
        if (value == NULL)
            continue;
        const double length = text_length(value);
        ++counts->has[f];
        ALD_TRY(ald_vec_push(&counts->characters[f], &length));
    }
    if (ids != NULL) {
        const double length = (double)ald_json_count(ids);
        ALD_TRY(ald_vec_push(&counts->tokens, &length));
    }
done:
    return status;
}

static ald_status_t read_rows(const ald_row_file_t *source, bool *rows, counts_t *counts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *row = NULL;
    *rows = true;
    for (size_t i = 0; i < source->rows.count && *rows; ++i) {
        const ald_raw_row_t *raw = &ALD_VEC_AT(&source->rows, ald_raw_row_t, i);
        ald_json_free(row);
        row = NULL;
        status = ald_row_file_parse(source, raw, &row);
        if (status != ALD_STATUS_OK && !source->array)
            status = ald_row_file_place(source, raw->number, status);
        ALD_TRY(status);
        *rows = counts->rows > 0 || ald_json_get(row, "step") == NULL;
        if (*rows && !ald_json_is_object(row))
            ALD_TRY(ald_row_file_place(source, raw->number,
                                       ald_status_raise(ALD_STATUS_INPUT,
                                                        "expected an object, found %s",
                                                        ald_json_type_name(row))));
        if (*rows)
            ALD_TRY(add_row(counts, row));
    }
done:
    ald_json_free(row);
    return status;
}

static void put_counts(ald_json_t *report, counts_t *counts)
{
    const char *kind = "rows";
    ald_json_t *has = ald_json_new_object();
    for (int f = FIELDS - 1; f >= 0; --f)
        if (counts->has[f] == counts->rows && counts->rows > 0)
            kind = fields[f].kind;
    ald_json_set(report, "kind", ald_json_new_string(kind));
    ald_json_set(report, "rows", ald_json_new_integer(counts->rows));
    for (int f = 0; f < FIELDS; ++f)
        if (counts->has[f] > 0)
            ald_json_set(has, fields[f].name, ald_json_new_integer(counts->has[f]));
    ald_json_set(report, "rows_with", has);
    if (strcmp(kind, "generations") == 0) {
        ald_json_set(report, "samples", ald_json_new_integer(counts->samples));
        ald_json_set(report, "finished", ald_json_new_integer(counts->finished));
    }
    for (int f = 0; f < FIELDS; ++f) {
        char name[32];
        snprintf(name, sizeof name, "%s_characters", fields[f].name);
        if (counts->has[f] > 0)
            ald_json_set(report, name, ald_inspect_spread(&counts->characters[f]));
    }
    if (counts->tokens.count > 0)
        ald_json_set(report, "response_tokens", ald_inspect_spread(&counts->tokens));
}

ald_status_t ald_inspect_rows(const char *path, bool *rows, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    counts_t counts = {0};
    ald_row_file_t source = {0};
    ald_json_t *report = NULL;
    *out = NULL;
    for (int f = 0; f < FIELDS; ++f)
        ald_vec_init(&counts.characters[f], sizeof(double));
    ald_vec_init(&counts.tokens, sizeof(double));
    ALD_TRY(ald_row_file_open(path, &source));
    ALD_TRY(read_rows(&source, rows, &counts));
    if (!*rows)
        goto done;
    report = ald_json_new_object();
    ald_json_set(report, "path", ald_json_new_string(path));
    put_counts(report, &counts);
    *out = report;
done:
    for (int f = 0; f < FIELDS; ++f)
        ald_vec_reset(&counts.characters[f]);
    ald_vec_reset(&counts.tokens);
    ald_row_file_close(&source);
    return status;
}
