/* Pairs as bytes, for the exchange between ranks. Layer: data. */
#ifndef ALD_DATA_PAIRS_PACK_H
#define ALD_DATA_PAIRS_PACK_H

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/pairs.h"

/* Appends the rows and counts of a part to `out` (bytes), a multiple of 8 of them, for
 * ald_pairs_merge. The rows of `pairs` are freed, which halves the memory. Local. */
ald_status_t ald_pairs_pack(ald_pairs_t *pairs, ald_vec_t *out);
/* Replaces the rows of `pairs` by those of all parts, which `packed` holds one after the other. The
 * bytes become the memory of the rows, and `packed` is as after init. INPUT when there is no row.
 * Local. */
ald_status_t ald_pairs_merge(const char *path, ald_vec_t *packed, ald_pairs_t *pairs);

#endif
