/* Expands content that gzip or zlib compressed. The only module that sees zlib. Layer: base. */
#ifndef ALD_BASE_GZIP_H
#define ALD_BASE_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Whether the bytes begin as a gzip file does. */
bool ald_gzip_is(const void *data, size_t size);
/* Appends what the `size` bytes of a gzip file (one member, or several one after the other) expand
 * to. INPUT "NAME: ..." for a damaged or cut one, RESOURCE for more than half of this node's
 * memory. Local. */
ald_status_t ald_gzip_expand(const void *data, size_t size, const char *name, ald_vec_t *out);

/* Expands a zlib stream of `size` bytes into `to`: *made of `room` bytes. INPUT without a message
 * for a damaged one or one that needs more room, RESOURCE without memory. Local. */
ald_status_t ald_zlib_expand(const void *data, size_t size, void *to, size_t room, size_t *made);

#endif
