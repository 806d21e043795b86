/* Whether a file is a shard that this program may replace. Layer: shard. */
#ifndef ALD_SHARD_OPEN_H
#define ALD_SHARD_OPEN_H

#include <stdbool.h>

/* Whether the file is whole but not for this program: another format, or a newer schema version.
 * Such a file isn't to be written over. Local. */
bool ald_shard_is_foreign(const char *path);

#endif
