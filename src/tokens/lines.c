/* A table of tokens as JSON lines, a line for each. A number that isn't known of a token isn't
 * there, so that a reader takes it for no zero. */
#include "ald/tokens/lines.h"

#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/tokens/table.h"
#include "tokens/write_impl.h"

/* Sets "token", and "bytes" of a token that is a part of characters. */
static ald_status_t set_text(const ald_tokens_t *tokens, int32_t id, ald_json_t *json)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text, hex;
    ald_vec_init(&text, 1);
    ald_vec_init(&hex, 1);
    ald_json_set(json, "id", ald_json_new_integer(id));
    if (tokens->tokenizer == NULL)
        goto done;
    ALD_TRY(ald_token_bytes(tokens, id, &text));
    ald_json_set(json, "token", ald_json_new_text(text.data == NULL ? "" : text.data, text.count));
    if (text.count > 0 && !ald_utf8_is_valid(text.data, text.count)) {
        ALD_TRY(ald_token_hex(&text, &hex));
        ald_json_set(json, "bytes", ald_json_new_text(hex.data, hex.count));
    }
done:
    ald_vec_reset(&text);
    ald_vec_reset(&hex);
    return status;
}

static ald_status_t set_alternatives(const ald_tokens_t *tokens, const ald_alternative_t *list,
                                     const char *name, ald_json_t *json)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *array = ald_json_new_array();
    ald_json_set(json, name, array);
    for (int k = 0; k < ALD_ALTERNATIVES && list[k].id >= 0; ++k) {
        ald_json_t *one = ald_json_new_object();
        ald_json_push(array, one);
        ALD_TRY(set_text(tokens, list[k].id, one));
        ald_json_set(one, "logprob", ald_json_new_number((double)list[k].logprob));
    }
done:
    return status;
}

ald_status_t ald_tokens_json(const ald_tokens_t *tokens, const ald_token_list_t *list, int64_t t,
                             ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = ald_json_new_object(), *said = ald_json_new_object();
    *out = NULL;
    ald_json_set(json, "position", ald_json_new_integer(t));
    ALD_TRY(set_text(tokens, list->ids[t], json));
    for (int c = 0; c < ALD_COLUMNS; ++c)
        if (list->value[c] != NULL && isfinite(list->value[c][t]))
            ald_json_set(json, ald_column_row((ald_column_t)c)->name,
                         ald_json_new_number(list->value[c][t]));
    for (int v = 0; v < ALD_VOICES; ++v)
        if (list->alternative[v] != NULL)
            ALD_TRY(set_alternatives(tokens, list->alternative[v] + t * ALD_ALTERNATIVES,
                                     ald_voice_name((ald_voice_t)v), said));
    if (ald_json_count(said) > 0) {
        ald_json_set(json, "alternatives", said);
        said = NULL;
    }
    *out = json;
    json = NULL;
done:
    ald_json_free(json);
    ald_json_free(said);
    return status;
}

static ald_status_t put_line(const ald_tokens_t *tokens, const ald_token_row_t *row,
                             const ald_token_list_t *list, int64_t t, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    char *text = NULL;
    ALD_TRY(ald_tokens_json(tokens, list, t, &json));
    ALD_TRY(ald_json_dump(json, false, &text));
    ALD_TRY(ald_vec_printf(out, "{\"row\": %lld, ", (long long)row->row));
    if (row->dataset_row >= 0)
        ALD_TRY(ald_vec_printf(out, "\"dataset_row\": %lld, ", (long long)row->dataset_row));
    ALD_TRY(ald_vec_printf(out, "\"response\": \"%s\", %s\n", list->name, text + 1));
done:
    ald_free(text);
    ald_json_free(json);
    return status;
}

ald_status_t ald_tokens_lines(const ald_tokens_t *tokens, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < tokens->rows.count; ++i) {
        const ald_token_row_t *row = &ALD_VEC_AT(&tokens->rows, ald_token_row_t, i);
        for (int k = 0; k < row->lists; ++k)
            for (int64_t t = 0; t < row->list[k].count; ++t)
                ALD_TRY(put_line(tokens, row, &row->list[k], t, out));
    }
done:
    return status;
}
