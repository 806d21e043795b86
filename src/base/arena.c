/* The heap, which counts what it hands out, and arenas on top of it. Memory is counted so that
 * plans can be held to what a stage really takes, and leaks show at the end of every run. */
#include "ald/base/arena.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define ALIGNMENT   64                /* a cache line, and the longest vector register */
#define BLOCK_BYTES ((size_t)1 << 20) /* smallest block of an arena: small requests share it */
#define HUGE_PAGE   ((size_t)2 << 20) /* of x86-64; elsewhere the wish has no effect */
/* Blocks from which huge pages are asked for: of such a block a huge page is 1/32 at most, so that
 * one which is touched in part takes little more memory than was used. */
#define LARGE ((size_t)64 << 20)

static _Atomic size_t held, peak, blocks;

/* Lies in the 64 bytes before each block. */
typedef struct {
    size_t bytes;
} header_t;

static header_t *header_of(void *pointer)
{
    return (header_t *)((char *)pointer - ALIGNMENT);
}

static void count_in(size_t bytes)
{
    size_t now = atomic_fetch_add(&held, bytes) + bytes;
    size_t seen = atomic_load(&peak);
    while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now))
        ;
    atomic_fetch_add(&blocks, 1);
}

/* With pages of 4 KiB the first touch of 2 GB of weights or gradients takes half a million page
 * faults. */
static void ask_huge_pages(char *base, size_t bytes)
{
    const uintptr_t begin = ((uintptr_t)base + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const uintptr_t end = ((uintptr_t)base + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a wish; no matter if it isn't met */
}

void *ald_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *base = aligned_alloc(ALIGNMENT, rounded + ALIGNMENT);
    if (base == NULL)
        return NULL;
    if (rounded >= LARGE)
        ask_huge_pages(base, rounded + ALIGNMENT);
    void *pointer = base + ALIGNMENT;
    header_of(pointer)->bytes = bytes;
    count_in(bytes);
    return pointer;
}

void *ald_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *pointer = ald_alloc(bytes);
    if (pointer != NULL)
        memset(pointer, 0, bytes);
    return pointer;
}

void *ald_realloc(void *pointer, size_t bytes)
{
    void *fresh = ald_alloc(bytes);
    if (fresh == NULL || pointer == NULL)
        return fresh;
    size_t old = header_of(pointer)->bytes;
    memcpy(fresh, pointer, old < bytes ? old : bytes);
    ald_free(pointer);
    return fresh;
}

void ald_free(void *pointer)
{
    if (pointer == NULL)
        return;
    atomic_fetch_sub(&held, header_of(pointer)->bytes);
    atomic_fetch_sub(&blocks, 1);
    free(header_of(pointer));
}

char *ald_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = ald_alloc(bytes);
    return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

void ald_memory_setup(void)
{
    /* Below it a system call for each block would cost too much; batches and matrices lie above. */
    enum { RETURNED_FROM = 4 << 20 };
    mallopt(M_MMAP_THRESHOLD, RETURNED_FROM);
    mallopt(M_TRIM_THRESHOLD, RETURNED_FROM);
}

size_t ald_memory_held(void)
{
    return atomic_load(&held);
}

size_t ald_memory_peak(void)
{
    return atomic_load(&peak);
}

size_t ald_memory_blocks(void)
{
    return atomic_load(&blocks);
}

size_t ald_memory_peak_rss(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

struct ald_arena_block {
    ald_arena_block_t *next;
    size_t capacity; /* of `data` */
    char *data;      /* behind this header, 64-byte aligned */
};

void ald_arena_init(ald_arena_t *arena)
{
    memset(arena, 0, sizeof *arena);
}

/* The pages behind the first `used` bytes, of which earlier uses have left some. */
static void give_back(const ald_arena_block_t *block, size_t used)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), data = (uintptr_t)block->data;
    const uintptr_t begin = (data + used + page - 1) / page * page;
    const uintptr_t end = (data + block->capacity) / page * page;
    if (end > begin && end - begin >= BLOCK_BYTES)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static ald_arena_block_t *block_new(size_t bytes)
{
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    if (capacity > SIZE_MAX - ALIGNMENT)
        return NULL;
    char *base = ald_alloc(capacity + ALIGNMENT);
    if (base == NULL)
        return NULL;
    ald_arena_block_t *block = (ald_arena_block_t *)base;
    *block = (ald_arena_block_t){.capacity = capacity, .data = base + ALIGNMENT};
    return block;
}

/* Moves to a block with room behind the current one, which may mean a new block. What is left of
 * the current one, and blocks too small in between, are passed over until the next release, and
 * take no memory until then. */
static int arena_advance(ald_arena_t *arena, size_t bytes)
{
    ald_arena_block_t **link = &arena->first;
    if (arena->current != NULL) {
        give_back(arena->current, arena->used);
        link = &arena->current->next;
    }
    for (; *link != NULL && (*link)->capacity < bytes; link = &(*link)->next)
        give_back(*link, 0);
    if (*link == NULL)
        *link = block_new(bytes);
    if (*link == NULL)
        return 0;
    arena->current = *link;
    arena->used = 0;
    return 1;
}

void *ald_arena_alloc(ald_arena_t *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (arena->current == NULL || arena->current->capacity - arena->used < rounded)
        if (!arena_advance(arena, rounded))
            return NULL;
    void *pointer = arena->current->data + arena->used;
    arena->used += rounded;
    arena->in_use += rounded;
    if (arena->in_use > arena->high)
        arena->high = arena->in_use;
    return pointer;
}

void *ald_arena_calloc(ald_arena_t *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *pointer = ald_arena_alloc(arena, bytes);
    if (pointer != NULL)
        memset(pointer, 0, bytes);
    return pointer;
}

char *ald_arena_strdup(ald_arena_t *arena, const char *text, size_t length)
{
    char *copy = ald_arena_alloc(arena, length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

ald_arena_mark_t ald_arena_mark(const ald_arena_t *arena)
{
    return (ald_arena_mark_t){arena->current, arena->used, arena->in_use};
}

static void blocks_free(ald_arena_block_t *block)
{
    while (block != NULL) {
        ald_arena_block_t *next = block->next;
        ald_free(block);
        block = next;
    }
}

/* Several blocks behind the current one become one, with room for all that the arena ever held. */
static void arena_unite(ald_arena_t *arena)
{
    ald_arena_block_t **rest = arena->current == NULL ? &arena->first : &arena->current->next;
    if (*rest == NULL || (*rest)->next == NULL)
        return;
    blocks_free(*rest);
    *rest = block_new(arena->high - arena->in_use); /* NULL without memory: small blocks again */
}

void ald_arena_release(ald_arena_t *arena, ald_arena_mark_t mark)
{
    bool empty = mark.in_use == 0; /* the mark's block may be gone */
    arena->current = empty ? NULL : mark.block;
    arena->used = empty ? 0 : mark.used;
    arena->in_use = mark.in_use;
    arena_unite(arena);
}

void ald_arena_reset(ald_arena_t *arena)
{
    blocks_free(arena->first);
    ald_arena_init(arena);
}
