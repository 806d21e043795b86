/* FOLDER/index.h5: a virtual dataset file over all shards of a folder, which h5py opens as one
 * shard. Layer: shard.
 *
 * Format "aligndistil-index", else that of a shard: the datasets of positions, tokens and sequences
 * are virtual and read from the shards, by their names relative to the index; the two offset arrays
 * are its own, through all shards, and so is /sequence/shard, the number in each sequence's file
 * name. `config` is the first shard's. HDF5 reads a missing shard as its fill value (NaN for
 * floats) without an error: `inspect --verify` before. */
#ifndef ALD_SHARD_INDEX_H
#define ALD_SHARD_INDEX_H

#include "ald/base/status.h"
#include "ald/shard/set.h"

/* Writes the index of a folder whose shards are open in `set`, atomically; `path` receives its
 * name, freed by ald_free. Local. */
ald_status_t ald_shard_index_write(const char *folder, const ald_shardset_t *set, char **path);

#endif
