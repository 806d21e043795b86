/* The structure of an HDF5 file, checked before the library sees it. Private to src/shard. */
#ifndef ALD_SHARD_STRUCTURE_IMPL_H
#define ALD_SHARD_STRUCTURE_IMPL_H

#include "ald/base/status.h"
#include "shard/text_impl.h"

/* Checks everything that leads HDF5 from one place of the file to another: superblock, groups,
 * object headers, the trees of chunks. INPUT unless each piece is whole, of the kind that its place
 * demands, within the file, and apart from all others. Local. */
ald_status_t ald_structure_check(ald_texts_t *texts);

#endif
