/* Reads texts of variable length straight from HDF5's global heap. The library trusts the lengths
 * that it finds there, and would read beyond its memory in a hostile file. */
#include "shard/text_impl.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"

/* A heap id is {u32 length, u64 address of a collection, u32 object}; a collection is "GCOL", u8
 * version 1, 3 bytes, u64 size, then objects {u16 number, u16, u32, u64 size, data, padded to 8
 * bytes}, number 0 being the free rest. All little-endian. */
enum { HEADER = 16 }; /* bytes before the objects of a collection, and before an object's data */

uint64_t ald_little(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; --i)
        value = value << 8 | at[i];
    return value;
}

ald_status_t ald_texts_open(const char *path, int64_t size, ald_texts_t *out)
{
    *out = (ald_texts_t){.path = path, .size = size};
    out->file = open(path, O_RDONLY | O_CLOEXEC);
    if (out->file < 0)
        return ald_status_raise(ald_status_of_errno(errno), "%s: cannot read: %s", path,
                                strerror(errno));
    return ALD_STATUS_OK;
}

static void forget_heap(ald_text_heap_t *heap)
{
    ald_free(heap->data);
    heap->data = NULL;
}

void ald_texts_close(ald_texts_t *texts)
{
    for (int i = 0; i < ALD_TEXT_HEAPS; ++i)
        forget_heap(&texts->heaps[i]);
    if (texts->file >= 0)
        close(texts->file);
    texts->file = -1;
}

ald_status_t ald_texts_bytes(const ald_texts_t *texts, const char *name, int64_t at, size_t bytes,
                             uint8_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(texts->file, out + done, bytes - done, (off_t)at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        ALD_CHECK(got > 0, ALD_STATUS_INPUT, "%s: %s: cannot read: %s", texts->path, name,
                  got < 0 ? strerror(errno) : "the file is cut short");
        done += (size_t)got;
    }
done:
    return status;
}

/* Loads the collection at this place, in the room of the one used longest ago. */
static ald_status_t load_heap(ald_texts_t *texts, const char *name, uint64_t at)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t header[HEADER], *data = NULL;
    for (int i = 0; i < ALD_TEXT_HEAPS; ++i) {
        if (texts->heaps[i].data != NULL && texts->heaps[i].at == (int64_t)at) {
            texts->last = i;
            return status;
        }
    }
    ALD_CHECK(at <= INT64_MAX && (int64_t)at <= texts->size - HEADER, ALD_STATUS_INPUT,
              "%s: %s: a text lies behind the end of the file", texts->path, name);
    ALD_TRY(ald_texts_bytes(texts, name, (int64_t)at, HEADER, header));
    ALD_CHECK(memcmp(header, "GCOL\1", 5) == 0, ALD_STATUS_INPUT,
              "%s: %s: a text lies where there are no texts", texts->path, name);
    const uint64_t bytes = ald_little(header + 8, 8);
    ALD_CHECK(bytes >= HEADER && bytes <= ALD_TEXT_MOST &&
                  (int64_t)bytes <= texts->size - (int64_t)at,
              ALD_STATUS_INPUT, "%s: %s: a heap of %llu bytes for texts", texts->path, name,
              (unsigned long long)bytes);
    data = ald_alloc(bytes);
    ALD_CHECK_MEMORY(data, bytes);
    ALD_TRY(ald_texts_bytes(texts, name, (int64_t)at, bytes, data));
    texts->last = 1 - texts->last;
    forget_heap(&texts->heaps[texts->last]);
    texts->heaps[texts->last] = (ald_text_heap_t){data, (int64_t)at, bytes};
    data = NULL;
done:
    ald_free(data);
    return status;
}

/* The data of an object of the collection, and its size; NULL when it isn't there. */
static const uint8_t *find_object(const ald_text_heap_t *heap, uint64_t number, uint64_t *size)
{
    const uint8_t *at = heap->data + HEADER, *end = heap->data + heap->bytes;
    while (end - at >= HEADER) {
        const uint64_t found = ald_little(at, 2), bytes = ald_little(at + 8, 8);
        if (found == 0 || bytes > (uint64_t)(end - at - HEADER))
            return NULL;
        *size = bytes;
        if (found == number)
            return at + HEADER;
        const uint64_t padded = (bytes + 7) / 8 * 8;
        if (padded > (uint64_t)(end - at - HEADER))
            return NULL;
        at += HEADER + padded;
    }
    return NULL;
}

ald_status_t ald_texts_read(ald_texts_t *texts, const char *name,
                            const uint8_t heap_id[ALD_TEXT_HEAP_ID], ald_arena_t *arena,
                            const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint64_t length = ald_little(heap_id, 4), number = ald_little(heap_id + 12, 4);
    const uint64_t address = ald_little(heap_id + 4, 8);
    const uint8_t *data = (const uint8_t *)"";
    uint64_t size = 0;
    if (length > 0) {
        ALD_TRY(load_heap(texts, name, address));
        data = find_object(&texts->heaps[texts->last], number, &size);
        ALD_CHECK(data != NULL && length <= size, ALD_STATUS_INPUT,
                  "%s: %s: a text of %llu bytes that isn't there", texts->path, name,
                  (unsigned long long)length);
        ALD_CHECK(memchr(data, 0, length) == NULL, ALD_STATUS_INPUT,
                  "%s: %s: a text with a NUL in it", texts->path, name);
        ALD_CHECK(ald_utf8_is_valid((const char *)data, length), ALD_STATUS_INPUT,
                  "%s: %s: a text that isn't UTF-8", texts->path, name);
    }
    *out = ald_arena_strdup(arena, (const char *)data, length);
    ALD_CHECK_MEMORY(*out, (size_t)length);
    if (texts->heaps[texts->last].bytes > ALD_TEXT_HEAP_KEPT)
        forget_heap(&texts->heaps[texts->last]);
done:
    return status;
}
