#include "ald/pairs.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "ald/arena.h"
#include "ald/file.h"
#include "ald/sha256.h"
#include "data/pairs_row.h"

/* What the rows point into: an arena per thread, and the JSON that was kept. */
struct ald_pairs_store {
    ald_arena_t *arenas;
    int threads;
    ald_vec_t kept; /* ald_json_t * */
};

/* A row before it is read: a line of a JSONL file, or an item of a JSON array. */
typedef struct {
    const char *text;
    size_t length;
    int64_t number; /* 0-based line or index */
} raw_row_t;

typedef struct {
    const char *path, *file; /* as given, and its content */
    size_t size;
    ald_json_t *array; /* NULL for JSONL */
    ald_vec_t rows;    /* raw_row_t */
} source_t;

static ald_status_t split_lines(source_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *at = source->file, *end = at + source->size;
    for (int64_t number = 0; at < end; ++number) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline == NULL ? end : newline;
        const raw_row_t row = {at, (size_t)(next - at), number};
        size_t blank = 0;
        while (blank < row.length && strchr(" \t\r", at[blank]) != NULL && at[blank] != '\0')
            ++blank;
        if (blank < row.length)
            ALD_TRY(ald_vec_push(&source->rows, &row));
        at = next + 1;
    }
done:
    return status;
}

static ald_status_t split_rows(source_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *at = source->file, *end = at + source->size;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        ++at;
    if (at == end || *at != '[')
        return split_lines(source);
    ALD_TRY(ald_json_parse(source->file, source->size, source->path, &source->array));
    for (size_t i = 0; i < ald_json_count(source->array); ++i) {
        const raw_row_t row = {NULL, 0, (int64_t)i};
        ALD_TRY(ald_vec_push(&source->rows, &row));
    }
done:
    return status;
}

/* "not valid JSON: ..." without the place within the line, which the file's line replaces. */
static ald_status_t parse_line(const raw_row_t *row, ald_json_t **out)
{
    ald_status_t status = ald_json_parse(row->text, row->length, "", out);
    const char *reason = strstr(ald_status_message(), "not valid JSON");
    if (status == ALD_STATUS_INPUT && reason != NULL)
        return ald_status_raise(status, "%s", reason);
    return status;
}

static ald_status_t read_row(const ald_pairs_reader_t *reader, const source_t *source, size_t index,
                             ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const raw_row_t *row = &ALD_VEC_AT(&source->rows, raw_row_t, index);
    ald_json_t *json = NULL;
    out->id = row->number;
    out->line = row->number + 1;
    if (source->array == NULL)
        ALD_TRY(parse_line(row, &json));
    ALD_TRY(ald_pairs_read_row(
        reader, source->array == NULL ? json : ald_json_at(source->array, index), out));
done:
    ald_json_free(json);
    if (status != ALD_STATUS_OK && source->array == NULL)
        status = ald_status_prefix(status, "%s:%lld", source->path, (long long)row->number + 1);
    else if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "%s: item %lld", source->path, (long long)row->number);
    return status;
}

/* The failure of the smallest row, whichever thread met it when. */
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

static ald_status_t read_rows(const ald_pairs_reader_t *reader, const source_t *source,
                              ald_pairs_t *out)
{
    failure_t failure = {INT64_MAX, ALD_STATUS_OK, ""};
#pragma omp parallel num_threads(out->store->threads)
    {
        ald_pairs_reader_t mine = *reader;
        mine.arena = &out->store->arenas[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 16)
        for (int64_t i = 0; i < out->count; ++i) {
            if (behind_failure(&failure, i))
                continue;
            ald_status_t status = read_row(&mine, source, (size_t)i, &out->rows[i]);
            if (status != ALD_STATUS_OK)
                note_failure(&failure, i, status);
        }
    }
    return failure.status == ALD_STATUS_OK
               ? ALD_STATUS_OK
               : ald_status_raise(failure.status, "%s", failure.message);
}

static bool same_ids(const ald_text_t *a, const ald_text_t *b)
{
    return a->count == b->count && a->count > 0 &&
           memcmp(a->ids, b->ids, (size_t)a->count * sizeof a->ids[0]) == 0;
}

static void count_rows(const bool *cuts, ald_pairs_t *pairs)
{
    pairs->counts.rows = pairs->count;
    for (int64_t i = 0; i < pairs->count; ++i) {
        const ald_pair_t *row = &pairs->rows[i];
        const bool *cut = cuts + ALD_PAIRS_CUTS * i;
        pairs->counts.prompts_cut += cut[0];
        for (int j = 1; j < 4; ++j)
            pairs->counts.responses_cut += cut[j];
        pairs->counts.boundaries += cut[4];
        pairs->counts.identical += same_ids(&row->chosen, &row->rejected);
    }
}

static ald_status_t make_store(ald_pairs_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    out->store = ald_calloc(1, sizeof *out->store);
    ALD_CHECK_MEMORY(out->store, sizeof *out->store);
    out->store->threads = omp_get_max_threads();
    ald_vec_init(&out->store->kept, sizeof(ald_json_t *));
    out->store->arenas = ald_calloc((size_t)out->store->threads, sizeof(ald_arena_t));
    ALD_CHECK_MEMORY(out->store->arenas, (size_t)out->store->threads * sizeof(ald_arena_t));
done:
    return status;
}

ald_status_t ald_pairs_load(const char *path, ald_pairs_need_t need,
                            const ald_tokenizer_t *tokenizer, const ald_chat_t *chat,
                            int64_t max_prompt, int64_t max_response, ald_pairs_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    source_t source = {.path = path};
    char *file = NULL;
    bool *cuts = NULL;
    ald_sha256_t sha;
    memset(out, 0, sizeof *out);
    ald_vec_init(&source.rows, sizeof(raw_row_t));
    ALD_TRY(make_store(out));
    ALD_TRY(ald_file_read(path, &file, &source.size));
    source.file = file;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, file, source.size);
    ald_sha256_final(&sha, out->sha256);
    ALD_TRY(split_rows(&source));
    ALD_CHECK(source.rows.count > 0, ALD_STATUS_INPUT, "%s: no rows", path);
    out->rows = ald_calloc(source.rows.count, sizeof *out->rows);
    cuts = ald_calloc(source.rows.count, ALD_PAIRS_CUTS * sizeof *cuts);
    ALD_CHECK(out->rows != NULL && cuts != NULL, ALD_STATUS_RESOURCE, "out of memory: %zu rows",
              source.rows.count);
    out->count = (int64_t)source.rows.count;
    const ald_pairs_reader_t reader = {need, tokenizer,         chat,      max_prompt, max_response,
                                       NULL, &out->store->kept, out->rows, cuts};
    ALD_TRY(read_rows(&reader, &source, out));
    count_rows(cuts, out);
done:
    ald_free(cuts);
    ald_json_free(source.array);
    ald_vec_reset(&source.rows);
    ald_free(file);
    if (status != ALD_STATUS_OK)
        ald_pairs_reset(out);
    return status;
}

void ald_pairs_reset(ald_pairs_t *pairs)
{
    if (pairs->store != NULL) {
        for (int i = 0; i < pairs->store->threads && pairs->store->arenas != NULL; ++i)
            ald_arena_reset(&pairs->store->arenas[i]);
        for (size_t i = 0; i < pairs->store->kept.count; ++i)
            ald_json_free(ALD_VEC_AT(&pairs->store->kept, ald_json_t *, i));
        ald_vec_reset(&pairs->store->kept);
        ald_free(pairs->store->arenas);
        ald_free(pairs->store);
    }
    ald_free(pairs->rows);
    memset(pairs, 0, sizeof *pairs);
}
