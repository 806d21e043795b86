/* Shards read. Layer: shard. */
#ifndef ALD_SHARD_READ_H
#define ALD_SHARD_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/shard/format.h"

/* A reader. Header, shapes and offsets are checked at open. Local, one thread at a time. */
typedef struct ald_shard ald_shard_t;
ald_status_t ald_shard_open(const char *path, ald_shard_t **out);
void ald_shard_close(ald_shard_t *shard); /* takes NULL */
/* Shards that share a limit of open files, ALD_SHARDS_AWAKE. Zeroed at first; it outlives its
 * shards, and one thread at a time uses them. */
typedef struct {
    ald_shard_t *newest, *oldest;
    int64_t awake;
} ald_shard_pool_t;
void ald_shard_join(ald_shard_t *shard, ald_shard_pool_t *pool); /* once, after open */
/* The most memory in bytes that the open files of a pool hold for shards with this header, besides
 * 33 bytes for each sequence of each shard. */
int64_t ald_shard_reader_bytes(const ald_shard_header_t *header);
const ald_shard_header_t *ald_shard_header(const ald_shard_t *shard);
int64_t ald_shard_count(const ald_shard_t *shard);     /* N */
int64_t ald_shard_positions(const ald_shard_t *shard); /* R, all sequences */
int64_t ald_shard_tokens(const ald_shard_t *shard);    /* T */
/* id, source, prompt_count and response_count of sequence i, without reading its data. */
ald_status_t ald_shard_peek(ald_shard_t *shard, int64_t i, ald_scored_t *out);
/* Everything of sequence i, in the arena; with_teacher = false leaves /teacher unread. INPUT naming
 * file and dataset when a checksum or a range (ids within V) doesn't hold. */
ald_status_t ald_shard_read(ald_shard_t *shard, int64_t i, bool with_teacher, ald_arena_t *arena,
                            ald_scored_t *out);

#endif
