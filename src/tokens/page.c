/* A table of tokens as one page without a server: `page.html`, with the table as JSON in its script
 * element. That JSON spells out what could end the element, and texts reach the page as text alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/tokens/table.h"
#include "tokens/write_impl.h"
#include "tokens_page.h" /* page_html, made of page.html by CMake */

static const char place[] = "@TABLE@"; /* in the page */

/* Appends text as a JSON string that is safe within a script element. */
static ald_status_t put_string(const char *text, size_t length, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *quoted = NULL;
    ald_json_t *json = ald_json_new_text(text == NULL ? "" : text, length);
    ALD_TRY(ald_json_dump(json, false, &quoted));
    for (const char *at = quoted; *at != '\0'; ++at) {
        if (*at == '<' || *at == '>' || *at == '&')
            ALD_TRY(ald_vec_printf(out, "\\u%04x", (unsigned)*at));
        else
            ALD_TRY(ald_vec_append(out, at, 1));
    }
done:
    ald_json_free(json);
    ald_free(quoted);
    return status;
}

static ald_status_t put_member(const char *name, const char *text, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(out, "\"%s\":", name));
    ALD_TRY(put_string(text, strlen(text), out));
done:
    return status;
}

static ald_status_t put_columns(ald_vec_t *out)
{
    static const char *const scales[] = {
        [ALD_SCALE_SIGNED] = "signed", [ALD_SCALE_HIGH] = "high", [ALD_SCALE_LOW] = "low"};
    ald_status_t status = ALD_STATUS_OK;
    for (int c = 0; c < ALD_COLUMNS; ++c) {
        const ald_column_row_t *column = ald_column_row((ald_column_t)c);
        ALD_TRY(ald_vec_printf(out, "%s{\"name\":\"%s\",\"scale\":\"%s\",", c > 0 ? ",\n" : "",
                               column->name, scales[column->scale]));
        ALD_TRY(put_member("title", column->title, out));
        ALD_TRY(ald_vec_printf(out, ","));
        ALD_TRY(put_member("help", column->help, out));
        ALD_TRY(ald_vec_printf(out, "}"));
    }
done:
    return status;
}

/* --- texts of tokens, each once --------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static ald_status_t collect_list(const ald_token_list_t *list, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_append(ids, list->ids, (size_t)list->count));
    for (int v = 0; v < ALD_VOICES; ++v)
        for (int64_t i = 0; list->alternative[v] && i < list->count * ALD_ALTERNATIVES; ++i)
            if (list->alternative[v][i].id >= 0)
                ALD_TRY(ald_vec_push(ids, &list->alternative[v][i].id));
done:
    return status;
}

/* All ids of the table, rising, each once. */
static ald_status_t collect(const ald_tokens_t *tokens, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t some = 0;
    for (size_t i = 0; i < tokens->rows.count; ++i) {
        const ald_token_row_t *row = &ALD_VEC_AT(&tokens->rows, ald_token_row_t, i);
        for (int k = 0; k < row->lists; ++k)
            ALD_TRY(collect_list(&row->list[k], ids));
    }
    int32_t *list = ids->data;
    if (ids->count > 0)
        qsort(list, ids->count, sizeof *list, compare_ids);
    for (size_t i = 0; i < ids->count; ++i)
        if (i == 0 || list[i] != list[i - 1])
            list[some++] = list[i];
    ids->count = some;
done:
    return status;
}

/* {"id": text} of the tokens whose bytes are UTF-8, or {"id": "e381"} of the others. */
static ald_status_t put_texts(const ald_tokens_t *tokens, const ald_vec_t *ids, bool whole,
                              ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *gap = "";
    ald_vec_t text;
    ald_vec_init(&text, 1);
    for (size_t i = 0; i < ids->count && tokens->tokenizer != NULL; ++i) {
        const int32_t id = ALD_VEC_AT(ids, int32_t, i);
        ALD_TRY(ald_token_bytes(tokens, id, &text));
        if ((text.count == 0 || ald_utf8_is_valid(text.data, text.count)) != whole)
            continue;
        ALD_TRY(ald_vec_printf(out, "%s\"%d\":", gap, id));
        gap = ",";
        if (whole) {
            ALD_TRY(put_string(text.data, text.count, out));
            continue;
        }
        ALD_TRY(ald_vec_printf(out, "\""));
        ALD_TRY(ald_token_hex(&text, out));
        ALD_TRY(ald_vec_printf(out, "\""));
    }
done:
    ald_vec_reset(&text);
    return status;
}

/* --- rows ------------------------------------------------------------------------------------- */

static ald_status_t put_number(const char *gap, double value, ald_vec_t *out)
{
    return isfinite(value) ? ald_vec_printf(out, "%s%.6g", gap, value)
                           : ald_vec_printf(out, "%snull", gap);
}

static ald_status_t put_values(const ald_token_list_t *list, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *gap = "";
    for (int c = 0; c < ALD_COLUMNS; ++c) {
        if (list->value[c] == NULL)
            continue;
        ALD_TRY(ald_vec_printf(out, "%s\"%s\":[", gap, ald_column_row((ald_column_t)c)->name));
        for (int64_t t = 0; t < list->count; ++t)
            ALD_TRY(put_number(t > 0 ? "," : "", list->value[c][t], out));
        ALD_TRY(ald_vec_printf(out, "]"));
        gap = ",\n";
    }
done:
    return status;
}

/* {"teacher": [id, logprob, id, logprob, ..]}, as many of each token; -1 for none. */
static ald_status_t put_alternatives(const ald_token_list_t *list, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *gap = "";
    for (int v = 0; v < ALD_VOICES; ++v) {
        if (list->alternative[v] == NULL)
            continue;
        ALD_TRY(ald_vec_printf(out, "%s\"%s\":[", gap, ald_voice_name((ald_voice_t)v)));
        for (int64_t i = 0; i < list->count * ALD_ALTERNATIVES; ++i) {
            const ald_alternative_t *one = &list->alternative[v][i];
            ALD_TRY(ald_vec_printf(out, "%s%d", i > 0 ? "," : "", one->id));
            ALD_TRY(put_number(",", (double)one->logprob, out));
        }
        ALD_TRY(ald_vec_printf(out, "]"));
        gap = ",\n";
    }
done:
    return status;
}

static ald_status_t put_list(const ald_token_list_t *list, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(out, "{"));
    ALD_TRY(put_member("name", list->name, out));
    ALD_TRY(ald_vec_printf(out, ",\n\"ids\":["));
    for (int64_t t = 0; t < list->count; ++t)
        ALD_TRY(ald_vec_printf(out, "%s%d", t > 0 ? "," : "", list->ids[t]));
    ALD_TRY(ald_vec_printf(out, "],\n\"values\":{"));
    ALD_TRY(put_values(list, out));
    ALD_TRY(ald_vec_printf(out, "},\n\"alternatives\":{"));
    ALD_TRY(put_alternatives(list, out));
    ALD_TRY(ald_vec_printf(out, "}}"));
done:
    return status;
}

static ald_status_t put_rows(const ald_tokens_t *tokens, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < tokens->rows.count; ++i) {
        const ald_token_row_t *row = &ALD_VEC_AT(&tokens->rows, ald_token_row_t, i);
        ALD_TRY(ald_vec_printf(out, "%s{\"row\":%lld,\"dataset_row\":%lld,", i > 0 ? ",\n" : "",
                               (long long)row->row, (long long)row->dataset_row));
        ALD_TRY(put_member("prompt", row->prompt, out));
        ALD_TRY(ald_vec_printf(out, ",\n\"responses\":["));
        for (int k = 0; k < row->lists; ++k) {
            ALD_TRY(ald_vec_printf(out, k > 0 ? ",\n" : ""));
            ALD_TRY(put_list(&row->list[k], out));
        }
        ALD_TRY(ald_vec_printf(out, "]}"));
    }
done:
    return status;
}

static ald_status_t put_table(const ald_tokens_t *tokens, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids;
    ald_vec_init(&ids, sizeof(int32_t));
    ALD_TRY(collect(tokens, &ids));
    ALD_TRY(ald_vec_printf(out, "{"));
    ALD_TRY(put_member("title", tokens->title, out));
    ALD_TRY(ald_vec_printf(out, ","));
    ALD_TRY(put_member("settings", tokens->settings, out));
    ALD_TRY(ald_vec_printf(out, ",\"version\":\"%s\",\"alternatives\":%d,\n\"columns\":[",
                           ALD_VERSION, ALD_ALTERNATIVES));
    ALD_TRY(put_columns(out));
    ALD_TRY(ald_vec_printf(out, "],\n\"texts\":{"));
    ALD_TRY(put_texts(tokens, &ids, true, out));
    ALD_TRY(ald_vec_printf(out, "},\n\"bytes\":{"));
    ALD_TRY(put_texts(tokens, &ids, false, out));
    ALD_TRY(ald_vec_printf(out, "},\n\"rows\":["));
    ALD_TRY(put_rows(tokens, out));
    ALD_TRY(ald_vec_printf(out, "]}"));
done:
    ald_vec_reset(&ids);
    return status;
}

ald_status_t ald_tokens_page(const ald_tokens_t *tokens, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *page = (const char *)page_html,
               *at = memmem(page, sizeof page_html, place, sizeof place - 1);
    const char *behind = at + sizeof place - 1;
    ALD_TRY(ald_vec_append(out, page, (size_t)(at - page)));
    ALD_TRY(put_table(tokens, out));
    ALD_TRY(ald_vec_append(out, behind, sizeof page_html - (size_t)(behind - page)));
done:
    return status;
}
