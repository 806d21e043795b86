/* Expands gzip files and zlib streams, with memory from the counted heap and a limit on the
 * output. A small damaged or malicious file must not be able to fill the memory of a node. */
#include "ald/base/gzip.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

enum {
    PIECE = 1 << 20,       /* bytes by which the output grows at least */
    GZIP_WINDOW = 15 + 16, /* the largest window; zlib takes + 16 as "with a gzip header" */
};

bool ald_gzip_is(const void *data, size_t size)
{
    return size >= 2 && memcmp(data, "\x1F\x8B", 2) == 0;
}

static size_t most_bytes(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) / 2 * (size_t)sysconf(_SC_PAGE_SIZE);
}

static void *allocate(void *context, unsigned count, unsigned size)
{
    (void)context;
    return ald_calloc(count, size);
}

static void give_back(void *context, void *pointer)
{
    (void)context;
    ald_free(pointer);
}

/* Makes room for one piece more, and tells zlib where it is. */
static ald_status_t make_room(z_stream *stream, const char *name, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(out->count <= most_bytes(), ALD_STATUS_RESOURCE,
              "%s: expands to more than %zu bytes, half of this node's memory", name, most_bytes());
    ALD_TRY(ald_vec_reserve(out, out->count + PIECE));
    stream->next_out = (unsigned char *)out->data + out->count;
    stream->avail_out = PIECE;
done:
    return status;
}

/* Gives zlib what is left of the input, or as much of it as its 32-bit counter holds. */
static void feed(z_stream *stream, const unsigned char *end)
{
    size_t left = (size_t)(end - stream->next_in);
    stream->avail_in = left < (1u << 30) ? (unsigned)left : 1u << 30;
}

static ald_status_t expand_member(z_stream *stream, const unsigned char *end, const char *name,
                                  ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int code = Z_OK; code != Z_STREAM_END;) {
        ALD_TRY(make_room(stream, name, out));
        feed(stream, end);
        code = inflate(stream, Z_NO_FLUSH);
        out->count += PIECE - stream->avail_out;
        ALD_CHECK(code != Z_MEM_ERROR, ALD_STATUS_RESOURCE, "%s: out of memory", name);
        ALD_CHECK(code != Z_BUF_ERROR || stream->next_in != end, ALD_STATUS_INPUT,
                  "%s: the gzip file is cut: it ends before its content does", name);
        ALD_CHECK(code == Z_OK || code == Z_BUF_ERROR || code == Z_STREAM_END, ALD_STATUS_INPUT,
                  "%s: the gzip file is damaged: %s", name,
                  stream->msg != NULL ? stream->msg : "it needs a dictionary");
    }
done:
    return status;
}

ald_status_t ald_gzip_expand(const void *data, size_t size, const char *name, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const unsigned char *end = (const unsigned char *)data + size;
    z_stream stream = {.zalloc = allocate, .zfree = give_back};
    stream.next_in = (unsigned char *)data;
    ALD_CHECK(inflateInit2(&stream, GZIP_WINDOW) == Z_OK, ALD_STATUS_RESOURCE, "%s: out of memory",
              name);
    do {
        ALD_CHECK(ald_gzip_is(stream.next_in, (size_t)(end - stream.next_in)), ALD_STATUS_INPUT,
                  "%s: the gzip file is damaged: something else follows its content", name);
        ALD_TRY(expand_member(&stream, end, name, out));
        inflateReset(&stream);
        while (stream.next_in < end && *stream.next_in == '\0') /* padding of tapes and blocks */
            ++stream.next_in;
    } while (stream.next_in < end);
done:
    inflateEnd(&stream);
    return status;
}

ald_status_t ald_zlib_expand(const void *data, size_t size, void *to, size_t room, size_t *made)
{
    uLongf bytes = room;
    const int error = uncompress(to, &bytes, data, size);
    *made = bytes;
    return error == Z_OK          ? ALD_STATUS_OK
           : error == Z_MEM_ERROR ? ALD_STATUS_RESOURCE
                                  : ALD_STATUS_INPUT;
}
