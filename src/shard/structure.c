/* Walks a file in HDF5's earliest format as the library would, without it. HDF5 1.10 keeps what it
 * reads in one cache by address, and trusts that a place is of one kind: a file that leads to the
 * same bytes as a tree and as a heap, or in a circle, has it use memory that it has freed. Here
 * each piece claims its bytes, and no two may claim the same. The numbers are those of HDF5's file
 * format specification, version 3.0, sections II.A, III.A to III.D and IV.A. */
#include "shard/structure_impl.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "shard/object_impl.h"
#include "shard/text_impl.h"

enum {
    SUPERBLOCK = 96,
    TREE = 24, /* bytes before the keys and children of a node */
    GROUP_K = 16,
    CHUNK_K = 32,
    SYMBOLS = 8, /* of a group's leaf */
    SYMBOL = 40, /* bytes */
    HEAP = 32,
    HEAP_MOST = 1 << 16, /* bytes of a group's names; ours have hundreds */
    DEPTH_MOST = 4,      /* groups within groups, and levels of a tree */
    LAYOUT = 0x08,       /* types of messages */
    SYMBOL_TABLE = 0x11,
    CHUNKED = 2, /* class of a layout */
};
#define NOWHERE UINT64_MAX /* HDF5's undefined address */

typedef struct {
    uint64_t at, bytes;
} extent_t;

typedef struct {
    ald_texts_t *texts;
    ald_vec_t extents; /* extent_t: what was claimed */
    uint64_t claimed;  /* bytes of them */
} walk_t;

/* The names of a group. */
typedef struct {
    uint8_t names[HEAP_MOST + 1];
    uint64_t bytes;
} heap_t;

static ald_status_t damaged(const walk_t *w, uint64_t at, const char *what)
{
    return ald_status_raise(ALD_STATUS_INPUT,
                            "%s: its structure is damaged at byte %llu: expected %s",
                            w->texts->path, (unsigned long long)at, what);
}

/* More claims than the file has bytes can't all be apart: so every walk ends. */
static ald_status_t claim(walk_t *w, uint64_t at, uint64_t bytes, const char *what)
{
    const uint64_t size = (uint64_t)w->texts->size;
    const extent_t extent = {at, bytes};
    if (at > size || bytes > size - at || bytes > size - w->claimed)
        return damaged(w, at, what);
    w->claimed += bytes;
    return ald_vec_push(&w->extents, &extent);
}

/* Claims a piece and reads it. */
static ald_status_t take(walk_t *w, uint64_t at, uint64_t bytes, const char *what, uint8_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(claim(w, at, bytes, what));
    ALD_TRY(ald_texts_bytes(w->texts, what, (int64_t)at, bytes, out));
done:
    return status;
}

static int compare(const void *a, const void *b)
{
    const extent_t *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static ald_status_t check_apart(walk_t *w)
{
    ald_status_t status = ALD_STATUS_OK;
    extent_t *all = w->extents.data;
    qsort(all, w->extents.count, sizeof *all, compare);
    for (size_t i = 1; i < w->extents.count; ++i)
        if (all[i].at < all[i - 1].at + all[i - 1].bytes)
            ALD_TRY(damaged(w, all[i].at, "one use of each byte"));
done:
    return status;
}

/* --- trees of chunks -------------------------------------------------------------------------- */

/* A node of a tree of version 1: "TREE", u8 type, u8 level, u16 entries, u64 left, u64 right; then
 * keys and children in turn, one key more. */
static bool is_node(const uint8_t *node, int type, int level, uint64_t most)
{
    return memcmp(node, "TREE", 4) == 0 && node[4] == type && node[5] <= DEPTH_MOST &&
           (level < 0 || node[5] == level) && ald_little(node + 6, 2) <= most;
}

static ald_status_t walk_chunks(walk_t *w, uint64_t at, int dimensions, int level)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t key = 8 + 8 * (size_t)dimensions;
    uint8_t node[TREE + 2 * CHUNK_K * 8 + (2 * CHUNK_K + 1) * (8 + 8 * ALD_OBJECT_DIMENSIONS_MOST)];
    ALD_TRY(
        take(w, at, TREE + 2 * CHUNK_K * 8 + (2 * CHUNK_K + 1) * key, "a tree of chunks", node));
    if (!is_node(node, 1, level, 2 * CHUNK_K))
        ALD_TRY(damaged(w, at, "a tree of chunks"));
    for (uint64_t i = 0; i < ald_little(node + 6, 2); ++i) {
        const uint8_t *entry = node + TREE + i * (key + 8);
        const uint64_t child = ald_little(entry + key, 8);
        if (node[5] > 0)
            ALD_TRY(walk_chunks(w, child, dimensions, node[5] - 1));
        else
            ALD_TRY(claim(w, child, ald_little(entry, 4), "a chunk within the file"));
    }
done:
    return status;
}

/* A layout that isn't of chunks is refused later, with words of its own: HDF5 opens no such one. */
static ald_status_t walk_layout(walk_t *w, const uint8_t *message, size_t size)
{
    if (size < 11 || message[0] != 3 || message[1] != CHUNKED || message[2] < 2 ||
        message[2] > ALD_OBJECT_DIMENSIONS_MOST || ald_little(message + 3, 8) == NOWHERE)
        return ALD_STATUS_OK;
    return walk_chunks(w, ald_little(message + 3, 8), message[2], -1);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* Blocks of {u64 next, u64 bytes} within the names, the last with next 1. */
static bool is_free_list(const heap_t *heap, uint64_t at)
{
    uint64_t left = heap->bytes / 16;
    for (; at != 1; --left) {
        if (left == 0 || at >= heap->bytes || heap->bytes - at < 16 ||
            ald_little(heap->names + at + 8, 8) < 16 ||
            ald_little(heap->names + at + 8, 8) > heap->bytes - at)
            return false;
        at = ald_little(heap->names + at, 8);
    }
    return true;
}

/* "HEAP", u8 version 0, 3 bytes, u64 bytes, u64 first free one, u64 address of the names. */
static ald_status_t read_heap(walk_t *w, uint64_t at, heap_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t head[HEAP];
    ALD_TRY(take(w, at, HEAP, "a heap of names", head));
    out->bytes = ald_little(head + 8, 8);
    if (memcmp(head, "HEAP\0", 5) != 0 || out->bytes > HEAP_MOST)
        ALD_TRY(damaged(w, at, "a heap of names"));
    ALD_TRY(take(w, ald_little(head + 24, 8), out->bytes, "names", out->names));
    out->names[out->bytes] = 0;
    if (!is_free_list(out, ald_little(head + 16, 8)))
        ALD_TRY(damaged(w, at, "a list of what is free"));
done:
    return status;
}

/* Whether a name begins there, and ends within the heap. */
static bool is_name(const heap_t *heap, uint64_t at)
{
    return at < heap->bytes && memchr(heap->names + at, 0, heap->bytes - at) != NULL;
}

static ald_status_t walk_object(walk_t *w, uint64_t at, const uint8_t *cached, int depth);

/* A symbol: u64 name, u64 object header, u32 kind of what is cached, 4 bytes, 16 cached ones (kind
 * 1: tree and heap of a group; 2: the name that a soft link leads to). */
static ald_status_t walk_symbol(walk_t *w, const heap_t *heap, const uint8_t *symbol, uint64_t at,
                                int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint64_t kind = ald_little(symbol + 16, 4);
    if (!is_name(heap, ald_little(symbol, 8)) || kind > 2 ||
        (kind == 2 && !is_name(heap, ald_little(symbol + 24, 4))))
        ALD_TRY(damaged(w, at, "a name of the group's heap"));
    if (kind != 2)
        ALD_TRY(walk_object(w, ald_little(symbol + 8, 8), kind == 1 ? symbol + 24 : NULL, depth));
done:
    return status;
}

/* "SNOD", u8 version 1, u8, u16 symbols, then room for 8. */
static ald_status_t walk_symbols(walk_t *w, const heap_t *heap, uint64_t at, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t node[8 + SYMBOLS * SYMBOL];
    ALD_TRY(take(w, at, sizeof node, "names of a group", node));
    const uint64_t count = ald_little(node + 6, 2);
    if (memcmp(node, "SNOD\1", 5) != 0 || count > SYMBOLS)
        ALD_TRY(damaged(w, at, "names of a group"));
    for (uint64_t i = 0; i < count; ++i)
        ALD_TRY(walk_symbol(w, heap, node + 8 + i * SYMBOL, at, depth));
done:
    return status;
}

static ald_status_t walk_names(walk_t *w, const heap_t *heap, uint64_t at, int level, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    uint8_t node[TREE + 2 * GROUP_K * 8 + (2 * GROUP_K + 1) * 8];
    ALD_TRY(take(w, at, sizeof node, "a tree of names", node));
    if (!is_node(node, 0, level, 2 * GROUP_K))
        ALD_TRY(damaged(w, at, "a tree of names"));
    for (uint64_t i = 0; i <= ald_little(node + 6, 2); ++i)
        if (!is_name(heap, ald_little(node + TREE + i * 16, 8)))
            ALD_TRY(damaged(w, at, "a name of the group's heap"));
    for (uint64_t i = 0; i < ald_little(node + 6, 2); ++i) {
        const uint64_t child = ald_little(node + TREE + i * 16 + 8, 8);
        ALD_TRY(node[5] > 0 ? walk_names(w, heap, child, node[5] - 1, depth)
                            : walk_symbols(w, heap, child, depth));
    }
done:
    return status;
}

static ald_status_t walk_group(walk_t *w, uint64_t tree, uint64_t names, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    heap_t *heap = ald_alloc(sizeof *heap);
    ALD_CHECK_MEMORY(heap, sizeof *heap);
    if (depth > DEPTH_MOST)
        ALD_TRY(damaged(w, tree, "few groups within groups"));
    ALD_TRY(read_heap(w, names, heap));
    ALD_TRY(walk_names(w, heap, tree, -1, depth));
done:
    ald_free(heap);
    return status;
}

/* --- objects ---------------------------------------------------------------------------------- */

/* Follows a message that leads elsewhere. `cached`, 16 bytes or NULL: what a symbol says of the
 * group's tree and heap, which HDF5 believes. */
static ald_status_t walk_message(walk_t *w, const ald_object_message_t *m, const uint8_t *cached,
                                 int depth)
{
    if (m->type == LAYOUT)
        return walk_layout(w, m->data, m->size);
    if (m->type != SYMBOL_TABLE)
        return ALD_STATUS_OK;
    if (m->size < 16 || (cached != NULL && memcmp(cached, m->data, 16) != 0))
        return damaged(w, 0, "a group where its name says that it is");
    return walk_group(w, ald_little(m->data, 8), ald_little(m->data + 8, 8), depth + 1);
}

static ald_status_t walk_object(walk_t *w, uint64_t at, const uint8_t *cached, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_object_t object = {0};
    ald_object_message_t m;
    int seen[2] = {0};
    ALD_TRY(ald_object_open(w->texts, "/", at, &object));
    ALD_TRY(claim(w, at, ALD_OBJECT_HEADER, "an object's header"));
    for (int block = 0; block < object.count; ++block) {
        size_t next = 0;
        ALD_TRY(claim(w, object.blocks[block].at, object.blocks[block].size, "an object's header"));
        while (ald_object_next(&object, block, &next, &m)) {
            seen[0] += m.type == LAYOUT;
            seen[1] += m.type == SYMBOL_TABLE;
            ALD_TRY(walk_message(w, &m, cached, depth));
        }
        if (next != object.blocks[block].size)
            ALD_TRY(damaged(w, object.blocks[block].at + next, "a whole message"));
    }
    if (seen[0] + seen[1] > 1 || (cached != NULL && seen[1] == 0))
        ALD_TRY(damaged(w, at, "a group or a dataset"));
done:
    ald_object_close(&object);
    return status;
}

/* --- the file --------------------------------------------------------------------------------- */

/* Checks the superblock of version 0, whose root is a symbol at its end. */
static ald_status_t check_superblock(const ald_texts_t *texts, const uint8_t *block)
{
    static const uint8_t signature[] = "\x89HDF\r\n\x1a\n";
    ald_status_t status = ALD_STATUS_OK;
    uint8_t second[8] = "";
    if (texts->size >= 520)
        ALD_TRY(ald_texts_bytes(texts, "superblock", 512, sizeof second, second));
    ALD_CHECK(memcmp(second, signature, 8) != 0 || memcmp(block, signature, 8) == 0,
              ALD_STATUS_INPUT, "%s: superblock: expected no user block", texts->path);
    ALD_CHECK(memcmp(block, signature, 8) == 0, ALD_STATUS_INPUT,
              "%s: not an HDF5 file, or cut short", texts->path);
    ALD_CHECK(block[8] == 0 && block[9] == 0 && block[10] == 0 && block[12] == 0, ALD_STATUS_INPUT,
              "%s: superblock: expected HDF5's earliest format", texts->path);
    ALD_CHECK(block[13] == 8 && block[14] == 8 && ald_little(block + 16, 2) == SYMBOLS / 2 &&
                  ald_little(block + 18, 2) == GROUP_K && ald_little(block + 24, 8) == 0 &&
                  ald_little(block + 32, 8) == NOWHERE && ald_little(block + 48, 8) == NOWHERE,
              ALD_STATUS_INPUT,
              "%s: superblock: expected 8-byte addresses, trees of the usual size and nothing else",
              texts->path);
    ALD_CHECK(ald_little(block + 40, 8) <= (uint64_t)texts->size, ALD_STATUS_INPUT,
              "%s: the file is cut short", texts->path);
done:
    return status;
}

ald_status_t ald_structure_check(ald_texts_t *texts)
{
    ald_status_t status = ALD_STATUS_OK;
    walk_t w = {.texts = texts};
    uint8_t block[SUPERBLOCK];
    ald_vec_init(&w.extents, sizeof(extent_t));
    ALD_CHECK(texts->size >= SUPERBLOCK, ALD_STATUS_INPUT, "%s: not an HDF5 file, or cut short",
              texts->path);
    ALD_TRY(take(&w, 0, SUPERBLOCK, "a superblock", block));
    ALD_TRY(check_superblock(texts, block));
    ALD_TRY(walk_object(&w, ald_little(block + 64, 8),
                        ald_little(block + 72, 4) == 1 ? block + 80 : NULL, 0));
    ALD_TRY(check_apart(&w));
done:
    ald_vec_reset(&w.extents);
    return status;
}
