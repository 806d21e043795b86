/* The benchmark of the tokenizer. The first pass is told apart, since it runs in cold caches, and
 * since other programs that it is compared with remember the words of a pass before. */
#include "ald/bench/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/text/tokenizer.h"

/* The least size of a piece: about that of a conversation, and enough pieces for all threads. */
enum { PIECE_BYTES = 4096 };

/* Appends the ends of the pieces, int64_t. */
static ald_status_t cut(const char *text, size_t size, ald_vec_t *ends)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t at = 0; at < size;) {
        const char *newline = size - at > PIECE_BYTES
                                  ? memchr(text + at + PIECE_BYTES, '\n', size - at - PIECE_BYTES)
                                  : NULL;
        at = newline != NULL ? (size_t)(newline + 1 - text) : size;
        const int64_t end = (int64_t)at;
        ALD_TRY(ald_vec_push(ends, &end));
    }
done:
    return status;
}

/* Encodes every piece; *tokens becomes the number of tokens. */
static ald_status_t pass(const ald_tokenizer_t *tokenizer, const char *text, const ald_vec_t *ends,
                         int64_t *tokens)
{
    ald_status_t failed = ALD_STATUS_OK;
    char message[512]; /* the caller's thread doesn't see that of another one */
    int64_t count = 0;
#pragma omp parallel reduction(+ : count)
    {
        ald_vec_t ids;
        ald_vec_init(&ids, sizeof(int32_t));
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < ends->count; ++i) {
            int64_t begin = i > 0 ? ALD_VEC_AT(ends, int64_t, i - 1) : 0;
            int64_t end = ALD_VEC_AT(ends, int64_t, i);
            ids.count = 0;
            ald_status_t got =
                ald_tokenizer_encode(tokenizer, text + begin, (size_t)(end - begin), &ids);
            count += (int64_t)ids.count;
            if (got == ALD_STATUS_OK)
                continue;
#pragma omp critical(ald_bench_text)
            {
                failed = got;
                snprintf(message, sizeof message, "from byte %lld on: %s", (long long)begin,
                         ald_status_message());
            }
        }
        ald_vec_reset(&ids);
    }
    *tokens = count;
    return failed == ALD_STATUS_OK ? ALD_STATUS_OK : ald_status_raise(failed, "%s", message);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

ald_status_t ald_bench_text(const ald_tokenizer_t *tokenizer, const char *path, int64_t repeat,
                            ald_bench_text_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    ald_vec_t ends;
    double *seconds = ald_calloc((size_t)repeat + 1, sizeof *seconds);
    ald_vec_init(&ends, sizeof(int64_t));
    ALD_CHECK_MEMORY(seconds, (size_t)repeat * sizeof *seconds);
    ALD_TRY(ald_file_read(path, &text, &size));
    ALD_CHECK(size > 0, ALD_STATUS_INPUT, "%s: expected a text, found an empty file", path);
    ALD_TRY(cut(text, size, &ends));
    *out = (ald_bench_text_t){.bytes = (int64_t)size, .pieces = (int64_t)ends.count};
    for (int64_t i = 0; i <= repeat; ++i) {
        double begun = ald_time();
        status = pass(tokenizer, text, &ends, &out->tokens);
        if (status != ALD_STATUS_OK)
            status = ald_status_prefix(status, "%s", path);
        ALD_TRY(status);
        seconds[i] = ald_time() - begun;
    }
    out->first = seconds[0];
    qsort(seconds + 1, (size_t)repeat, sizeof *seconds, compare);
    out->seconds = seconds[1 + repeat / 2];
done:
    ald_vec_reset(&ends);
    ald_free(text);
    ald_free(seconds);
    return status;
}
