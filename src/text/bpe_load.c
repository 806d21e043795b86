/* Reads the "model" of tokenizer.json. An option that would change how words are made of symbols
 * is refused by name, since other ids would spoil training without a sign of it. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/bpe_impl.h"
#include "text/unicode_impl.h"

/* Larger ids are taken for damage: tables are indexed by id, and large vocabularies have about
 * 2^18. */
enum { LARGEST_ID = 1 << 24 };

static size_t slots_for(size_t count)
{
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

static ald_status_t measure(const ald_json_t *vocab, size_t *bytes, int64_t *size)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *key = NULL;
    const ald_json_t *value = NULL;
    *bytes = 1;
    *size = 0;
    while (ald_json_next(vocab, &iterator, &key, &value)) {
        int64_t id = ald_json_integer(value, -1);
        ALD_CHECK(id >= 0 && id <= LARGEST_ID, ALD_STATUS_INPUT,
                  "model.vocab[\"%s\"]: expected an id from 0 to %d", key, LARGEST_ID);
        *bytes += strlen(key) + 1;
        *size = id >= *size ? id + 1 : *size;
    }
done:
    return status;
}

static ald_status_t load_vocabulary(const ald_json_t *vocab, ald_arena_t *arena, ald_bpe_t *bpe)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *key = NULL;
    const ald_json_t *value = NULL;
    size_t bytes = 0, slots = slots_for(ald_json_count(vocab));
    ALD_CHECK(ald_json_is_object(vocab) && ald_json_count(vocab) > 0, ALD_STATUS_INPUT,
              "model.vocab: expected an object of tokens and ids, found %s",
              ald_json_count(vocab) > 0 ? ald_json_type_name(vocab) : "nothing in it");
    ALD_TRY(measure(vocab, &bytes, &bpe->size));
    char *text = ald_arena_alloc(arena, bytes);
    bpe->by_text = ald_arena_calloc(arena, slots, sizeof *bpe->by_text);
    bpe->by_id = ald_arena_calloc(arena, (size_t)bpe->size, sizeof *bpe->by_id);
    bpe->text_mask = slots - 1;
    ALD_CHECK(text != NULL && bpe->by_text != NULL && bpe->by_id != NULL, ALD_STATUS_RESOURCE,
              "out of memory: a vocabulary of %lld", (long long)bpe->size);
    while (ald_json_next(vocab, &iterator, &key, &value)) {
        size_t length = strlen(key);
        const ald_token_t token = {memcpy(text, key, length + 1), (uint32_t)length,
                                   (int32_t)ald_json_integer(value, 0)};
        ALD_CHECK(bpe->by_id[token.id].text == NULL, ALD_STATUS_INPUT,
                  "model.vocab: \"%s\" and \"%s\" have the same id %d", bpe->by_id[token.id].text,
                  key, token.id);
        bpe->by_id[token.id] = token;
        *ald_bpe_text_slot(bpe, token.text, length) = token;
        text += length + 1;
    }
done:
    return status;
}

/* Reads the two halves of a merge, which is written "a b" or ["a", "b"]. */
static bool read_merge(const ald_json_t *json, const char *text[2], size_t length[2])
{
    size_t whole = 0;
    const char *line = ald_json_text(json, &whole);
    if (line == NULL) {
        text[0] = ald_json_text(ald_json_at(json, 0), &length[0]);
        text[1] = ald_json_text(ald_json_at(json, 1), &length[1]);
        return ald_json_count(json) == 2 && text[0] != NULL && text[1] != NULL;
    }
    const char *space = memchr(line, ' ', whole);
    if (space == NULL || strchr(space + 1, ' ') != NULL)
        return false;
    text[0] = line;
    length[0] = (size_t)(space - line);
    text[1] = space + 1;
    length[1] = whole - length[0] - 1;
    return true;
}

static ald_status_t load_merge(const ald_json_t *json, uint32_t rank, ald_vec_t *joined,
                               ald_bpe_t *bpe)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *text[2] = {NULL, NULL};
    size_t length[2] = {0, 0};
    ALD_CHECK(read_merge(json, text, length), ALD_STATUS_INPUT,
              "model.merges[%u]: expected \"a b\" or [\"a\", \"b\"]", rank);
    joined->count = 0;
    ALD_TRY(ald_vec_append(joined, text[0], length[0]));
    ALD_TRY(ald_vec_append(joined, text[1], length[1]));
    int32_t left = ald_bpe_find(bpe, text[0], length[0]);
    int32_t right = ald_bpe_find(bpe, text[1], length[1]);
    int32_t id = ald_bpe_find(bpe, joined->data, joined->count);
    ALD_CHECK(left >= 0 && right >= 0 && id >= 0, ALD_STATUS_INPUT,
              "model.merges[%u]: \"%.*s\" is not in model.vocab", rank,
              (int)(left < 0    ? length[0]
                    : right < 0 ? length[1]
                                : joined->count),
              left < 0    ? text[0]
              : right < 0 ? text[1]
                          : (const char *)joined->data);
    uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    *ald_bpe_pair_slot(bpe, pair) = (ald_merge_t){pair, rank, id};
done:
    return status;
}

static ald_status_t load_merges(const ald_json_t *merges, ald_arena_t *arena, ald_bpe_t *bpe)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t joined;
    ald_vec_init(&joined, 1);
    ALD_CHECK(ald_json_is_array(merges), ALD_STATUS_INPUT,
              "model.merges: expected a list, found %s", ald_json_type_name(merges));
    size_t slots = slots_for(ald_json_count(merges));
    bpe->merge_mask = slots - 1;
    bpe->merges = ALD_ARENA_ARRAY(arena, ald_merge_t, slots);
    ALD_CHECK_MEMORY(bpe->merges, slots * sizeof(ald_merge_t));
    for (size_t i = 0; i < slots; ++i)
        bpe->merges[i].id = -1;
    for (size_t i = 0; i < ald_json_count(merges); ++i)
        ALD_TRY(load_merge(ald_json_at(merges, i), (uint32_t)i, &joined, bpe));
done:
    ald_vec_reset(&joined);
    return status;
}

/* Finds the symbols of single bytes, and the tokens that spell bytes for characters. */
static void load_bytes(ald_bpe_t *bpe)
{
    uint16_t symbols[256];
    ald_byte_symbols(symbols);
    bpe->complete = true;
    for (int b = 0; b < 256; ++b) {
        uint16_t c = symbols[b];
        char text[2] = {(char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        char fallback[8];
        bool possible = b != 0xC0 && b != 0xC1 && b < 0xF5;
        snprintf(fallback, sizeof fallback, "<0x%02X>", b);
        bpe->byte_ids[b] = ald_bpe_find(bpe, text, c < 0x80 ? 1 : 2);
        bpe->fallback_ids[b] = ald_bpe_find(bpe, fallback, 6);
        bpe->complete = bpe->complete && (bpe->byte_ids[b] >= 0 || !possible);
    }
}

/* Reads the options that change how words are made of symbols. null, "" and false mean that an
 * option isn't used. */
static ald_status_t load_options(const ald_json_t *model, ald_bpe_t *bpe)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; ++i) {
        const char *text = ald_json_text(ald_json_get(model, affixes[i]), NULL);
        ALD_CHECK(text == NULL || text[0] == '\0', ALD_STATUS_INPUT,
                  "model.%s \"%s\" is not supported", affixes[i], text);
    }
    double dropout = ald_json_number(ald_json_get(model, "dropout"), 0);
    ALD_CHECK(dropout == 0, ALD_STATUS_INPUT, "model.dropout %g is not supported", dropout);
    size_t length = 0;
    const char *unknown = ald_json_text(ald_json_get(model, "unk_token"), &length);
    bpe->unknown = unknown == NULL ? -1 : ald_bpe_find(bpe, unknown, length);
    ALD_CHECK(unknown == NULL || bpe->unknown >= 0, ALD_STATUS_INPUT,
              "model.unk_token \"%s\" is not in model.vocab", unknown);
    bpe->byte_fallback = ald_json_bool(ald_json_get(model, "byte_fallback"), false);
    bpe->fuse_unknown = ald_json_bool(ald_json_get(model, "fuse_unk"), false);
    bpe->ignore_merges = ald_json_bool(ald_json_get(model, "ignore_merges"), false);
done:
    return status;
}

ald_status_t ald_bpe_load(const ald_json_t *model, ald_arena_t *arena, ald_bpe_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    memset(out, 0, sizeof *out);
    ALD_CHECK(ald_json_is_object(model), ALD_STATUS_INPUT, "model: expected an object, found %s",
              ald_json_type_name(model));
    const ald_json_t *type = ald_json_get(model, "type"); /* older files don't have it */
    if (type != NULL &&
        (!ald_json_is_string(type) || strcmp(ald_json_text(type, NULL), "BPE") != 0))
        return ald_component_unsupported(
            "model",
            ald_json_is_string(type) ? ald_json_text(type, NULL) : ald_json_type_name(type), "BPE");
    ALD_TRY(ald_component_check(model, "model",
                                "type dropout unk_token continuing_subword_prefix "
                                "end_of_word_suffix fuse_unk byte_fallback ignore_merges vocab "
                                "merges"));
    ALD_TRY(load_vocabulary(ald_json_get(model, "vocab"), arena, out));
    ALD_TRY(load_merges(ald_json_get(model, "merges"), arena, out));
    load_bytes(out);
    ALD_TRY(load_options(model, out));
done:
    return status;
}
