/* Several shards seen as one list of sequences. Layer: shard. */
#ifndef ALD_SHARD_SET_H
#define ALD_SHARD_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"

/* A sequence of the set: where it lies, and its lengths. */
typedef struct {
    int32_t folder, shard;
    int64_t index, id;
    ald_source_t source;
    int64_t prompt_count, response_count;
} ald_entry_t;
/* Rows that it takes in a batch. */
static inline int64_t ald_entry_tokens(const ald_entry_t *entry)
{
    return entry->prompt_count + entry->response_count - 1;
}

typedef struct {
    ald_shard_t **shards;   /* owned */
    ald_shard_pool_t *pool; /* of these shards; owned */
    char **paths;           /* owned */
    int64_t shard_count;
    ald_entry_t *entries; /* owned; sorted by folder, id, source, place: the same order however
                             the sequences are cut into shards */
    int64_t count;
    int64_t folders, *folder_start; /* folder f: entries [folder_start[f], folder_start[f + 1]);
                                       owned */
} ald_shardset_t;

/* Opens the files. INPUT for one that is damaged, that doesn't fit `expected` (see ald_shard_fits),
 * the first (ald_shard_fits_first) or the first of its folder (ald_shard_fits_folder). Local; free
 * with reset. */
ald_status_t ald_shardset_open(const char *const *paths, int64_t count,
                               const ald_shard_header_t *expected, ald_shardset_t *out);
/* All shard-NNNNNN.h5 of a folder; INPUT when there is none. */
ald_status_t ald_shardset_open_folder(const char *folder, const ald_shard_header_t *expected,
                                      ald_shardset_t *out);
/* All shards of several folders, in the order of the folders. */
ald_status_t ald_shardset_open_folders(const char *const *folders, int64_t count,
                                       const ald_shard_header_t *expected, ald_shardset_t *out);
void ald_shardset_reset(ald_shardset_t *set); /* takes a zeroed one */
ald_status_t ald_shardset_read(ald_shardset_t *set, int64_t entry, ald_arena_t *arena,
                               ald_scored_t *out);

/* INPUT naming file and both sides unless the header says the same as `expected` where that says
 * something: encoding with its full_dtype and top_k (ALD_ENCODING_ANY: anything), sha256 of
 * teachers, tokenizer and data, chat format ("": anything); its contrast may be any that the
 * shard holds. `expected` NULL: anything at all. */
ald_status_t ald_shard_fits(const char *path, const ald_shard_header_t *header,
                            const ald_shard_header_t *expected);
/* INPUT naming both files and sides unless two shards can be of one set: encoding, sizes, contrast,
 * teachers and tokenizer; and of one folder: data file and chat format. */
ald_status_t ald_shard_fits_first(const char *path, const ald_shard_header_t *header,
                                  const char *first_path, const ald_shard_header_t *first);
ald_status_t ald_shard_fits_folder(const char *path, const ald_shard_header_t *header,
                                   const char *first_path, const ald_shard_header_t *first);
/* FOLDER/shard-NNNNNN.h5, freed by ald_free. */
char *ald_shard_path(const char *folder, int64_t number);
/* The number in a name shard-NNNNNN.h5; -1 for another name. */
int64_t ald_shard_number(const char *name);

#endif
