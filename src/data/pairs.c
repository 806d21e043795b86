/* Reads the rows of a file with threads: chooses them, reads them in order, counts what was left
 * out. A failure is that of the smallest row, whichever thread met it first. */
#include "ald/data/pairs.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/members.h"
#include "ald/data/row_file.h"
#include "data/pairs_impl.h"
#include "data/pairs_row_impl.h"

enum { STREAM_ROWS = 0x726f7773 }; /* "rows": the stream of random numbers for data.shuffle */

/* --- which rows ------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    const int64_t x = ((const ald_raw_row_t *)a)->number, y = ((const ald_raw_row_t *)b)->number;
    return (x > y) - (x < y);
}

/* Keeps the first data.max_rows rows, or as many at random, in the order of the file. */
static ald_status_t take_rows(const ald_pairs_options_t *options, ald_vec_t *rows)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t most = (size_t)options->max_rows, count = rows->count;
    int64_t *order = NULL;
    ald_vec_t taken;
    ald_vec_init(&taken, sizeof(ald_raw_row_t));
    if (most == 0 || most >= count)
        return status;
    if (options->shuffle) {
        order = ald_calloc(count, sizeof *order);
        ALD_CHECK_MEMORY(order, count * sizeof *order);
        ald_rng_permutation(options->seed, STREAM_ROWS, (int64_t)count, order);
        for (size_t i = 0; i < most; ++i)
            ALD_TRY(ald_vec_push(&taken, &ALD_VEC_AT(rows, ald_raw_row_t, order[i])));
        qsort(taken.data, most, sizeof(ald_raw_row_t), by_number);
        memcpy(rows->data, taken.data, most * sizeof(ald_raw_row_t));
    }
    rows->count = most;
done:
    ald_vec_reset(&taken);
    ald_free(order);
    return status;
}

size_t ald_pairs_part_begin(const ald_vec_t *rows, int part, int parts)
{
    double whole = 0, before = 0;
    size_t i = 0;
    for (size_t k = 0; k < rows->count; ++k)
        whole += (double)ALD_VEC_AT(rows, ald_raw_row_t, k).length;
    for (; i < rows->count && part < parts && before < whole * part / parts; ++i)
        before += (double)ALD_VEC_AT(rows, ald_raw_row_t, i).length;
    return part >= parts ? rows->count : i;
}

static void take_part(const ald_pairs_options_t *options, ald_vec_t *rows)
{
    if (options->parts <= 1)
        return;
    size_t first = ald_pairs_part_begin(rows, options->part, options->parts),
           last = ald_pairs_part_begin(rows, options->part + 1, options->parts);
    memmove(rows->data, &ALD_VEC_AT(rows, ald_raw_row_t, first),
            (last - first) * sizeof(ald_raw_row_t));
    rows->count = last - first;
}

ald_layout_t ald_pairs_find_layout(ald_layout_t forced, const ald_row_file_t *source)
{
    enum { ROWS = 100 }; /* that are looked at: the first may lack the members that tell */
    ald_layout_t found = forced;
    bool whole = true;
    for (size_t i = 0; i < source->rows.count && i < ROWS && whole && found == ALD_LAYOUT_AUTO;
         ++i) {
        ald_json_t *json = NULL;
        const ald_raw_row_t *row = &ALD_VEC_AT(&source->rows, ald_raw_row_t, i);
        whole = ald_row_file_parse(source, row, &json) == ALD_STATUS_OK;
        found = whole ? ald_layout_of(json) : found;
        ald_json_free(json);
    }
    return found == ALD_LAYOUT_AUTO ? ALD_LAYOUT_PAIRS : found;
}

/* --- reading them ---------------------------------------------------------------------------- */

static ald_status_t read_row(const ald_pairs_reader_t *reader, const ald_row_file_t *source,
                             size_t index, ald_pair_t *out, ald_pairs_note_t *note)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_raw_row_t *row = &ALD_VEC_AT(&source->rows, ald_raw_row_t, index);
    ald_json_t *json = NULL;
    out->id = row->number;
    out->line = row->number + 1;
    status = ald_row_file_parse(source, row, &json);
    if (status == ALD_STATUS_OK)
        status = ald_pairs_read_row(reader, json, out, note);
    else if (source->array)
        return status; /* the message names the place in the file */
    ald_json_free(json);
    return status == ALD_STATUS_OK ? status : ald_row_file_place(source, row->number, status);
}

/* A failure, or the first row that was left out: that with the smallest number, in whichever order
 * the threads met them. */
typedef struct {
    int64_t row;
    ald_status_t status;
    char message[1024];
} failure_t;

static void note_failure(failure_t *failure, int64_t row, ald_status_t status)
{
#pragma omp critical(ald_pairs_failure)
    if (row < failure->row) {
        failure->row = row;
        failure->status = status;
        snprintf(failure->message, sizeof failure->message, "%s", ald_status_message());
    }
}

static bool behind_failure(const failure_t *failure, int64_t row)
{
    int64_t first;
#pragma omp critical(ald_pairs_failure)
    first = failure->row;
    return row > first;
}

static ald_status_t read_rows(const ald_pairs_reader_t *reader, const ald_row_file_t *source,
                              ald_pairs_note_t *notes, ald_pairs_t *out)
{
    failure_t failure = {INT64_MAX, ALD_STATUS_OK, ""}, left_out = failure;
#pragma omp parallel num_threads(out->store->threads)
    {
        ald_pairs_reader_t mine = *reader;
        mine.arena = &out->store->arenas[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 16)
        for (int64_t i = 0; i < out->count; ++i) {
            if (behind_failure(&failure, i))
                continue;
            ald_arena_mark_t mark = ald_arena_mark(mine.arena);
            ald_status_t status = read_row(&mine, source, (size_t)i, &out->rows[i], &notes[i]);
            bool skipped = status == ALD_STATUS_INPUT && notes[i].skip != ALD_SKIP_NONE;
            if (status != ALD_STATUS_OK)
                note_failure(skipped ? &left_out : &failure, i, status);
            if (skipped)
                ald_arena_release(mine.arena, mark);
        }
    }
    memcpy(out->store->left_out, left_out.message, sizeof out->store->left_out);
    return failure.status == ALD_STATUS_OK
               ? ALD_STATUS_OK
               : ald_status_raise(failure.status, "%s", failure.message);
}

static bool same_ids(const ald_text_t *a, const ald_text_t *b)
{
    return a->count == b->count && a->count > 0 &&
           memcmp(a->ids, b->ids, (size_t)a->count * sizeof a->ids[0]) == 0;
}

static void count_row(const ald_pair_t *row, const ald_pairs_note_t *note,
                      ald_pairs_counts_t *counts)
{
    counts->prompts_cut += note->cut[0];
    for (int j = 1; j < 4; ++j)
        counts->responses_cut += note->cut[j];
    counts->boundaries += note->boundary;
    counts->ties += note->tie;
    counts->identical += same_ids(&row->chosen, &row->rejected);
}

/* Counts the rows by what became of them, and moves the used ones together. */
static void count_rows(const ald_row_file_t *source, const ald_pairs_note_t *notes,
                       ald_pairs_t *pairs)
{
    int64_t used = 0;
    pairs->counts.read = pairs->count;
    for (int64_t i = 0; i < pairs->count; ++i) {
        ald_skip_t skip = notes[i].skip;
        for (int m = 0; m < ALD_MEMBER_COUNT; ++m)
            pairs->counts.unread[m] += notes[i].unread >> m & 1;
        if (skip == ALD_SKIP_NONE) {
            count_row(&pairs->rows[i], &notes[i], &pairs->counts);
            pairs->rows[used++] = pairs->rows[i];
        } else if (pairs->counts.skipped[skip]++ == 0) {
            pairs->first_skipped[skip] = ALD_VEC_AT(&source->rows, ald_raw_row_t, i).number;
        }
    }
    pairs->count = used;
}

static ald_status_t make_store(ald_pairs_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    out->store = ald_calloc(1, sizeof *out->store);
    ALD_CHECK_MEMORY(out->store, sizeof *out->store);
    out->store->threads = omp_get_max_threads();
    ald_vec_init(&out->store->kept, sizeof(ald_json_t *));
    ald_vec_init(&out->store->packed, 1);
    out->store->arenas = ald_calloc((size_t)out->store->threads, sizeof(ald_arena_t));
    ALD_CHECK_MEMORY(out->store->arenas, (size_t)out->store->threads * sizeof(ald_arena_t));
done:
    return status;
}

ald_status_t ald_pairs_check(const char *path, const ald_pairs_t *pairs)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(pairs->count > 0, ALD_STATUS_INPUT,
              "%s: none of its %lld rows can be used; the first: %s", path,
              (long long)pairs->counts.read, pairs->store->left_out);
done:
    return status;
}

/* Writes "; skipped 3 empty answer (first: line 7), 1 ...", or "" when no row was. */
static void describe_skips(const ald_pairs_t *pairs, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 1; i < ALD_SKIP_COUNT; ++i) {
        if (pairs->counts.skipped[i] == 0 || used >= size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s %lld %s (first: %s %lld)",
                                 used == 0 ? "; skipped" : ",", (long long)pairs->counts.skipped[i],
                                 ald_skip_name((ald_skip_t)i), pairs->array ? "item" : "line",
                                 (long long)pairs->first_skipped[i] + !pairs->array);
    }
}

void ald_pairs_log(const ald_pairs_t *pairs, const char *path)
{
    char skips[1024];
    describe_skips(pairs, skips, sizeof skips);
    ald_log_info("%s: %lld rows, %lld used%s", path, (long long)pairs->counts.read,
                 (long long)pairs->count, skips);
    for (int m = 0; m < ALD_MEMBER_COUNT; ++m)
        if (pairs->counts.unread[m] > 0)
            ald_log_warn("%s: \"%s\" isn't read in layout %s (%lld of %lld rows have it)", path,
                         ald_member_name((ald_member_t)m), ald_layout_name(pairs->layout),
                         (long long)pairs->counts.unread[m], (long long)pairs->counts.read);
}

static ald_status_t load(const ald_pairs_options_t *options, ald_row_file_t *source,
                         ald_pairs_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_pairs_note_t *notes = NULL;
    memcpy(out->sha256, source->sha256, sizeof out->sha256);
    out->array = source->array;
    out->layout = ald_pairs_find_layout(options->layout, source);
    ALD_TRY(take_rows(options, &source->rows));
    take_part(options, &source->rows);
    size_t count = source->rows.count;
    out->rows = ald_calloc(count + 1, sizeof *out->rows);
    notes = ald_calloc(count + 1, sizeof *notes);
    ALD_CHECK(out->rows != NULL && notes != NULL, ALD_STATUS_RESOURCE, "out of memory: %zu rows",
              count);
    out->count = (int64_t)count;
    const ald_pairs_reader_t reader = {
        .options = options, .layout = out->layout, .kept = &out->store->kept};
    ALD_TRY(read_rows(&reader, source, notes, out));
    count_rows(source, notes, out);
    if (options->parts <= 1)
        ALD_TRY(ald_pairs_check(source->path, out));
done:
    ald_free(notes);
    return status;
}

/* Loads rows from a file, or from text in memory. */
static ald_status_t load_source(const char *name, const char *text, size_t size,
                                const ald_pairs_options_t *options, ald_pairs_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_row_file_t source = {0};
    memset(out, 0, sizeof *out);
    for (int i = 0; i < ALD_SKIP_COUNT; ++i)
        out->first_skipped[i] = -1;
    ALD_TRY(make_store(out));
    ALD_TRY(text == NULL ? ald_row_file_open(name, &source)
                         : ald_row_file_use(name, text, size, &source));
    ALD_TRY(load(options, &source, out));
done:
    ald_row_file_close(&source);
    if (status != ALD_STATUS_OK)
        ald_pairs_reset(out);
    return status;
}

ald_status_t ald_pairs_load(const char *path, const ald_pairs_options_t *options, ald_pairs_t *out)
{
    return load_source(path, NULL, 0, options, out);
}

ald_status_t ald_pairs_parse(const char *name, const char *text, size_t size,
                             const ald_pairs_options_t *options, ald_pairs_t *out)
{
    return load_source(name, text, size, options, out);
}

void ald_pairs_drop_rows(ald_pairs_t *pairs)
{
    struct ald_pairs_store *store = pairs->store;
    for (int i = 0; i < store->threads && store->arenas != NULL; ++i)
        ald_arena_reset(&store->arenas[i]);
    for (size_t i = 0; i < store->kept.count; ++i)
        ald_json_free(ALD_VEC_AT(&store->kept, ald_json_t *, i));
    ald_vec_reset(&store->kept);
    ald_vec_reset(&store->packed);
    ald_free(pairs->rows);
    pairs->rows = NULL;
    pairs->count = 0;
}

void ald_pairs_reset(ald_pairs_t *pairs)
{
    if (pairs->store != NULL) {
        ald_pairs_drop_rows(pairs);
        ald_free(pairs->store->arenas);
        ald_free(pairs->store);
    }
    memset(pairs, 0, sizeof *pairs);
}
