/* Repeats among rows, by sorting their hashes; clusters of near duplicates, by union-find over
 * pairs that share a band. Clusters don't depend on the order in which pairs were joined. */
#include "ald/data/audit_repeats.h"

#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "data/audit_impl.h"

/* --- the same, and the other way round ------------------------------------------------------- */

static int compare_hashes(const uint64_t a[2], const uint64_t b[2])
{
    if (a[0] != b[0])
        return a[0] < b[0] ? -1 : 1;
    return (a[1] > b[1]) - (a[1] < b[1]);
}

/* Which of the answers' hashes is the lower one. */
static int lower_of(const ald_audit_row_t *row)
{
    return compare_hashes(row->answer[0], row->answer[1]) > 0;
}

/* Orders rows by prompt, then by their answers without regard to which was chosen. */
static int compare_rows(const ald_audit_row_t *a, const ald_audit_row_t *b)
{
    const int x = lower_of(a), y = lower_of(b);
    int order = compare_hashes(a->prompt, b->prompt);
    if (order == 0)
        order = (a->answered[0] + 2 * a->answered[1]) - (b->answered[0] + 2 * b->answered[1]);
    if (order == 0)
        order = compare_hashes(a->answer[x], b->answer[y]);
    return order != 0 ? order : compare_hashes(a->answer[!x], b->answer[!y]);
}

static int by_content(const void *a, const void *b, void *context)
{
    const ald_audit_row_t *rows = context;
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const int order = compare_rows(&rows[i], &rows[j]);
    return order != 0 ? order : (i > j) - (i < j);
}

static void note(ald_audit_row_t *rows, uint32_t *const *others, ald_reason_t reason, uint32_t row,
                 uint32_t other)
{
    ald_audit_set(&rows[row], reason, true);
    others[reason][row] = other;
}

/* order[count] are rows of one prompt and the same two answers: some prefer one, some the other. */
static void mark_pairs(ald_audit_row_t *rows, const uint32_t *order, size_t count,
                       uint32_t *const *others)
{
    uint32_t first[2] = {ALD_AUDIT_NO_OTHER, ALD_AUDIT_NO_OTHER};
    for (size_t i = 0; i < count; ++i) {
        const int side = lower_of(&rows[order[i]]);
        if (first[side] == ALD_AUDIT_NO_OTHER)
            first[side] = order[i];
        else
            note(rows, others, ALD_REASON_DUPLICATE_PAIR, order[i], first[side]);
    }
    for (size_t i = 0; i < count; ++i) {
        const uint32_t opposite = first[!lower_of(&rows[order[i]])];
        if (opposite != ALD_AUDIT_NO_OTHER && rows[order[i]].answered[1])
            note(rows, others, ALD_REASON_CONTRADICTION, order[i], opposite);
    }
}

/* order[count] are rows of one prompt. */
static void mark_prompts(ald_audit_row_t *rows, const uint32_t *order, size_t count,
                         uint32_t *const *others)
{
    uint32_t first = order[0];
    for (size_t i = 1; i < count; ++i)
        first = order[i] < first ? order[i] : first;
    for (size_t i = 0; i < count; ++i)
        if (order[i] != first)
            note(rows, others, ALD_REASON_DUPLICATE_PROMPT, order[i], first);
}

ald_status_t ald_repeats_find(ald_audit_row_t *rows, int64_t count, uint32_t *const *others)
{
    static const uint64_t nothing[2] = {0};
    ald_status_t status = ALD_STATUS_OK;
    size_t used = 0;
    uint64_t empty[2];
    uint32_t *order = ald_calloc((size_t)count + 1, sizeof *order);
    ALD_CHECK_MEMORY(order, (size_t)count * sizeof *order);
    ald_audit_hash(nothing, 0, empty); /* rows of text alone have no prompt */
    for (int64_t i = 0; i < count; ++i)
        if (rows[i].read)
            order[used++] = (uint32_t)i;
    qsort_r(order, used, sizeof *order, by_content, rows);
    for (size_t i = 0, end; i < used; i = end) {
        for (end = i + 1; end < used && compare_rows(&rows[order[i]], &rows[order[end]]) == 0;)
            ++end;
        mark_pairs(rows, order + i, end - i, others);
    }
    for (size_t i = 0, end; i < used; i = end) {
        const uint64_t *prompt = rows[order[i]].prompt;
        for (end = i + 1; end < used && compare_hashes(prompt, rows[order[end]].prompt) == 0;)
            ++end;
        if (compare_hashes(prompt, empty) != 0)
            mark_prompts(rows, order + i, end - i, others);
    }
done:
    ald_free(order);
    return status;
}

/* --- nearly the same -------------------------------------------------------------------------- */

ald_status_t ald_clusters_init(int64_t count, ald_clusters_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_clusters_t){.count = count};
    ald_vec_init(&out->order, sizeof(uint64_t));
    out->parent = ald_calloc((size_t)count + 1, sizeof *out->parent);
    ALD_CHECK_MEMORY(out->parent, (size_t)count * sizeof *out->parent);
    for (int64_t i = 0; i < count; ++i)
        out->parent[i] = (uint32_t)i;
done:
    return status;
}

void ald_clusters_reset(ald_clusters_t *clusters)
{
    ald_free(clusters->parent);
    ald_vec_reset(&clusters->order);
    clusters->parent = NULL;
}

/* The lowest row of the cluster; halves the way to it. */
static uint32_t lowest(ald_clusters_t *clusters, uint32_t row)
{
    uint32_t *parent = clusters->parent;
    while (parent[row] != row) {
        parent[row] = parent[parent[row]];
        row = parent[row];
    }
    return row;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Appends the pairs of order[at] with those before it that have its hash. */
static ald_status_t add_pairs(ald_clusters_t *clusters, size_t at, ald_vec_t *pairs)
{
    enum { MOST = 4 };
    ald_status_t status = ALD_STATUS_OK;
    const uint64_t *order = clusters->order.data;
    for (size_t back = 1; back <= MOST && back <= at; ++back) {
        const uint32_t pair[2] = {(uint32_t)order[at - back], (uint32_t)order[at]};
        if (order[at - back] >> 32 != order[at] >> 32)
            break;
        if (lowest(clusters, pair[0]) != lowest(clusters, pair[1]))
            ALD_TRY(ald_vec_append(pairs, pair, 2));
    }
done:
    return status;
}

ald_status_t ald_clusters_candidates(ald_clusters_t *clusters, const ald_audit_row_t *rows,
                                     ald_reason_t repeat, const uint32_t *band, ald_vec_t *pairs)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t *order = &clusters->order;
    order->count = pairs->count = 0;
    ALD_TRY(ald_vec_reserve(order, (size_t)clusters->count + 1));
    for (int64_t i = 0; i < clusters->count; ++i) {
        const uint64_t key = (uint64_t)band[i] << 32 | (uint64_t)i;
        if (rows[i].read && band[i] != 0 && (rows[i].reasons & 1u << repeat) == 0)
            ALD_TRY(ald_vec_push(order, &key));
    }
    qsort(order->data, order->count, sizeof(uint64_t), by_value);
    for (size_t at = 1; at < order->count; ++at)
        ALD_TRY(add_pairs(clusters, at, pairs));
done:
    return status;
}

void ald_clusters_join(ald_clusters_t *clusters, const ald_vec_t *pairs, const uint8_t *same)
{
    for (size_t i = 0; 2 * i < pairs->count; ++i) {
        ++clusters->compared;
        clusters->alike += same[i];
        if (!same[i])
            continue;
        const uint32_t a = lowest(clusters, ALD_VEC_AT(pairs, uint32_t, 2 * i)),
                       b = lowest(clusters, ALD_VEC_AT(pairs, uint32_t, 2 * i + 1));
        clusters->parent[a < b ? b : a] = a < b ? a : b;
    }
}

void ald_clusters_mark(ald_clusters_t *clusters, ald_reason_t reason, ald_audit_row_t *rows,
                       uint32_t *others)
{
    for (int64_t i = 0; i < clusters->count; ++i) {
        const uint32_t first = lowest(clusters, (uint32_t)i);
        if (first == (uint32_t)i)
            continue;
        ald_audit_set(&rows[i], reason, true);
        others[i] = first;
    }
}
