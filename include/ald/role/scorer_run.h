/* Scoring: sequences into shards. Layer: role. */
#ifndef ALD_ROLE_SCORER_RUN_H
#define ALD_ROLE_SCORER_RUN_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"

/* Fills the scored parts of `count` sequences (ids, texts and sources are the caller's) and appends
 * them to the writer. Neighbours with the same prompt pointer share its computation. Local. */
ald_status_t ald_scorer_run(ald_scorer_t *scorer, ald_scored_t *sequences, int64_t count,
                            ald_shard_writer_t *writer);
/* Scores the sequences into a new shard of this name, which is written whole or not at all. Local.
 */
ald_status_t ald_scorer_write(ald_scorer_t *scorer, const char *path, ald_scored_t *sequences,
                              int64_t count);

#endif
