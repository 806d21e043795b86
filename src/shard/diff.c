/* Compares two sets of shards by content, however they are cut into files. So a change of code or
 * of a cluster can be judged by what differs, and by how much. */
#include "ald/shard/diff.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "shard/format_impl.h"

/* The differences that were found in one dataset. */
typedef struct {
    int64_t sequences, first_row;
    double largest; /* NaN: nothing to subtract */
} found_t;

typedef struct {
    ald_shardset_t *set[2];
    ald_arena_t arena;
    bool teachers; /* both have one encoding and one width, so /teacher is compared too */
    int64_t only[2], differing;
    found_t found[ALD_DATASET_COUNT];
} diff_t;

/* --- headers ---------------------------------------------------------------------------------- */

static void push_pair(ald_json_t *list, const char *name, const char *a, const char *b)
{
    char text[400];
    snprintf(text, sizeof text, "%s: %.160s | %.160s", name, a, b);
    ald_json_push(list, ald_json_new_string(text));
}

/* Lists the lines in which the configurations differ, if both have the same number of lines. */
static void diff_config(const char *a, const char *b, ald_json_t *list)
{
    while (*a != '\0' || *b != '\0') {
        const size_t one = strcspn(a, "\n"), two = strcspn(b, "\n");
        char lines[2][160];
        snprintf(lines[0], sizeof lines[0], "%.*s", (int)one, a);
        snprintf(lines[1], sizeof lines[1], "%.*s", (int)two, b);
        if (strcmp(lines[0], lines[1]) != 0)
            push_pair(list, "config", lines[0], lines[1]);
        a += one + (a[one] == '\n');
        b += two + (b[two] == '\n');
    }
}

static ald_json_t *diff_headers(const ald_shard_header_t *a, const ald_shard_header_t *b)
{
    ald_json_t *list = ald_json_new_array();
    if (a->encoding != b->encoding)
        push_pair(list, "encoding", ald_encoding_name(a->encoding), ald_encoding_name(b->encoding));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i) {
        const ald_shard_attribute_t *attribute = &ald_shard_attributes[i];
        char numbers[2][ALD_ATTRIBUTE_ROOM];
        const char *one = ald_attribute_text(attribute, a, numbers[0]);
        const char *two = ald_attribute_text(attribute, b, numbers[1]);
        if (strcmp(one, two) != 0)
            push_pair(list, attribute->name, one, two);
    }
    const char *one = ald_shard_reference(a), *two = ald_shard_reference(b);
    if (strcmp(one, two) != 0)
        push_pair(list, "sha256_reference", one, two);
    diff_config(a->config, b->config, list);
    return list;
}

/* --- sequences -------------------------------------------------------------------------------- */

static void note(diff_t *d, ald_shard_dataset_t dataset, int64_t row, double gap)
{
    found_t *found = &d->found[dataset];
    if (found->sequences++ == 0) {
        found->first_row = row;
        found->largest = gap;
    } else if (gap > found->largest) {
        found->largest = gap;
    }
}

static double number_at(bool half, const void *array, int64_t i)
{
    float value;
    ald_dtype_row_to_f32(half ? ALD_DTYPE_F16 : ALD_DTYPE_F32,
                         (const char *)array + i * (half ? 2 : 4), 1, &value);
    return (double)value;
}

/* The largest difference of two arrays as they lie in memory; -1 when they are the same bits. */
static double largest_gap(ald_column_type_t type, int64_t count, const void *a, const void *b)
{
    const bool half = type == ALD_COLUMN_F16;
    double gap = NAN;
    if (memcmp(a, b, (size_t)count * ald_column_memory_size(type)) == 0)
        return -1.0;
    if (!half && type != ALD_COLUMN_F32 && type != ALD_COLUMN_F16_WIDE)
        return gap;
    for (int64_t i = 0; i < count; ++i) {
        const double one = fabs(number_at(half, a, i) - number_at(half, b, i));
        gap = one > gap || isnan(gap) ? one : gap;
    }
    return gap;
}

static bool compare_positions(diff_t *d, int64_t row, ald_scored_t *a, ald_scored_t *b)
{
    bool same = true;
    const ald_shard_header_t *header = ald_shard_header(d->set[0]->shards[0]);
    const ald_shard_header_t *other = ald_shard_header(d->set[1]->shards[0]);
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        if (info->rows != ALD_ROWS_R || !ald_dataset_is_in(info, header))
            continue;
        const void *one = ald_dataset_content(header, a, (ald_shard_dataset_t)i);
        const void *two = ald_dataset_content(other, b, (ald_shard_dataset_t)i);
        if (one == NULL || two == NULL)
            continue;
        int64_t count = a->response_count * ald_dataset_width(info, header);
        double gap = largest_gap(info->type, count, one, two);
        if (gap != -1.0)
            note(d, (ald_shard_dataset_t)i, row, gap);
        same = same && gap == -1.0;
    }
    return same;
}

static bool compare_tokens(diff_t *d, int64_t row, const ald_scored_t *a, const ald_scored_t *b)
{
    bool same = a->prompt_count == b->prompt_count && a->response_count == b->response_count &&
                memcmp(a->prompt_ids, b->prompt_ids,
                       sizeof(int32_t) * (size_t)(a->prompt_count + a->response_count)) == 0;
    if (!same)
        note(d, ALD_DATASET_TOKEN_ID, row, NAN);
    return same;
}

/* Compares a sequence that both have. */
static ald_status_t compare(diff_t *d, const ald_entry_t *x, const ald_entry_t *y)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t a, b;
    ald_arena_mark_t mark = ald_arena_mark(&d->arena);
    ALD_TRY(ald_shard_read(d->set[0]->shards[x->shard], x->index, d->teachers, &d->arena, &a));
    ALD_TRY(ald_shard_read(d->set[1]->shards[y->shard], y->index, d->teachers, &d->arena, &b));
    bool prompt = strcmp(a.prompt, b.prompt) == 0, response = strcmp(a.response, b.response) == 0;
    if (!prompt)
        note(d, ALD_DATASET_PROMPT, x->id, NAN);
    if (!response)
        note(d, ALD_DATASET_RESPONSE, x->id, NAN);
    bool same = compare_tokens(d, x->id, &a, &b); /* else the positions can't be compared */
    same = same && compare_positions(d, x->id, &a, &b);
    d->differing += !(same && prompt && response);
    ald_arena_release(&d->arena, mark);
done:
    return status;
}

static int order(const ald_entry_t *a, const ald_entry_t *b)
{
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->source > b->source) - (a->source < b->source);
}

/* Both lists are sorted; several samples of a row are paired in their order. */
static ald_status_t walk(diff_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shardset_t *a = d->set[0], *b = d->set[1];
    int64_t i = 0, j = 0;
    while (i < a->count || j < b->count) {
        int side = i == a->count ? 1 : j == b->count ? -1 : order(&a->entries[i], &b->entries[j]);
        if (side == 0)
            ALD_TRY(compare(d, &a->entries[i], &b->entries[j]));
        d->only[0] += side < 0;
        d->only[1] += side > 0;
        i += side <= 0;
        j += side >= 0;
    }
done:
    return status;
}

static ald_json_t *datasets_json(const diff_t *d)
{
    ald_json_t *list = ald_json_new_array();
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const found_t *found = &d->found[i];
        if (found->sequences == 0)
            continue;
        ald_json_t *row = ald_json_new_object();
        ald_json_set(row, "sequences", ald_json_new_integer(found->sequences));
        ald_json_set(row, "first_row", ald_json_new_integer(found->first_row));
        ald_json_set(row, "largest", ald_json_new_number(found->largest));
        ald_json_set(row, "dataset", ald_json_new_string(ald_shard_datasets[i].path));
        ald_json_push(list, row);
    }
    return list;
}

ald_status_t ald_shard_diff(ald_shardset_t *a, ald_shardset_t *b, ald_json_t *report)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *one = ald_shard_header(a->shards[0]);
    const ald_shard_header_t *two = ald_shard_header(b->shards[0]);
    diff_t d = {.set = {a, b},
                .teachers = one->encoding == two->encoding && one->top_k == two->top_k &&
                            one->vocab_size == two->vocab_size &&
                            one->hidden_size == two->hidden_size};
    ALD_TRY(walk(&d));
    ald_json_t *attributes = diff_headers(one, two);
    bool equal =
        d.only[0] + d.only[1] + d.differing == 0 && d.teachers && ald_json_count(attributes) == 0;
    ald_json_set(report, "equal", ald_json_new_bool(equal));
    ald_json_set(report, "attributes", attributes);
    ald_json_set(report, "sequences_a", ald_json_new_integer(a->count));
    ald_json_set(report, "sequences_b", ald_json_new_integer(b->count));
    ald_json_set(report, "only_in_a", ald_json_new_integer(d.only[0]));
    ald_json_set(report, "only_in_b", ald_json_new_integer(d.only[1]));
    ald_json_set(report, "differing", ald_json_new_integer(d.differing));
    ald_json_set(report, "datasets", datasets_json(&d));
done:
    ald_arena_reset(&d.arena);
    return status;
}
