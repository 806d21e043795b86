/* Byte-pair encoding: vocabulary, merges and the merging itself. Layer: text. */
#ifndef ALD_TEXT_BPE_IMPL_H
#define ALD_TEXT_BPE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

typedef struct {
    const char *text; /* NULL: the slot is free, or no token has this id */
    uint32_t length;
    int32_t id;
} ald_token_t;

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank;
    int32_t id; /* of the token that the two become; -1: the slot is free */
} ald_merge_t;

/* Everything lies in the arena given to load. */
typedef struct {
    ald_token_t *by_text; /* open addressing, mask + 1 slots */
    size_t text_mask;
    ald_token_t *by_id; /* [size] */
    int64_t size;       /* largest id + 1 */
    ald_merge_t *merges;
    size_t merge_mask;
    int32_t byte_ids[256];     /* -1: the vocabulary lacks the byte's symbol */
    int32_t fallback_ids[256]; /* of <0x00> to <0xFF>; -1: the vocabulary lacks it */
    bool byte_fallback;        /* characters that the vocabulary lacks become those */
    int32_t unknown;           /* the token for all else that is lacking; -1: it is left out */
    bool fuse_unknown;         /* one unknown token for several characters in a row */
    bool complete;             /* every byte that UTF-8 can have has its symbol */
    bool ignore_merges;        /* a piece that is a token is taken whole */
} ald_bpe_t;

/* Memory for merging; one per thread, reused. */
typedef struct {
    ald_vec_t ids, symbols, heap, text;
} ald_bpe_scratch_t;

/* Loads the "model" of tokenizer.json. INPUT naming what is wrong or isn't supported. */
ald_status_t ald_bpe_load(const ald_json_t *model, ald_arena_t *arena, ald_bpe_t *out);
/* The id of a vocabulary entry, -1 for none. */
int32_t ald_bpe_find(const ald_bpe_t *bpe, const char *text, size_t length);

/* Where a token or a pair is, or would go, in its table. For the loader. */
ald_token_t *ald_bpe_text_slot(const ald_bpe_t *bpe, const char *text, size_t length);
ald_merge_t *ald_bpe_pair_slot(const ald_bpe_t *bpe, uint64_t pair);

void ald_bpe_scratch_init(ald_bpe_scratch_t *scratch);
void ald_bpe_scratch_reset(ald_bpe_scratch_t *scratch);
/* Appends the ids of one piece. `bytes`: a piece for a byte-level vocabulary, which spells every
 * byte by a symbol; else one of characters. What the vocabulary lacks becomes fallback bytes, the
 * unknown token, or nothing, as the model says. */
ald_status_t ald_bpe_encode(const ald_bpe_t *bpe, const char *piece, size_t length, bool bytes,
                            ald_bpe_scratch_t *scratch, ald_vec_t *ids);

/* The code points that stand for the 256 bytes in tokens: printable Latin-1 for itself, the others
 * from U+0100 on. */
void ald_byte_symbols(uint16_t symbols[256]);
enum { ALD_BYTE_SYMBOL_END = 324 }; /* 256 + the 68 bytes that aren't printable in Latin-1 */
/* The byte of a symbol below ALD_BYTE_SYMBOL_END, or -1. */
void ald_symbol_bytes(int16_t bytes[ALD_BYTE_SYMBOL_END]);

#endif
