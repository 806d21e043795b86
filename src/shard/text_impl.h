/* Variable-length strings of a shard that may be hostile, straight from HDF5's global heap: the
 * library trusts the lengths that it finds there. Private to src/shard. */
#ifndef ALD_SHARD_TEXT_IMPL_H
#define ALD_SHARD_TEXT_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"

enum {
    ALD_TEXT_MOST = 64 << 20,    /* bytes of a text, or of the heap that it lies in */
    ALD_TEXT_HEAP_ID = 16,       /* bytes that a dataset stores for a text */
    ALD_TEXT_HEAPS = 2,          /* collections kept: one of prompts, one of responses */
    ALD_TEXT_HEAP_KEPT = 1 << 19 /* a collection up to here stays in memory for the next text */
};

/* A collection of texts, as HDF5 calls a piece of its heap, in memory. */
typedef struct {
    uint8_t *data; /* NULL: none */
    int64_t at;    /* its place in the file */
    size_t bytes;
} ald_text_heap_t;

typedef struct {
    const char *path; /* borrowed */
    int file;         /* -1: not open */
    int64_t size;     /* of the file */
    ald_text_heap_t heaps[ALD_TEXT_HEAPS];
    int last; /* the heap used last */
} ald_texts_t;

/* Opens the file, whose superblock must have addresses and lengths of 8 bytes and no user block. */
ald_status_t ald_texts_open(const char *path, int64_t size, ald_texts_t *out);
void ald_texts_close(ald_texts_t *texts);
/* Reads bytes of the file as they are. */
ald_status_t ald_texts_bytes(const ald_texts_t *texts, const char *name, int64_t at, size_t bytes,
                             uint8_t *out);
uint64_t ald_little(const uint8_t *at, int bytes); /* a little-endian number */
/* Reads the text that a heap id points to into the arena, with a NUL. INPUT naming file and `name`
 * for one that isn't there, isn't UTF-8 or contains a NUL. */
ald_status_t ald_texts_read(ald_texts_t *texts, const char *name,
                            const uint8_t heap_id[ALD_TEXT_HEAP_ID], ald_arena_t *arena,
                            const char **out);

#endif
