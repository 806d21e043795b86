/* Speed of a tokenizer on a text. Layer: bench. */
#ifndef ALD_BENCH_TEXT_H
#define ALD_BENCH_TEXT_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/text/tokenizer.h"

/* A pass encodes the whole text, cut behind the first newline after every 4,096 bytes; threads take
 * the pieces in turn. Reading the file and opening the tokenizer are not timed. */
typedef struct {
    int64_t bytes, pieces, tokens;
    double first;   /* seconds of the first pass, which meets every word for the first time */
    double seconds; /* median of the `repeat` passes behind it */
} ald_bench_text_t;

/* Local, on as many threads as are set. INPUT for a file that isn't there, is empty or isn't UTF-8.
 */
ald_status_t ald_bench_text(const ald_tokenizer_t *tokenizer, const char *path, int64_t repeat,
                            ald_bench_text_t *out);

#endif
