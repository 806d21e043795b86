/* The benchmark of the store: shards in turn with plain files of the same bytes, written and synced
 * alike. So a share is what the format and its checks cost, whatever the disk. */
#include "ald/bench/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/write.h"

enum {
    HIDDEN = 896, /* this and the vocabulary are those of Qwen2.5-0.5B */
    VOCABULARY = 151936,
    SUPPORT = 64, /* the standard value of shards.top_k */
    PROMPT = 100, /* this and the response are about as long as in preference data */
    RESPONSE = 300,
    SEQUENCES = 16,  /* different ones, written in turn: more than a processor's caches hold */
    PIECE = 1 << 20, /* bytes of a plain write or read: few calls, and a buffer that caches hold */
};

typedef struct {
    ald_shard_header_t header;
    ald_scored_t sequences[SEQUENCES];
    ald_arena_t memory, arena; /* of the sequences; of what is read */
    char *path, *plain;
    double *seconds[4]; /* [repeat] of each time in the report */
    uint8_t *piece;
} bench_t;

static double uniform(int64_t sequence, int64_t at)
{
    return ald_rng_uniform(3, (uint64_t)sequence, (uint64_t)at);
}

/* Fills a sequence with random ids, and with numbers and halves that a shard may have. */
static ald_status_t fill_sequence(bench_t *b, int64_t i)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *s = &b->sequences[i];
    int32_t *ids = ALD_ARENA_ARRAY(&b->memory, int32_t, PROMPT + RESPONSE);
    ALD_CHECK(ids != NULL, ALD_STATUS_RESOURCE, "out of memory: sequences to write");
    for (int64_t k = 0; k < PROMPT + RESPONSE; ++k)
        ids[k] = (int32_t)(uniform(i, k) * VOCABULARY);
    *s = (ald_scored_t){.prompt = "a prompt",
                        .response = "a response",
                        .prompt_ids = ids,
                        .prompt_count = PROMPT,
                        .response_ids = ids + PROMPT,
                        .response_count = RESPONSE};
    ALD_TRY(ald_scored_alloc(&b->header, RESPONSE, &b->memory, s));
    ald_scored_fill(&b->header, (uint64_t)i, RESPONSE, s);
done:
    return status;
}

static ald_status_t prepare(bench_t *b, const char *folder, ald_encoding_t encoding, int64_t repeat)
{
    ald_status_t status = ALD_STATUS_OK;
    b->header = (ald_shard_header_t){.encoding = encoding,
                                     .vocab_size = VOCABULARY,
                                     .hidden_size = HIDDEN,
                                     .top_k = ald_encoding_has_k(encoding) ? SUPPORT : 0,
                                     .policy_step = -1};
    ald_shard_choose_form(ALD_FULL_DTYPE_F32, &b->header);
    b->path = ald_path_join(folder, "bench-store.h5");
    b->plain = ald_path_join(folder, "bench-store.plain");
    b->piece = ald_alloc(PIECE);
    ALD_CHECK(b->path != NULL && b->plain != NULL && b->piece != NULL, ALD_STATUS_RESOURCE,
              "out of memory");
    for (int i = 0; i < 4; ++i) {
        b->seconds[i] = ald_calloc((size_t)repeat, sizeof(double));
        ALD_CHECK(b->seconds[i] != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
    for (int64_t i = 0; i < SEQUENCES; ++i)
        ALD_TRY(fill_sequence(b, i));
done:
    return status;
}

static ald_status_t write_shard(bench_t *b, int64_t sequences, double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_writer_t *writer = NULL;
    const double begun = ald_time();
    ALD_TRY(ald_shard_writer_open(b->path, &b->header, &writer));
    for (int64_t i = 0; i < sequences; ++i) {
        ald_scored_t sequence = b->sequences[i % SEQUENCES];
        sequence.id = i;
        ALD_TRY(ald_shard_writer_append(writer, &sequence));
    }
    status = ald_shard_writer_commit(writer);
    writer = NULL;
    *seconds = ald_time() - begun;
done:
    ald_shard_writer_discard(writer);
    return status;
}

static ald_status_t read_shard(bench_t *b, double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ald_scored_t sequence;
    const double begun = ald_time();
    ALD_TRY(ald_shard_open(b->path, &shard));
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_arena_mark_t mark = ald_arena_mark(&b->arena);
        ALD_TRY(ald_shard_read(shard, i, true, &b->arena, &sequence));
        ald_arena_release(&b->arena, mark);
    }
    *seconds = ald_time() - begun;
done:
    ald_shard_close(shard);
    return status;
}

static ald_status_t write_plain(bench_t *b, const char *data, size_t size, double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    const double begun = ald_time();
    ALD_TRY(ald_writer_open(b->plain, &writer));
    for (size_t at = 0; at < size; at += PIECE)
        ALD_TRY(ald_writer_write(writer, data + at, size - at < PIECE ? size - at : PIECE));
    status = ald_writer_commit(writer);
    writer = NULL;
    *seconds = ald_time() - begun;
done:
    ald_writer_discard(writer);
    return status;
}

/* Reads the shard's file plainly, not the plain file: its pages may be cached in pieces of other
 * sizes. */
static ald_status_t read_plain(bench_t *b, double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    ssize_t got = 1;
    const double begun = ald_time();
    const int file = open(b->path, O_RDONLY | O_CLOEXEC);
    while (file >= 0 && got > 0)
        got = read(file, b->piece, PIECE);
    ALD_CHECK(file >= 0 && got == 0, ald_status_of_errno(errno), "%s: cannot read: %s", b->path,
              strerror(errno));
    *seconds = ald_time() - begun;
done:
    if (file >= 0)
        close(file);
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, int64_t count)
{
    qsort(seconds, (size_t)count, sizeof *seconds, compare);
    return seconds[count / 2];
}

/* Times shards and plain files in turn. The first shard isn't timed: it gives the plain file its
 * bytes. */
static ald_status_t measure(bench_t *b, int64_t repeat, ald_bench_store_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *data = NULL;
    size_t size = 0;
    ALD_TRY(write_shard(b, out->sequences, b->seconds[0]));
    ALD_TRY(ald_file_read(b->path, &data, &size));
    for (int64_t i = 0; i < repeat; ++i) {
        unlink(b->path);
        ALD_TRY(write_shard(b, out->sequences, &b->seconds[0][i]));
        unlink(b->plain);
        ALD_TRY(write_plain(b, data, size, &b->seconds[1][i]));
        ALD_TRY(read_shard(b, &b->seconds[2][i]));
        ALD_TRY(read_plain(b, &b->seconds[3][i]));
    }
    out->bytes = (int64_t)size;
    out->write = median(b->seconds[0], repeat);
    out->plain_write = median(b->seconds[1], repeat);
    out->read = median(b->seconds[2], repeat);
    out->plain_read = median(b->seconds[3], repeat);
done:
    ald_free(data);
    return status;
}

ald_status_t ald_bench_store(const char *folder, ald_encoding_t encoding, int64_t megabytes,
                             int64_t repeat, ald_bench_store_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bench_t b = {0};
    *out = (ald_bench_store_t){.encoding = encoding, .tokens = RESPONSE};
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(prepare(&b, folder, encoding, repeat));
    out->sequences =
        1 + (megabytes * 1000000 - 1) / (ald_shard_position_bytes(&b.header) * RESPONSE);
    out->positions = out->sequences * RESPONSE;
    ALD_TRY(measure(&b, repeat, out));
done:
    if (b.path != NULL)
        unlink(b.path);
    if (b.plain != NULL)
        unlink(b.plain);
    for (int i = 0; i < 4; ++i)
        ald_free(b.seconds[i]);
    ald_arena_reset(&b.memory);
    ald_arena_reset(&b.arena);
    ald_free(b.path);
    ald_free(b.plain);
    ald_free(b.piece);
    return status;
}
