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
    ALD_TEXT_REFERENCE = 16,     /* bytes of a reference, as a dataset stores it */
    ALD_TEXT_HEAPS = 2,          /* collections kept: one of prompts, one of responses */
    ALD_TEXT_HEAP_KEPT = 1 << 19 /* a collection up to here stays in memory for the next text */
};

/* A collection of texts in memory. */
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

/* The file is one whose superblock has 8-byte addresses and lengths and no user block. */
ald_status_t ald_texts_open(const char *path, int64_t size, ald_texts_t *out);
void ald_texts_close(ald_texts_t *texts);
/* Bytes of the file as they are. */
ald_status_t ald_texts_bytes(const ald_texts_t *texts, const char *name, int64_t at, size_t bytes,
                             uint8_t *out);
uint64_t ald_little(const uint8_t *at, int bytes); /* a little-endian number */
/* The text behind a reference, with a NUL, in the arena. INPUT naming file and `name` for one that
 * isn't there, isn't UTF-8 or contains a NUL. */
ald_status_t ald_texts_read(ald_texts_t *texts, const char *name,
                            const uint8_t reference[ALD_TEXT_REFERENCE], ald_arena_t *arena,
                            const char **out);

#endif
