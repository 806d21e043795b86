/* The list of a complete set of shards: FOLDER/manifest.json. Tasks that score parts of a set leave
 * lists of their shards, FOLDER/manifest.part-I-of-N.json; whoever finds that the lists cover the
 * set and all files are there writes the manifest from them, and the lists go. Nothing in these
 * files depends on who made them or when: equal sets have equal manifests. Layer: shard. All local.
 */
#ifndef ALD_SHARD_MANIFEST_H
#define ALD_SHARD_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/shard/format.h"

#define ALD_MANIFEST_VERSION 1 /* of the file's layout; a reader refuses others */

typedef struct {
    int64_t number; /* of shard-NNNNNN.h5 */
    int64_t sequences, tokens, positions;
    int64_t first_id, last_id; /* rows of its first and last sequence */
    int64_t bytes;
    char sha256[ALD_SHA256_HEX]; /* of the file's bytes */
} ald_manifest_entry_t;

/* The identity of a set, by which lists of another one are told apart: `shards` files with this
 * header. */
typedef struct {
    const char *folder; /* borrowed */
    int64_t shards;     /* numbers 0 to shards - 1 */
    const ald_shard_header_t *header;
} ald_manifest_set_t;

/* Opens the shard, reads all of it (checksums, ranges) and hashes its bytes. INPUT when it is
 * damaged. */
ald_status_t ald_manifest_entry_make(const char *path, ald_manifest_entry_t *out);

/* Appends the entries (ald_manifest_entry_t) that the folder's manifest and lists have for this
 * set; of several with one number the last counts. Unreadable lists and those of other sets are
 * passed over. */
ald_status_t ald_manifest_known(const ald_manifest_set_t *set, ald_vec_t *entries);
/* Writes the list of part `part` of `parts`. */
ald_status_t ald_manifest_write_part(const ald_manifest_set_t *set, int64_t part, int64_t parts,
                                     const ald_manifest_entry_t *entries, int64_t count);
/* Writes the manifest if the set is complete: *found of its shards are listed and there with their
 * sizes. `entries` go before what the lists say. */
ald_status_t ald_manifest_finish(const ald_manifest_set_t *set, const ald_manifest_entry_t *entries,
                                 int64_t count, int64_t *found);

/* INPUT unless the folder's shards are those of its manifest, by name and size, or for a damaged
 * manifest. *there is false when there is none. */
ald_status_t ald_manifest_check(const char *folder, bool *there);

/* Verifies everything: each shard is read whole and hashed, each row is there exactly once and in
 * the order of id, shards and manifest agree. Problems are texts that are pushed to `problems` (a
 * JSON array), in order; the sums are of what could be read. A single file in place of a folder is
 * verified alone. INPUT only when there is nothing to verify. */
typedef struct {
    int64_t shards, sequences, positions, bytes;
} ald_verified_t;
ald_status_t ald_manifest_verify(const char *path, ald_json_t *problems, ald_verified_t *out);

#endif
