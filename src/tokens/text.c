/* A table of tokens as text: a line for each, with what the teacher and the student would rather
 * have said. Texts are quoted as JSON, and what would command a terminal is spelled out. */
#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/tokens/table.h"
#include "tokens/write_impl.h"

/* Appends text as ald_show has it, with its newlines. */
static ald_status_t put_shown(const char *text, ald_vec_t *out)
{
    enum { GROWTH = 6 };
    ald_status_t status = ALD_STATUS_OK;
    const size_t length = strlen(text), size = GROWTH * length + 1;
    char *shown = ald_alloc(size);
    ALD_CHECK_MEMORY(shown, size);
    ALD_TRY(ald_vec_append(out, shown, ald_show(text, length, true, shown, size)));
done:
    ald_free(shown);
    return status;
}

/* The token's text in quotes, or its id without a tokenizer; `width` bytes at least. */
static ald_status_t put_token(const ald_tokens_t *tokens, int32_t id, int width, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *quoted = NULL;
    ald_json_t *json = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    if (tokens->tokenizer == NULL) {
        ALD_TRY(ald_vec_printf(out, "%-*d", width, id));
        goto done;
    }
    ALD_TRY(ald_token_bytes(tokens, id, &text));
    json = ald_json_new_text(text.data == NULL ? "" : text.data, text.count);
    ALD_TRY(ald_json_dump(json, false, &quoted));
    ALD_TRY(ald_vec_printf(out, "%-*s", width, quoted));
done:
    ald_json_free(json);
    ald_free(quoted);
    ald_vec_reset(&text);
    return status;
}

static ald_status_t put_head(const ald_tokens_t *tokens, const ald_token_list_t *list,
                             ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(out, "%s\n%4s %8s", list->name, "t", "id"));
    if (tokens->tokenizer != NULL)
        ALD_TRY(ald_vec_printf(out, "  %-18s", "token"));
    for (int c = 0; c < ALD_COLUMNS; ++c) {
        const char *name = ald_column_row((ald_column_t)c)->name;
        const int width = strlen(name) > 9 ? (int)strlen(name) : 9;
        if (list->value[c] != NULL && ald_column_row((ald_column_t)c)->brief)
            ALD_TRY(ald_vec_printf(out, " %*s", width, name));
    }
    ALD_TRY(ald_vec_printf(out, "\n"));
done:
    return status;
}

static ald_status_t put_values(const ald_token_list_t *list, int64_t t, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int c = 0; c < ALD_COLUMNS; ++c) {
        const char *name = ald_column_row((ald_column_t)c)->name;
        const int width = strlen(name) > 9 ? (int)strlen(name) : 9;
        if (list->value[c] == NULL || !ald_column_row((ald_column_t)c)->brief)
            continue;
        const double value = list->value[c][t];
        const bool is_signed = ald_column_row((ald_column_t)c)->scale == ALD_SCALE_SIGNED;
        if (!isfinite(value))
            ALD_TRY(ald_vec_printf(out, " %*s", width, "-"));
        else
            ALD_TRY(ald_vec_printf(out, is_signed ? " %+*.4f" : " %*.4f", width, value));
    }
done:
    return status;
}

/* The likeliest token of each voice that isn't this one. */
static ald_status_t put_alternatives(const ald_tokens_t *tokens, const ald_token_list_t *list,
                                     int64_t t, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int v = 0; v < ALD_VOICES; ++v) {
        if (list->alternative[v] == NULL)
            continue;
        const ald_alternative_t first = list->alternative[v][t * ALD_ALTERNATIVES];
        if (first.id < 0 || first.id == list->ids[t])
            continue;
        ALD_TRY(ald_vec_printf(out, "  %s: ", ald_voice_name((ald_voice_t)v)));
        ALD_TRY(put_token(tokens, first.id, 0, out));
        ALD_TRY(ald_vec_printf(out, " %.2f", exp((double)first.logprob)));
    }
done:
    return status;
}

static ald_status_t put_list(const ald_tokens_t *tokens, const ald_token_list_t *list,
                             ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t some;
    ALD_TRY(put_head(tokens, list, out));
    for (int64_t t = 0; t < list->count; ++t) {
        ALD_TRY(ald_vec_printf(out, "%4lld %8d", (long long)t, list->ids[t]));
        if (tokens->tokenizer != NULL) {
            ALD_TRY(ald_vec_printf(out, "  "));
            ALD_TRY(put_token(tokens, list->ids[t], 18, out));
        }
        ALD_TRY(put_values(list, t, out));
        ALD_TRY(put_alternatives(tokens, list, t, out));
        ALD_TRY(ald_vec_printf(out, "\n"));
    }
    ALD_TRY(ald_vec_printf(out, "sum of rewards %+.4f\n\n",
                           ald_tokens_sum(list, ALD_COLUMN_REWARD, &some)));
done:
    return status;
}

ald_status_t ald_tokens_text(const ald_tokens_t *tokens, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < tokens->rows.count; ++i) {
        const ald_token_row_t *row = &ALD_VEC_AT(&tokens->rows, ald_token_row_t, i);
        ALD_TRY(ald_vec_printf(out, "row %lld", (long long)row->row));
        if (row->dataset_row >= 0)
            ALD_TRY(ald_vec_printf(out, ", row %lld of the data", (long long)row->dataset_row));
        ALD_TRY(ald_vec_printf(out, "\n"));
        ALD_TRY(put_shown(row->prompt, out));
        ALD_TRY(ald_vec_printf(out, "\n\n"));
        for (int k = 0; k < row->lists; ++k)
            ALD_TRY(put_list(tokens, &row->list[k], out));
    }
done:
    return status;
}
