/* The checksum of HDF5's Fletcher-32 filter. All local. Layer: shard. */
#ifndef ALD_SHARD_FLETCHER_H
#define ALD_SHARD_FLETCHER_H

#include <stddef.h>
#include <stdint.h>

enum { ALD_FLETCHER_BYTES = 4 }; /* behind the data of a chunk, little-endian */

/* Over 16-bit big-endian words, an odd last byte being the high one of a word. */
uint32_t ald_fletcher32(const void *data, size_t size);
void ald_fletcher32_put(void *to, uint32_t sum);
uint32_t ald_fletcher32_get(const void *from);

#endif
