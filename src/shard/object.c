/* Reads object headers of HDF5 without the library. HDF5 trusts attributes of variable length and
 * the layout of chunks as a file has them, and a hostile one crashes it. */
#include "shard/object_impl.h"

#include <stdbool.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "shard/text_impl.h"

/* An object header of version 1 is {u8 1, u8, u16 messages, u32 references, u32 size, 4 bytes},
 * then its first block; a message is {u16 type, u16 size, u8 flags, 3 bytes}, then `size` bytes.
 * The numbers are those of HDF5's file format specification, version 3.0, section IV.A. */
enum {
    HEADER = ALD_OBJECT_HEADER, /* bytes of a header's prefix, and of a message's */
    MESSAGE = 8,
    NOTHING = 0x00, /* types of messages */
    SPACE = 0x01,
    TYPE = 0x03,
    FILL_OLD = 0x04,
    FILL = 0x05,
    LAYOUT = 0x08,
    FILTERS = 0x0B,
    TIME = 0x12,
    ATTRIBUTE = 0x0C,
    CONTINUATION = 0x10,
    SHARED = 2,        /* flag: the message is elsewhere */
    CLASS_INTEGER = 0, /* classes of types */
    CLASS_STRING = 3,
    CLASS_VARIABLE = 9,
    LAYOUT_CHUNKED = 2, /* class of a layout */
};

/* A message, or a part of one. */
typedef struct {
    const uint8_t *at;
    size_t size;
} span_t;

static ald_status_t add_block(ald_object_t *object, uint64_t address, uint64_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *file = object->texts->path;
    uint8_t *data = NULL;
    ALD_CHECK(object->count < ALD_OBJECT_BLOCKS && size <= ALD_OBJECT_BYTES &&
                  address <= (uint64_t)object->texts->size &&
                  size <= (uint64_t)object->texts->size - address,
              ALD_STATUS_INPUT, "%s: %s: its header is damaged: %llu bytes at %llu", file,
              object->name, (unsigned long long)size, (unsigned long long)address);
    data = ald_alloc(size + 1);
    ALD_CHECK_MEMORY(data, (size_t)size);
    object->blocks[object->count].at = address;
    object->blocks[object->count].data = data;
    object->blocks[object->count++].size = size;
    ALD_TRY(ald_texts_bytes(object->texts, object->name, (int64_t)address, size, data));
done:
    return status;
}

/* Reads the message at `*at` of a block, and moves *at to the next; false at the end. */
static bool next_message(const ald_object_t *object, int block, size_t *at, int *type, int *flags,
                         span_t *out)
{
    const uint8_t *data = object->blocks[block].data + *at;
    const size_t left = object->blocks[block].size - *at;
    if (left < MESSAGE)
        return false;
    *type = (int)ald_little(data, 2);
    *flags = data[4];
    *out = (span_t){data + MESSAGE, ald_little(data + 2, 2)};
    if (out->size > left - MESSAGE)
        return false;
    *at += MESSAGE + out->size;
    return true;
}

bool ald_object_next(const ald_object_t *object, int block, size_t *at, ald_object_message_t *out)
{
    span_t message;
    if (!next_message(object, block, at, &out->type, &out->flags, &message))
        return false;
    out->data = message.at;
    out->size = message.size;
    return true;
}

/* Adds the blocks that messages of earlier blocks name. */
static ald_status_t follow(ald_object_t *object)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int block = 0; block < object->count; ++block) {
        int type, flags;
        span_t message;
        for (size_t at = 0; next_message(object, block, &at, &type, &flags, &message);)
            if (type == CONTINUATION && message.size >= 16)
                ALD_TRY(
                    add_block(object, ald_little(message.at, 8), ald_little(message.at + 8, 8)));
    }
done:
    return status;
}

ald_status_t ald_object_open(ald_texts_t *texts, const char *name, uint64_t address,
                             ald_object_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t header[HEADER];
    *out = (ald_object_t){.texts = texts, .name = name};
    ALD_CHECK(address <= INT64_MAX - HEADER, ALD_STATUS_INPUT, "%s: %s: its header is damaged",
              texts->path, name);
    ALD_TRY(ald_texts_bytes(texts, name, (int64_t)address, HEADER, header));
    ALD_CHECK(header[0] == 1, ALD_STATUS_INPUT,
              "%s: %s: expected the header of HDF5's earliest format", texts->path, name);
    ALD_TRY(add_block(out, address + HEADER, ald_little(header + 8, 4)));
    ALD_TRY(follow(out));
done:
    if (status != ALD_STATUS_OK)
        ald_object_close(out);
    return status;
}

void ald_object_close(ald_object_t *object)
{
    for (int i = 0; i < object->count; ++i)
        ald_free(object->blocks[i].data);
    object->count = 0;
}

/* Takes `size` bytes, and the padding after them, off the front. */
static bool take(span_t *from, size_t size, bool padded, span_t *out)
{
    const size_t whole = padded ? (size + 7) / 8 * 8 : size;
    if (whole > from->size)
        return false;
    *out = (span_t){from->at, size};
    from->at += whole;
    from->size -= whole;
    return true;
}

typedef struct {
    span_t name, type, space, data;
} attribute_t;

/* Parses {u8 version, u8, u16 sizes of name, type and space}, from version 3 on with a byte more;
 * in version 1 the parts are padded. */
static bool parse_attribute(span_t message, attribute_t *out)
{
    span_t head;
    if (message.size < 9 || message.at[0] < 1 || message.at[0] > 3)
        return false;
    const int version = message.at[0];
    const bool padded = version == 1;
    if ((!padded && message.at[1] != 0) || !take(&message, version == 3 ? 9 : 8, false, &head))
        return false;
    if (!take(&message, ald_little(head.at + 2, 2), padded, &out->name) ||
        !take(&message, ald_little(head.at + 4, 2), padded, &out->type) ||
        !take(&message, ald_little(head.at + 6, 2), padded, &out->space))
        return false;
    out->data = message;
    return out->name.size > 0 && out->name.at[out->name.size - 1] == 0 && out->type.size >= 8 &&
           out->space.size >= 2;
}

static bool seek_attribute(const ald_object_t *object, const char *name, attribute_t *out)
{
    for (int block = 0; block < object->count; ++block) {
        int type, flags;
        span_t message;
        for (size_t at = 0; next_message(object, block, &at, &type, &flags, &message);)
            if (type == ATTRIBUTE && (flags & SHARED) == 0 && parse_attribute(message, out) &&
                strcmp((const char *)out->name.at, name) == 0)
                return true;
    }
    return false;
}

bool ald_object_has(const ald_object_t *object, const char *attribute)
{
    attribute_t found;
    return seek_attribute(object, attribute, &found);
}

static ald_status_t find_attribute(const ald_object_t *object, const char *name, attribute_t *out)
{
    if (seek_attribute(object, name, out))
        return ALD_STATUS_OK;
    return ald_status_raise(ALD_STATUS_INPUT, "%s: %s%sattribute \"%s\" is missing",
                            object->texts->path, object->name[1] == '\0' ? "" : object->name,
                            object->name[1] == '\0' ? "" : ": ", name);
}

static ald_status_t expect(const ald_object_t *object, const char *name, bool holds,
                           const char *what)
{
    if (holds)
        return ALD_STATUS_OK;
    return ald_status_raise(ALD_STATUS_INPUT, "%s: %s%sattribute \"%s\": expected %s",
                            object->texts->path, object->name[1] == '\0' ? "" : object->name,
                            object->name[1] == '\0' ? "" : ": ", name, what);
}

ald_status_t ald_object_text(ald_object_t *object, const char *name, ald_arena_t *arena,
                             const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    attribute_t a;
    ALD_TRY(find_attribute(object, name, &a));
    const int class = a.type.at[0] & 15;
    ALD_TRY(expect(object, name,
                   a.space.at[1] == 0 && (class == CLASS_STRING || class == CLASS_VARIABLE),
                   "one string"));
    ALD_TRY(expect(object, name,
                   class == CLASS_VARIABLE && (a.type.at[1] & 15) == 1 &&
                       a.data.size >= ALD_TEXT_HEAP_ID,
                   "a string of variable length"));
    ALD_TRY(ald_texts_read(object->texts, name, a.data.at, arena, out));
done:
    return status;
}

/* Reads a signed little-endian integer of 8 bytes, all bits of which are used. */
ald_status_t ald_object_integer(const ald_object_t *object, const char *name, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    attribute_t a;
    ALD_TRY(find_attribute(object, name, &a));
    ALD_TRY(expect(object, name,
                   (a.type.at[0] & 15) == CLASS_INTEGER && a.space.at[1] == 0 &&
                       (a.type.at[1] & 9) == 8 && ald_little(a.type.at + 4, 4) == 8 &&
                       a.data.size >= 8,
                   "one integer, signed and of 64 bits"));
    *out = (int64_t)ald_little(a.data.at, 8);
done:
    return status;
}

/* Whether a layout has chunks that aren't empty: version 3, {u8 3, u8 class, u8 dimensions, u64
 * address, u32 sizes}. */
static bool has_chunks(span_t message)
{
    if (message.size < 3 || message.at[0] != 3 || message.at[1] != LAYOUT_CHUNKED)
        return false;
    const size_t dimensions = message.at[2];
    if (dimensions < 2 || dimensions > ALD_OBJECT_DIMENSIONS_MOST ||
        message.size < 11 + 4 * dimensions)
        return false;
    for (size_t d = 0; d < dimensions; ++d)
        if (ald_little(message.at + 11 + 4 * d, 4) == 0)
            return false;
    return true;
}

/* Whether a dataspace is of version 1 or 2 and whole. */
static bool is_space(span_t message)
{
    if (message.size < 4 || (message.at[0] != 1 && message.at[0] != 2))
        return false;
    const size_t rank = message.at[1], most = message.at[2] & 1;
    return rank >= 1 && rank < ALD_OBJECT_DIMENSIONS_MOST && message.at[2] <= 1 &&
           message.size >= (message.at[0] == 1 ? 8u : 4u) + 8 * rank * (1 + most);
}

/* Whether a fill value has the size of an element, or is none. */
static bool is_fill(int type, span_t message, size_t element)
{
    const size_t head = type == FILL_OLD ? 0 : 4;
    if (message.size < head + 4 && type == FILL_OLD)
        return false;
    if (type == FILL) {
        if (message.size < 4 || message.at[0] < 1 || message.at[0] > 2)
            return false;
        if (message.at[0] == 2 && message.at[3] == 0) /* not defined */
            return true;
    }
    if (message.size < head + 4)
        return false;
    const uint64_t size = ald_little(message.at + head, 4);
    return size == 0 || (size == element && size <= message.size - head - 4);
}

/* Whether a filter pipeline is of version 1 and whole: {u8 1, u8 filters, 6 bytes}, then for each
 * {u16 number, u16 length of its name, u16 flags, u16 values}, the name, the values, padded. */
static bool is_pipeline(span_t message)
{
    span_t head, filter, rest;
    if (!take(&message, 8, false, &head) || head.at[0] != 1 || head.at[1] > 8)
        return false;
    for (int i = 0; i < head.at[1]; ++i) {
        if (!take(&message, 8, false, &filter))
            return false;
        const size_t name = ald_little(filter.at + 2, 2), values = ald_little(filter.at + 6, 2);
        if (name % 8 != 0 || name > 64 || values > 16 || !take(&message, name, false, &rest) ||
            (name > 0 && memchr(rest.at, 0, name) == NULL) ||
            !take(&message, 4 * (values + values % 2), false, &rest))
            return false;
    }
    return true;
}

/* Whether the message holds the bytes of the type, and zeros up to the next 8. */
static bool is_type(span_t message, const uint8_t *expected, size_t size)
{
    if (message.size < size || message.size > (size + 7) / 8 * 8 ||
        memcmp(message.at, expected, size) != 0)
        return false;
    for (size_t i = size; i < message.size; ++i)
        if (message.at[i] != 0)
            return false;
    return true;
}

static const char *fault(int type, int flags, span_t message, const ald_expected_t *expected)
{
    switch (type) {
    case SPACE:
        return is_space(message) && (flags & SHARED) == 0 ? NULL : "one or two dimensions";
    case TYPE:
        return is_type(message, expected->type, expected->type_bytes) && (flags & SHARED) == 0
                   ? NULL
                   : expected->type_name;
    case LAYOUT:
        return has_chunks(message) && (flags & SHARED) == 0 ? NULL : "chunks in this file";
    case FILL:
    case FILL_OLD:
        return is_fill(type, message, expected->element) && (flags & SHARED) == 0
                   ? NULL
                   : "a fill value of one element";
    case FILTERS:
        return is_pipeline(message) && (flags & SHARED) == 0 ? NULL : "filters with few values";
    case NOTHING:
    case ATTRIBUTE:
    case CONTINUATION:
    case TIME:
        return NULL;
    default:
        return "a plain dataset";
    }
}

ald_status_t ald_object_check(const ald_object_t *object, const ald_expected_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    int seen = 0;
    for (int block = 0; block < object->count; ++block) {
        int type, flags;
        span_t message;
        for (size_t at = 0; next_message(object, block, &at, &type, &flags, &message);) {
            const char *wanted = fault(type, flags, message, expected);
            ALD_CHECK(wanted == NULL, ALD_STATUS_INPUT, "%s: %s: expected %s, found another%s",
                      object->texts->path, object->name, wanted, type == TYPE ? " type" : "");
            seen |= 1 << type;
        }
    }
    ALD_CHECK((seen & 1 << SPACE) && (seen & 1 << TYPE) && (seen & 1 << LAYOUT), ALD_STATUS_INPUT,
              "%s: %s: expected a dataset", object->texts->path, object->name);
done:
    return status;
}
