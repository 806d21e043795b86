/* A lineage: what a result was made from, back to the data. All functions are local. Layer:
 * lineage. */
#ifndef ALD_LINEAGE_WALK_H
#define ALD_LINEAGE_WALK_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Follows the records from the one of what lies at `path` (a folder or file) to data and models
 * that have none. *out, the caller's, is a tree of objects {"role", "path", "kind", "sha256",
 * "state", "note", "run": {stage, ended, ...}, "inputs": [...]}; state is "here", "not here",
 * "changed", "verified" or "as above". The root has "problems", too: a text for each thing that is
 * otherwise than a record says. With `verify` all digests of what is there are computed again.
 * INPUT where `path` has no record. */
ald_status_t ald_lineage_walk(const char *path, bool verify, ald_json_t **out);
/* Appends the tree as lines of text; with `plain` without paths from the root, places, times and
 * states, so that equal lineages are equal texts. */
ald_status_t ald_lineage_text(const ald_json_t *tree, bool plain, ald_vec_t *text);

#endif
