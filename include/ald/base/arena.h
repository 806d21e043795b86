/* Memory: a counted heap, and arenas with mark and release. Layer: base. */
#ifndef ALD_BASE_ARENA_H
#define ALD_BASE_ARENA_H

#include <stddef.h>

/* `bytes` of uninitialised memory aligned to 64 bytes, counted in the balance; NULL when there is
 * none. Thread-safe. Free with ald_free. */
void *ald_alloc(size_t bytes);
/* The same, zeroed; `count * size` is checked for overflow (NULL). */
void *ald_calloc(size_t count, size_t size);
/* Keeps the first min(old, new) bytes; NULL when there is no memory, the old block is then valid.
 */
void *ald_realloc(void *pointer, size_t bytes);
/* Takes NULL. */
void ald_free(void *pointer);
/* A counted copy of a string; NULL when there is no memory. */
char *ald_strdup(const char *text);

/* Bytes now held, the most that were held at once, and blocks now held (0 at a clean end). */
size_t ald_memory_held(void);
size_t ald_memory_peak(void);
size_t ald_memory_blocks(void);
/* Peak resident set of this process in bytes (the operating system's account). */
size_t ald_memory_peak_rss(void);

/* Has large blocks go back to the system when they are freed; without this the C library keeps some
 * of them, and what a process holds depends on the order of its requests. Once, at the start. */
void ald_memory_setup(void);

/* A bump allocator over a chain of blocks, which it keeps for reuse until reset. Not thread-safe.
 */
typedef struct ald_arena_block ald_arena_block_t;
typedef struct {
    ald_arena_block_t *first, *current;
    size_t used;   /* bytes used in `current` */
    size_t in_use; /* bytes handed out now */
    size_t high;   /* the most handed out at once */
} ald_arena_t;

typedef struct {
    ald_arena_block_t *block;
    size_t used, in_use;
} ald_arena_mark_t;

/* Zeroed arenas are valid; init is only a zeroing. */
void ald_arena_init(ald_arena_t *arena);
/* 64-byte aligned, uninitialised; NULL when there is no memory (the arena stays valid). */
void *ald_arena_alloc(ald_arena_t *arena, size_t bytes);
/* The same for an array, zeroed, with checked multiplication. */
void *ald_arena_calloc(ald_arena_t *arena, size_t count, size_t size);
char *ald_arena_strdup(ald_arena_t *arena, const char *text, size_t length);
ald_arena_mark_t ald_arena_mark(const ald_arena_t *arena);
/* Everything that was allocated after the mark is gone. Its memory stays for reuse, in one block
 * behind what was allocated before the mark. */
void ald_arena_release(ald_arena_t *arena, ald_arena_mark_t mark);
/* Gives all blocks back; the arena is as after init. */
void ald_arena_reset(ald_arena_t *arena);

#define ALD_ARENA_ARRAY(arena, type, count)                                                        \
    ((type *)ald_arena_alloc((arena), sizeof(type) * (size_t)(count)))

#endif
