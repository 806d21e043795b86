/* Rows as bytes, so that ranks can read a file in parts and exchange them. The bytes of all parts
 * then are the memory of the rows: nothing but the JSON is copied out of them. */
#include "ald/data/pairs_pack.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/layout.h"
#include "ald/data/pairs.h"
#include "data/pairs_impl.h"

/* The header of a part; `rows` rows follow it. */
typedef struct {
    int64_t rows;
    ald_pairs_counts_t counts;
    int64_t first_skipped[ALD_SKIP_COUNT];
    char left_out[1024];
} part_t;

enum { TEXTS = 4 }; /* of a row: prompt, chosen, rejected, response */

/* The header of a row. The ids of its texts follow, the log-probabilities, the texts with their
 * NULs, and the JSON text with its NUL, each padded to 8 bytes. */
typedef struct {
    int64_t id, line, sample, policy_step;
    int64_t ids[TEXTS], bytes[TEXTS]; /* bytes 0: no text */
    int64_t logprobs, extra;          /* log-probabilities; bytes of JSON, 0: none */
} packed_row_t;

static void texts_of(ald_pair_t *row, ald_text_t *out[TEXTS])
{
    out[0] = &row->prompt;
    out[1] = &row->chosen;
    out[2] = &row->rejected;
    out[3] = &row->response;
}

static int64_t padded(int64_t bytes)
{
    return (bytes + 7) & ~(int64_t)7;
}

static ald_status_t put(ald_vec_t *out, const void *data, int64_t bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    if (bytes == 0)
        return status;
    ALD_TRY(ald_vec_append(out, data, (size_t)bytes));
    ALD_TRY(ald_vec_append(out, NULL, (size_t)(padded(bytes) - bytes)));
done:
    return status;
}

static ald_status_t pack_row(ald_pair_t *row, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_text_t *texts[TEXTS];
    char *extra = NULL;
    packed_row_t head = {row->id, row->line, row->sample, row->policy_step, {0}, {0}, 0, 0};
    texts_of(row, texts);
    for (int i = 0; i < TEXTS; ++i) {
        head.ids[i] = texts[i]->count;
        head.bytes[i] = texts[i]->text == NULL ? 0 : (int64_t)strlen(texts[i]->text) + 1;
    }
    head.logprobs = row->logprobs == NULL ? 0 : row->response.count;
    if (row->extra != NULL)
        ALD_TRY(ald_json_dump(row->extra, false, &extra));
    head.extra = extra == NULL ? 0 : (int64_t)strlen(extra) + 1;
    ALD_TRY(put(out, &head, sizeof head));
    for (int i = 0; i < TEXTS; ++i)
        ALD_TRY(put(out, texts[i]->ids, head.ids[i] * (int64_t)sizeof(int32_t)));
    ALD_TRY(put(out, row->logprobs, head.logprobs * (int64_t)sizeof(float)));
    for (int i = 0; i < TEXTS; ++i)
        ALD_TRY(put(out, texts[i]->text, head.bytes[i]));
    ALD_TRY(put(out, extra, head.extra));
done:
    ald_free(extra);
    return status;
}

ald_status_t ald_pairs_pack(ald_pairs_t *pairs, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    part_t part = {.rows = pairs->count, .counts = pairs->counts};
    memcpy(part.first_skipped, pairs->first_skipped, sizeof part.first_skipped);
    memcpy(part.left_out, pairs->store->left_out, sizeof part.left_out);
    ALD_TRY(put(out, &part, sizeof part));
    for (int64_t i = 0; i < pairs->count; ++i)
        ALD_TRY(pack_row(&pairs->rows[i], out));
    ald_pairs_drop_rows(pairs);
done:
    return status;
}

/* The next `bytes` bytes at *at, NULL for 0 of them; moves *at behind them. */
static const void *take(const char **at, int64_t bytes)
{
    const char *data = *at;
    *at += padded(bytes);
    return bytes == 0 ? NULL : data;
}

static ald_status_t unpack_row(const char **at, ald_vec_t *kept, ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_text_t *texts[TEXTS];
    ald_json_t *extra = NULL;
    packed_row_t head;
    memcpy(&head, take(at, sizeof head), sizeof head);
    *out = (ald_pair_t){
        .id = head.id, .line = head.line, .sample = head.sample, .policy_step = head.policy_step};
    texts_of(out, texts);
    for (int i = 0; i < TEXTS; ++i) {
        texts[i]->count = head.ids[i];
        texts[i]->ids = take(at, head.ids[i] * (int64_t)sizeof(int32_t));
    }
    out->logprobs = take(at, head.logprobs * (int64_t)sizeof(float));
    for (int i = 0; i < TEXTS; ++i)
        texts[i]->text = take(at, head.bytes[i]);
    const char *json = take(at, head.extra);
    if (json != NULL) {
        ALD_TRY(ald_json_parse(json, (size_t)head.extra - 1, "a packed row", &extra));
        ALD_TRY(ald_vec_push(kept, &extra));
        out->extra = extra;
        extra = NULL;
    }
done:
    ald_json_free(extra);
    return status;
}

static void add_part(const part_t *part, ald_pairs_t *pairs)
{
    int64_t *sums = (int64_t *)&pairs->counts;
    const int64_t *more = (const int64_t *)&part->counts;
    for (size_t i = 0; i < sizeof pairs->counts / sizeof *sums; ++i)
        sums[i] += more[i];
    for (int i = 0; i < ALD_SKIP_COUNT; ++i)
        if (pairs->first_skipped[i] < 0)
            pairs->first_skipped[i] = part->first_skipped[i];
    if (pairs->store->left_out[0] == '\0')
        memcpy(pairs->store->left_out, part->left_out, sizeof part->left_out);
}

ald_status_t ald_pairs_merge(const char *path, ald_vec_t *packed, ald_pairs_t *pairs)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t rows;
    ald_vec_init(&rows, sizeof(ald_pair_t));
    ald_pairs_drop_rows(pairs);
    pairs->counts = (ald_pairs_counts_t){0};
    for (int i = 0; i < ALD_SKIP_COUNT; ++i)
        pairs->first_skipped[i] = -1;
    pairs->store->left_out[0] = '\0';
    pairs->store->packed = *packed;
    ald_vec_init(packed, 1);
    const char *at = pairs->store->packed.data, *end = at + pairs->store->packed.count;
    while (at < end) {
        part_t part;
        memcpy(&part, take(&at, sizeof part), sizeof part);
        add_part(&part, pairs);
        for (int64_t i = 0; i < part.rows; ++i) {
            ald_pair_t row;
            ALD_TRY(unpack_row(&at, &pairs->store->kept, &row));
            ALD_TRY(ald_vec_push(&rows, &row));
        }
    }
    pairs->count = (int64_t)rows.count;
    pairs->rows = rows.data;
    ald_vec_init(&rows, sizeof(ald_pair_t));
    ALD_TRY(ald_pairs_check(path, pairs));
done:
    ald_vec_reset(&rows);
    return status;
}
