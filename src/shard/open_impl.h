/* An open shard, shared by the code that opens it and the code that reads it. Private to src/shard.
 */
#ifndef ALD_SHARD_OPEN_IMPL_H
#define ALD_SHARD_OPEN_IMPL_H

#include <stdint.h>
#include <sys/stat.h>

#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "shard/chunk_impl.h"
#include "shard/format_impl.h"
#include "shard/text_impl.h"

struct ald_shard {
    char *path;
    ald_shard_header_t header;
    char *config;
    int64_t file_size;
    struct stat seen; /* the file when it was opened first */
    hid_t file;       /* -1: at rest */
    ald_texts_t texts;
    ald_chunked_t columns[ALD_DATASET_COUNT];
    ald_shard_pool_t *pool;     /* NULL: none */
    ald_shard_t *newer, *older; /* in the pool */
    int64_t count, tokens, positions;
    int64_t *id, *token_start, *response_start; /* [N], [N + 1], [N + 1] */
    uint8_t *source;                            /* [N] */
};

/* Reads the attributes of `/` into shard->header and shard->config. */
ald_status_t ald_shard_read_header(ald_shard_t *shard);
/* Opens a dataset that must be there by the header, after checks of its links, type, filters and
 * shape. */
ald_status_t ald_shard_open_column(ald_shard_t *shard, ald_shard_dataset_t dataset);

#endif
