/* Byte-pair merging: a scan for the short pieces that text mostly has, a heap for long ones, so
 * that no input takes a time that grows with the square of its length. */
#include "text/bpe_impl.h"

#include <string.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/unicode_impl.h"

/* Pieces up to this length are merged by scanning, which is faster there than a heap. */
enum { SHORT_PIECE = 32 };
static const uint32_t no_rank = UINT32_MAX;

void ald_byte_symbols(uint16_t symbols[256])
{
    uint16_t other = 256;
    for (int b = 0; b < 256; ++b) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
        symbols[b] = printable ? (uint16_t)b : other++;
    }
}

void ald_symbol_bytes(int16_t bytes[ALD_BYTE_SYMBOL_END])
{
    uint16_t symbols[256];
    ald_byte_symbols(symbols);
    memset(bytes, 0xFF, sizeof(int16_t) * ALD_BYTE_SYMBOL_END);
    for (int b = 0; b < 256; ++b)
        bytes[symbols[b]] = (int16_t)b;
}

static uint64_t hash_pair(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15u;
    return pair ^ pair >> 29;
}

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < length; ++i)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001B3u;
    return hash ^ hash >> 32;
}

ald_token_t *ald_bpe_text_slot(const ald_bpe_t *bpe, const char *text, size_t length)
{
    size_t at = hash_text(text, length) & bpe->text_mask;
    while (bpe->by_text[at].text != NULL &&
           (bpe->by_text[at].length != length || memcmp(bpe->by_text[at].text, text, length) != 0))
        at = (at + 1) & bpe->text_mask;
    return &bpe->by_text[at];
}

int32_t ald_bpe_find(const ald_bpe_t *bpe, const char *text, size_t length)
{
    const ald_token_t *slot = ald_bpe_text_slot(bpe, text, length);
    return slot->text == NULL ? -1 : slot->id;
}

ald_merge_t *ald_bpe_pair_slot(const ald_bpe_t *bpe, uint64_t pair)
{
    size_t at = hash_pair(pair) & bpe->merge_mask;
    while (bpe->merges[at].id >= 0 && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->merge_mask;
    return &bpe->merges[at];
}

static const ald_merge_t *find_merge(const ald_bpe_t *bpe, int32_t left, int32_t right)
{
    const ald_merge_t *merge = ald_bpe_pair_slot(bpe, (uint64_t)left << 32 | (uint32_t)right);
    return merge->id < 0 ? NULL : merge;
}

static uint32_t rank_of(const ald_bpe_t *bpe, int32_t left, int32_t right)
{
    const ald_merge_t *merge = find_merge(bpe, left, right);
    return merge == NULL ? no_rank : merge->rank;
}

/* Merges in place. Of pairs of equal rank the leftmost is merged first. Returns the new count. */
static size_t merge_short(const ald_bpe_t *bpe, int32_t *ids, size_t count)
{
    uint32_t ranks[SHORT_PIECE];
    for (size_t i = 0; i + 1 < count; ++i)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; ++i)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == no_rank)
            break;
        ids[best] = find_merge(bpe, ids[best], ids[best + 1])->id;
        --count;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof ids[0]);
        memmove(ranks + best, ranks + best + 1, (count - best) * sizeof ranks[0]);
        if (best + 1 < count)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
    }
    return count;
}

/* A symbol of a long piece. One that was merged into its left neighbour has id -1. */
typedef struct {
    int32_t id;
    uint32_t before, after; /* neighbours, `none` at the ends */
} symbol_t;
static const uint32_t none = UINT32_MAX;

static ald_status_t heap_push(ald_vec_t *heap, uint64_t value)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t at = heap->count;
    ALD_TRY(ald_vec_push(heap, &value));
    uint64_t *items = heap->data;
    for (; at > 0 && items[(at - 1) / 2] > value; at = (at - 1) / 2)
        items[at] = items[(at - 1) / 2];
    items[at] = value;
done:
    return status;
}

static uint64_t heap_pop(ald_vec_t *heap)
{
    uint64_t *items = heap->data, top = items[0], last = items[--heap->count];
    size_t at = 0, child = 1;
    for (; child < heap->count; child = 2 * at + 1) {
        child += child + 1 < heap->count && items[child + 1] < items[child];
        if (items[child] >= last)
            break;
        items[at] = items[child];
        at = child;
    }
    items[at] = last;
    return top;
}

/* Queues the pair that begins at symbol `left`, ordered by rank, then place. */
static ald_status_t queue_pair(const ald_bpe_t *bpe, const symbol_t *symbols, uint32_t left,
                               ald_vec_t *heap)
{
    if (left == none || symbols[left].after == none)
        return ALD_STATUS_OK;
    uint32_t rank = rank_of(bpe, symbols[left].id, symbols[symbols[left].after].id);
    return rank == no_rank ? ALD_STATUS_OK : heap_push(heap, (uint64_t)rank << 32 | left);
}

static ald_status_t merge_long(const ald_bpe_t *bpe, symbol_t *symbols, uint32_t count,
                               ald_vec_t *heap)
{
    ald_status_t status = ALD_STATUS_OK;
    heap->count = 0;
    for (uint32_t i = 0; i + 1 < count; ++i)
        ALD_TRY(queue_pair(bpe, symbols, i, heap));
    while (heap->count > 0) {
        uint64_t top = heap_pop(heap);
        symbol_t *left = &symbols[(uint32_t)top];
        if (left->id < 0 || left->after == none)
            continue;
        symbol_t *right = &symbols[left->after];
        const ald_merge_t *merge = find_merge(bpe, left->id, right->id);
        if (merge == NULL || merge->rank != top >> 32)
            continue; /* one of the two was merged since the pair was queued */
        left->id = merge->id;
        left->after = right->after;
        right->id = -1;
        if (left->after != none)
            symbols[left->after].before = (uint32_t)top;
        ALD_TRY(queue_pair(bpe, symbols, left->before, heap));
        ALD_TRY(queue_pair(bpe, symbols, (uint32_t)top, heap));
    }
done:
    return status;
}

static ald_status_t encode_long(const ald_bpe_t *bpe, const int32_t *initial, size_t length,
                                ald_bpe_scratch_t *scratch, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(length < INT32_MAX, ALD_STATUS_INPUT, "a piece of %zu symbols is too long", length);
    ALD_TRY(ald_vec_reserve(&scratch->symbols, length));
    symbol_t *symbols = scratch->symbols.data;
    const uint32_t count = (uint32_t)length;
    for (uint32_t i = 0; i < count; ++i)
        symbols[i] = (symbol_t){initial[i], i - 1, i + 1};
    symbols[count - 1].after = none;
    ALD_TRY(merge_long(bpe, symbols, count, &scratch->heap));
    for (uint32_t i = 0; i != none; i = symbols[i].after)
        ALD_TRY(ald_vec_push(ids, &symbols[i].id));
done:
    return status;
}

/* Merges the symbols of a piece, which are in scratch->ids. */
static ald_status_t merge(const ald_bpe_t *bpe, ald_bpe_scratch_t *scratch, ald_vec_t *ids)
{
    int32_t *initial = scratch->ids.data;
    size_t count = scratch->ids.count;
    if (count > SHORT_PIECE)
        return encode_long(bpe, initial, count, scratch, ids);
    return count == 0 ? ALD_STATUS_OK
                      : ald_vec_append(ids, initial, merge_short(bpe, initial, count));
}

static ald_status_t encode_long_bytes(const ald_bpe_t *bpe, const char *piece, size_t length,
                                      ald_bpe_scratch_t *scratch, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    scratch->ids.count = 0;
    ALD_TRY(ald_vec_reserve(&scratch->ids, length));
    int32_t *symbols = scratch->ids.data;
    for (size_t i = 0; i < length; ++i) {
        symbols[scratch->ids.count] = bpe->byte_ids[(unsigned char)piece[i]];
        scratch->ids.count += symbols[scratch->ids.count] >= 0;
    }
    ALD_TRY(merge(bpe, scratch, ids));
done:
    return status;
}

static ald_status_t encode_short(const ald_bpe_t *bpe, const char *piece, size_t length,
                                 ald_vec_t *ids)
{
    int32_t symbols[SHORT_PIECE];
    size_t count = 0;
    for (size_t i = 0; i < length; ++i) {
        symbols[count] = bpe->byte_ids[(unsigned char)piece[i]];
        count += symbols[count] >= 0;
    }
    return ald_vec_append(ids, symbols, merge_short(bpe, symbols, count));
}

/* Appends the fallback bytes of a character, or nothing and *done = false if one is lacking. */
static ald_status_t put_fallback(const ald_bpe_t *bpe, const char *character, size_t length,
                                 bool *done, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    *done = bpe->byte_fallback;
    for (size_t i = 0; i < length; ++i)
        *done = *done && bpe->fallback_ids[(unsigned char)character[i]] >= 0;
    for (size_t i = 0; *done && i < length; ++i)
        ALD_TRY(ald_vec_push(ids, &bpe->fallback_ids[(unsigned char)character[i]]));
done:
    return status;
}

/* Encodes a piece of characters. The unknown token isn't written at once but, as in Hugging Face's
 * tokenizers, before the next character that is known or can't be fused with it. */
static ald_status_t encode_characters(const ald_bpe_t *bpe, const char *piece, size_t length,
                                      ald_bpe_scratch_t *scratch, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    bool waiting = false, fallen = false;
    ald_vec_t *symbols = &scratch->ids;
    size_t step = 0;
    symbols->count = 0;
    for (size_t at = 0; at < length; at += step) {
        ald_utf8_next(piece + at, length - at, &step);
        int32_t id = ald_bpe_find(bpe, piece + at, step);
        if (id < 0) {
            ALD_TRY(put_fallback(bpe, piece + at, step, &fallen, symbols));
            if (fallen || bpe->unknown < 0)
                continue;
        }
        if (waiting && (id >= 0 || !bpe->fuse_unknown))
            ALD_TRY(ald_vec_push(symbols, &bpe->unknown));
        waiting = id < 0;
        if (id >= 0)
            ALD_TRY(ald_vec_push(symbols, &id));
    }
    if (waiting)
        ALD_TRY(ald_vec_push(symbols, &bpe->unknown));
    ALD_TRY(merge(bpe, scratch, ids));
done:
    return status;
}

/* Spells the bytes of a piece by their symbols, as the vocabulary does. */
static ald_status_t spell(const char *piece, size_t length, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    uint16_t symbols[256];
    ald_byte_symbols(symbols);
    text->count = 0;
    for (size_t i = 0; i < length; ++i) {
        uint16_t c = symbols[(unsigned char)piece[i]];
        char bytes[2] = {(char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        ALD_TRY(ald_vec_append(text, bytes, c < 0x80 ? 1 : 2));
    }
done:
    return status;
}

void ald_bpe_scratch_init(ald_bpe_scratch_t *scratch)
{
    ald_vec_init(&scratch->ids, sizeof(int32_t));
    ald_vec_init(&scratch->symbols, sizeof(symbol_t));
    ald_vec_init(&scratch->heap, sizeof(uint64_t));
    ald_vec_init(&scratch->text, 1);
}

void ald_bpe_scratch_reset(ald_bpe_scratch_t *scratch)
{
    ald_vec_reset(&scratch->ids);
    ald_vec_reset(&scratch->symbols);
    ald_vec_reset(&scratch->heap);
    ald_vec_reset(&scratch->text);
}

ald_status_t ald_bpe_encode(const ald_bpe_t *bpe, const char *piece, size_t length, bool bytes,
                            ald_bpe_scratch_t *scratch, ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    bool simple = bpe->complete || (bpe->unknown < 0 && !bpe->byte_fallback);
    if (bytes && (bpe->ignore_merges || !simple)) {
        ALD_TRY(spell(piece, length, &scratch->text));
        piece = simple ? piece : scratch->text.data;
        length = simple ? length : scratch->text.count;
    }
    if (bpe->ignore_merges) {
        int32_t id = bytes ? ald_bpe_find(bpe, scratch->text.data, scratch->text.count)
                           : ald_bpe_find(bpe, piece, length);
        if (id >= 0)
            return ald_vec_push(ids, &id);
    }
    ALD_TRY(!bytes || !simple       ? encode_characters(bpe, piece, length, scratch, ids)
            : length <= SHORT_PIECE ? encode_short(bpe, piece, length, ids)
                                    : encode_long_bytes(bpe, piece, length, scratch, ids));
done:
    return status;
}
