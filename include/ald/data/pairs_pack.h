/* Pairs on their way between ranks. Layer: data. */
#ifndef ALD_DATA_PAIRS_PACK_H
#define ALD_DATA_PAIRS_PACK_H

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/pairs.h"

/* Appends the rows and counts of a part to `out` (bytes), a multiple of 8 of them, for
 * ald_pairs_merge. The rows of `pairs` are gone then, which halves the memory. Local. */
ald_status_t ald_pairs_pack(ald_pairs_t *pairs, ald_vec_t *out);
/* Puts all parts, packed one after the other in `packed` (which becomes the rows' memory and is as
 * after init), into the place of this one's rows. INPUT when there is not one row. Local. */
ald_status_t ald_pairs_merge(const char *path, ald_vec_t *packed, ald_pairs_t *pairs);

#endif
