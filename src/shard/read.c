/* Reads sequences of an open shard. Offsets and enum values are checked when it is opened,
 * checksums and ids when they are read; all other checks are in open.c. */
#include "ald/shard/read.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "shard/chunk_impl.h"
#include "ald/shard/fletcher.h"
#include "shard/format_impl.h"
#include "shard/open_impl.h"
#include "shard/structure_impl.h"
#include "shard/text_impl.h"
#include "shard/values_impl.h"

/* Sets N, T and R by the first dataset that has each, and checks that all others agree. */
static ald_status_t check_rows(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    shard->count = shard->columns[ALD_DATASET_SEQUENCE_ID].rows;
    shard->tokens = shard->columns[ALD_DATASET_TOKEN_ID].rows;
    shard->positions = shard->columns[ALD_DATASET_RESPONSE_ID].rows;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const int64_t expected[] = {shard->count, shard->count + 1, shard->tokens,
                                    shard->positions};
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        const ald_chunked_t *column = &shard->columns[i];
        ALD_CHECK(column->dataset < 0 || column->rows == expected[info->rows], ALD_STATUS_INPUT,
                  "%s: %s: expected %lld rows, found %lld", shard->path, info->path,
                  (long long)expected[info->rows], (long long)column->rows);
    }
done:
    return status;
}

/* Reads a whole narrow dataset into new memory. */
static ald_status_t read_whole(ald_shard_t *shard, ald_shard_dataset_t dataset, void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t rows = shard->columns[dataset].rows;
    const size_t size = ald_column_size(ald_shard_datasets[dataset].type);
    const size_t bytes = ((size_t)rows + 1) * size + ALD_FLETCHER_BYTES;
    *out = ald_calloc(1, bytes);
    ALD_CHECK_MEMORY(*out, bytes);
    ALD_TRY(ald_chunked_read(&shard->columns[dataset], 0, rows, false, *out));
done:
    return status;
}

static ald_status_t check_starts(const ald_shard_t *shard, ald_shard_dataset_t dataset,
                                 const int64_t *start, int64_t end)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = ald_shard_datasets[dataset].path;
    ALD_CHECK(start[0] == 0, ALD_STATUS_INPUT, "%s: %s: expected 0 first, found %lld", shard->path,
              path, (long long)start[0]);
    for (int64_t i = 0; i < shard->count; ++i)
        ALD_CHECK(start[i] <= start[i + 1] && start[i + 1] <= end, ALD_STATUS_INPUT,
                  "%s: %s[%lld]: expected %lld to %lld, found %lld", shard->path, path,
                  (long long)i + 1, (long long)start[i], (long long)end, (long long)start[i + 1]);
    ALD_CHECK(start[shard->count] == end, ALD_STATUS_INPUT,
              "%s: %s: expected %lld last, found %lld", shard->path, path, (long long)end,
              (long long)start[shard->count]);
done:
    return status;
}

static ald_status_t read_sequences(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(read_whole(shard, ALD_DATASET_SEQUENCE_ID, (void **)&shard->id));
    ALD_TRY(read_whole(shard, ALD_DATASET_SEQUENCE_SOURCE, (void **)&shard->source));
    ALD_TRY(read_whole(shard, ALD_DATASET_TOKEN_START, (void **)&shard->token_start));
    ALD_TRY(read_whole(shard, ALD_DATASET_RESPONSE_START, (void **)&shard->response_start));
    ALD_TRY(check_starts(shard, ALD_DATASET_TOKEN_START, shard->token_start, shard->tokens));
    ALD_TRY(
        check_starts(shard, ALD_DATASET_RESPONSE_START, shard->response_start, shard->positions));
    for (int64_t i = 0; i < shard->count; ++i) {
        const int64_t tokens = shard->token_start[i + 1] - shard->token_start[i];
        const int64_t positions = shard->response_start[i + 1] - shard->response_start[i];
        ALD_CHECK(shard->source[i] <= ALD_SOURCE_POLICY, ALD_STATUS_INPUT,
                  "%s: /sequence/source[%lld]: expected 0 to %d, found %d", shard->path,
                  (long long)i, ALD_SOURCE_POLICY, shard->source[i]);
        ALD_CHECK(shard->id[i] >= 0, ALD_STATUS_INPUT,
                  "%s: /sequence/id[%lld]: expected a row's number, found %lld", shard->path,
                  (long long)i, (long long)shard->id[i]);
        ALD_CHECK(positions <= tokens, ALD_STATUS_INPUT,
                  "%s: /sequence/response_start[%lld]: %lld response positions of %lld tokens",
                  shard->path, (long long)i, (long long)positions, (long long)tokens);
    }
done:
    return status;
}

/* Closes the file, and keeps everything that was read from it. */
static void fall_asleep(ald_shard_t *shard)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        ald_chunked_close(&shard->columns[i]);
    ald_texts_close(&shard->texts);
    if (shard->file >= 0)
        H5Fclose(shard->file);
    shard->file = -1;
}

/* Opens the file. HDF5 sees only what structure.c has passed. */
static ald_status_t open_file(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1;
    hsize_t block = 0;
    size_t address = 0, length = 0;
    ALD_TRY(ald_texts_open(shard->path, shard->file_size, &shard->texts));
    ALD_TRY(ald_structure_check(&shard->texts));
    ALD_TRY(ald_h5_open(shard->path, &shard->file));
    ALD_H5(list = H5Fget_create_plist(shard->file), shard->path, "open");
    ALD_H5(H5Pget_userblock(list, &block), shard->path, "open");
    ALD_H5(H5Pget_sizes(list, &address, &length), shard->path, "open");
    ALD_CHECK(block == 0 && address == 8 && length == 8, ALD_STATUS_INPUT,
              "%s: superblock: expected 8-byte addresses and no user block", shard->path);
done:
    H5Pclose(list);
    return status;
}

static ald_status_t open_columns(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_dataset_is_in(&ald_shard_datasets[i], &shard->header))
            ALD_TRY(ald_shard_open_column(shard, (ald_shard_dataset_t)i));
    ALD_TRY(check_rows(shard));
done:
    return status;
}

ald_status_t ald_shard_open(const char *path, ald_shard_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = ald_calloc(1, sizeof *shard);
    *out = NULL;
    ALD_CHECK_MEMORY(shard, sizeof *shard);
    shard->file = shard->texts.file = -1;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        shard->columns[i].dataset = shard->columns[i].type = -1;
    ald_h5_begin();
    shard->path = ald_strdup(path);
    ALD_CHECK_MEMORY(shard->path, strlen(path));
    ALD_CHECK(stat(path, &shard->seen) == 0 && S_ISREG(shard->seen.st_mode), ALD_STATUS_INPUT,
              "%s: no such shard", path);
    shard->file_size = (int64_t)shard->seen.st_size;
    ALD_TRY(open_file(shard));
    ALD_TRY(ald_shard_read_header(shard));
    ALD_TRY(open_columns(shard));
    ALD_TRY(read_sequences(shard));
    *out = shard;
    shard = NULL;
done:
    ald_shard_close(shard);
    return status;
}

int64_t ald_shard_reader_bytes(const ald_shard_header_t *header)
{
    int64_t bytes =
        (int64_t)sizeof(ald_shard_t) + ALD_H5_METADATA + ALD_TEXT_HEAPS * ALD_TEXT_HEAP_KEPT;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_column_plan_t plan = ald_column_plan(&ald_shard_datasets[i], header);
        if (plan.used)
            bytes += (int64_t)plan.chunk_bytes + 1;
    }
    return ALD_SHARDS_AWAKE * bytes + 2 * ALD_CHUNK_MOST;
}

static void pool_leave(ald_shard_t *shard)
{
    ald_shard_pool_t *pool = shard->pool;
    if (shard->newer != NULL)
        shard->newer->older = shard->older;
    else
        pool->newest = shard->older;
    if (shard->older != NULL)
        shard->older->newer = shard->newer;
    else
        pool->oldest = shard->newer;
    shard->newer = shard->older = NULL;
    pool->awake -= 1;
}

/* Makes the shard the one used last; if too many are open, the one used longest ago is closed. */
static void pool_enter(ald_shard_t *shard)
{
    ald_shard_pool_t *pool = shard->pool;
    if (pool->awake == ALD_SHARDS_AWAKE) {
        ald_shard_t *oldest = pool->oldest;
        fall_asleep(oldest);
        pool_leave(oldest);
    }
    shard->older = pool->newest;
    if (pool->newest != NULL)
        pool->newest->newer = shard;
    else
        pool->oldest = shard;
    pool->newest = shard;
    pool->awake += 1;
}

void ald_shard_join(ald_shard_t *shard, ald_shard_pool_t *pool)
{
    shard->pool = pool;
    pool_enter(shard);
}

/* Opens a sleeping shard again, after a check that it is the same file, unchanged. */
static ald_status_t wake(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = shard->count, tokens = shard->tokens, positions = shard->positions;
    struct stat now;
    ald_h5_begin(); /* this may be the first call of HDF5 on this thread */
    if (shard->pool != NULL && shard->file >= 0 && shard->pool->newest != shard) {
        pool_leave(shard);
        pool_enter(shard);
    }
    if (shard->file >= 0)
        return status;
    ALD_CHECK(stat(shard->path, &now) == 0, ALD_STATUS_INPUT, "%s: no such shard", shard->path);
    ALD_CHECK(now.st_ino == shard->seen.st_ino && now.st_size == shard->seen.st_size &&
                  now.st_mtim.tv_sec == shard->seen.st_mtim.tv_sec &&
                  now.st_mtim.tv_nsec == shard->seen.st_mtim.tv_nsec,
              ALD_STATUS_INPUT, "%s: changed since it was opened", shard->path);
    ALD_TRY(open_file(shard));
    ALD_TRY(open_columns(shard));
    ALD_CHECK(count == shard->count && tokens == shard->tokens && positions == shard->positions,
              ALD_STATUS_INPUT, "%s: changed since it was opened", shard->path);
    pool_enter(shard);
done:
    if (status != ALD_STATUS_OK)
        fall_asleep(shard);
    return status;
}

void ald_shard_close(ald_shard_t *shard)
{
    if (shard == NULL)
        return;
    if (shard->pool != NULL && shard->file >= 0)
        pool_leave(shard);
    fall_asleep(shard);
    ald_free(shard->id);
    ald_free(shard->source);
    ald_free(shard->token_start);
    ald_free(shard->response_start);
    ald_free(shard->config);
    ald_free(shard->path);
    ald_free(shard);
}

const ald_shard_header_t *ald_shard_header(const ald_shard_t *shard)
{
    return &shard->header;
}

int64_t ald_shard_count(const ald_shard_t *shard)
{
    return shard->count;
}

int64_t ald_shard_positions(const ald_shard_t *shard)
{
    return shard->positions;
}

int64_t ald_shard_tokens(const ald_shard_t *shard)
{
    return shard->tokens;
}

ald_status_t ald_shard_peek(ald_shard_t *shard, int64_t i, ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_scored_t){0};
    ALD_CHECK(i >= 0 && i < shard->count, ALD_STATUS_INPUT, "%s: sequence %lld: expected 0 to %lld",
              shard->path, (long long)i, (long long)shard->count - 1);
    out->id = shard->id[i];
    out->source = (ald_source_t)shard->source[i];
    out->response_count = shard->response_start[i + 1] - shard->response_start[i];
    out->prompt_count = shard->token_start[i + 1] - shard->token_start[i] - out->response_count;
done:
    return status;
}

static ald_status_t read_text(ald_shard_t *shard, ald_shard_dataset_t dataset, int64_t i,
                              ald_arena_t *arena, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t heap_id[ALD_TEXT_HEAP_ID + ALD_FLETCHER_BYTES];
    ALD_TRY(ald_chunked_read(&shard->columns[dataset], i, 1, false, heap_id));
    ALD_TRY(ald_texts_read(&shard->texts, ald_shard_datasets[dataset].path, heap_id, arena, out));
done:
    return status;
}

/* Reads rows of a numeric dataset into the arena. */
static ald_status_t read_column(ald_shard_t *shard, ald_shard_dataset_t dataset, int64_t first,
                                int64_t rows, ald_arena_t *arena, const void **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_column_type_t type = ald_shard_datasets[dataset].type;
    const size_t bytes =
        ((size_t)(rows * shard->columns[dataset].width) + 1) * ald_column_memory_size(type) +
        ALD_FLETCHER_BYTES;
    void *data = ald_arena_alloc(arena, bytes);
    ALD_CHECK_MEMORY(data, bytes);
    ALD_TRY(
        ald_chunked_read(&shard->columns[dataset], first, rows, type == ALD_COLUMN_F16_WIDE, data));
    const int64_t width = shard->columns[dataset].width;
    ALD_TRY(ald_values_check(shard->path, dataset, first * width, data, rows * width));
    if (ald_shard_datasets[dataset].bound == ALD_BOUND_ID)
        ALD_TRY(ald_values_check_ids(shard->path, dataset, first * width, data, rows * width,
                                     shard->header.vocab_size));
    *out = data;
done:
    return status;
}

/* Reads the tokens, and checks that the response is their end. */
static ald_status_t read_tokens(ald_shard_t *shard, int64_t i, ald_arena_t *arena,
                                ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t first = shard->token_start[i], count = out->prompt_count + out->response_count;
    const void *ids = NULL;
    ALD_TRY(read_column(shard, ALD_DATASET_TOKEN_ID, first, count, arena, &ids));
    ALD_TRY(ald_values_check_ids(shard->path, ALD_DATASET_TOKEN_ID, first, ids, count,
                                 shard->header.vocab_size));
    out->prompt_ids = ids;
    ALD_CHECK(memcmp(out->prompt_ids + out->prompt_count, out->response_ids,
                     (size_t)out->response_count * sizeof *out->response_ids) == 0,
              ALD_STATUS_INPUT, "%s: /response/id: sequence %lld: expected the end of its tokens",
              shard->path, (long long)i);
done:
    return status;
}

ald_status_t ald_shard_read(ald_shard_t *shard, int64_t i, bool with_teacher, ald_arena_t *arena,
                            ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_shard_peek(shard, i, out));
    ALD_TRY(wake(shard));
    const int64_t first = shard->response_start[i], R = out->response_count;
    ALD_TRY(read_text(shard, ALD_DATASET_PROMPT, i, arena, &out->prompt));
    ALD_TRY(read_text(shard, ALD_DATASET_RESPONSE, i, arena, &out->response));
    for (int d = 0; d < ALD_DATASET_COUNT; ++d) {
        const ald_dataset_info_t *info = &ald_shard_datasets[d];
        const bool teacher = strncmp(info->path, "/teacher/", 9) == 0;
        if (info->rows != ALD_ROWS_R || shard->columns[d].dataset < 0 || (teacher && !with_teacher))
            continue;
        ALD_TRY(read_column(shard, (ald_shard_dataset_t)d, first, R, arena,
                            ald_dataset_member(&shard->header, out, (ald_shard_dataset_t)d)));
    }
    ALD_TRY(read_tokens(shard, i, arena, out));
done:
    return status;
}
