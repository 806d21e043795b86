/* Object headers of a shard that may be hostile, read by ourselves: HDF5 trusts what it finds in
 * attributes of variable length and in the layout of chunks. Private to src/shard. */
#ifndef ALD_SHARD_OBJECT_IMPL_H
#define ALD_SHARD_OBJECT_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "shard/text_impl.h"

enum {
    ALD_OBJECT_HEADER = 16,         /* bytes before the first piece of a header */
    ALD_OBJECT_BLOCKS = 64,         /* pieces of a header, at most; ours have few */
    ALD_OBJECT_BYTES = 1 << 16,     /* of a piece, at most: as many as a message can have */
    ALD_OBJECT_DIMENSIONS_MOST = 3, /* of chunks, the element's size included */
};

typedef struct {
    ald_texts_t *texts; /* the file; borrowed */
    const char *name;   /* for messages; borrowed */
    struct {
        uint64_t at; /* in the file */
        uint8_t *data;
        size_t size;
    } blocks[ALD_OBJECT_BLOCKS]; /* messages back to back */
    int count;
} ald_object_t;

/* Reads the header at an address of the file. It must be of version 1, whole, with its messages
 * within their blocks. */
ald_status_t ald_object_open(ald_texts_t *texts, const char *name, uint64_t address,
                             ald_object_t *out);
typedef struct {
    int type, flags;
    const uint8_t *data; /* borrowed from the object */
    size_t size;
} ald_object_message_t;
/* Gives the message at `*at` of a block, and moves *at to the next; false at the block's end, and
 * where no whole message follows. */
bool ald_object_next(const ald_object_t *object, int block, size_t *at, ald_object_message_t *out);
/* Whether the object has an attribute of that name. */
bool ald_object_has(const ald_object_t *object, const char *attribute);
void ald_object_close(ald_object_t *object); /* takes a zeroed one */
/* Read scalar attributes: a text of variable length, into the arena; a 64-bit integer. INPUT for
 * one that is missing or of another kind. */
ald_status_t ald_object_text(ald_object_t *object, const char *attribute, ald_arena_t *arena,
                             const char **out);
ald_status_t ald_object_integer(const ald_object_t *object, const char *attribute, int64_t *out);
/* What the header of a dataset must have. */
typedef struct {
    const char *type_name; /* for messages */
    const uint8_t *type;   /* [type_bytes] as HDF5 stores it */
    size_t type_bytes, element;
} ald_expected_t;
/* Checks all messages that HDF5 looks at when it opens a dataset: the type byte for byte, chunks
 * that aren't empty, nothing that is shared or stored elsewhere. */
ald_status_t ald_object_check(const ald_object_t *object, const ald_expected_t *expected);

#endif
