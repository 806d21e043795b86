/* Shards written. Layer: shard. */
#ifndef ALD_SHARD_WRITE_H
#define ALD_SHARD_WRITE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/shard/format.h"

/* A writer of one file, which has its final name only after a commit. A thread does the writing;
 * what fails there is returned by a later append or by the commit. An append waits only while that
 * thread is many bytes behind. */
typedef struct ald_shard_writer ald_shard_writer_t;
/* The most memory that a writer for this header holds, in bytes. */
int64_t ald_shard_writer_bytes(const ald_shard_header_t *header);
ald_status_t ald_shard_writer_open(const char *path, const ald_shard_header_t *header,
                                   ald_shard_writer_t **out);
/* Copies or writes the sequence; the caller keeps its memory. A failure spoils the writer: only
 * discard is then allowed. */
ald_status_t ald_shard_writer_append(ald_shard_writer_t *writer, const ald_scored_t *sequence);
/* Closes, fsyncs, renames; frees the writer, also on failure. RESOURCE naming the file when the
 * disk is full, INPUT for other reasons to fail. */
ald_status_t ald_shard_writer_commit(ald_shard_writer_t *writer);
void ald_shard_writer_discard(ald_shard_writer_t *writer); /* takes NULL */

#endif
