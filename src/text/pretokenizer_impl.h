/* Cuts text into the pieces that byte-pair merges stay within. Layer: text. */
#ifndef ALD_TEXT_PRETOKENIZER_IMPL_H
#define ALD_TEXT_PRETOKENIZER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/regex_impl.h"

enum { ALD_PRETOKENIZER_STAGES = 32 }; /* far more than published files have */

typedef enum {
    ALD_STAGE_PREFIX, /* a space before pieces that don't start with one */
    ALD_STAGE_SPLIT,
    ALD_STAGE_CLASS,     /* a split at characters of a class */
    ALD_STAGE_METASPACE, /* spaces become a visible character */
} ald_stage_kind_t;

/* Before which pieces Metaspace puts its character: all, the first of the whole text, none. */
typedef enum { ALD_PREPEND_ALWAYS, ALD_PREPEND_FIRST, ALD_PREPEND_NEVER } ald_prepend_t;

/* What a split does with its matches; the names are those of tokenizer.json. */
typedef enum {
    ALD_SPLIT_REMOVED,
    ALD_SPLIT_ISOLATED,
    ALD_SPLIT_MERGED_WITH_PREVIOUS,
    ALD_SPLIT_MERGED_WITH_NEXT,
    ALD_SPLIT_CONTIGUOUS,
} ald_split_t;

typedef struct {
    ald_stage_kind_t kind;
    ald_split_t behavior;
    bool invert;
    ald_regex_t *regex;           /* owned */
    bool (*is_member)(int32_t c); /* of the class */
    ald_prepend_t prepend;        /* of METASPACE */
    char replacement[8];          /* its character */
} ald_stage_t;

typedef struct {
    ald_stage_t stages[ALD_PRETOKENIZER_STAGES];
    int count;
    bool bytes; /* it ends in a ByteLevel: pieces are bytes, not characters */
} ald_pretokenizer_t;

typedef struct {
    size_t start, length;
} ald_span_t;

/* The pieces of one text, and scratch memory; one per thread, reused. */
typedef struct {
    const char *text;        /* the text of the spans: the one given, or one of `buffers` */
    ald_vec_t spans, before; /* ald_span_t */
    ald_vec_t buffers[2];    /* bytes */
    bool first;              /* the text begins where the whole input does */
    ald_regex_match_t *match;
} ald_pieces_t;

/* INPUT naming what isn't supported, without the file. */
ald_status_t ald_pretokenizer_load(const ald_json_t *json, ald_pretokenizer_t *out);
void ald_pretokenizer_reset(ald_pretokenizer_t *pretokenizer); /* takes a zeroed one */

ald_status_t ald_pieces_init(ald_pieces_t *pieces);
void ald_pieces_reset(ald_pieces_t *pieces); /* takes a zeroed one */
/* Fills `pieces` with the non-empty pieces of valid UTF-8, which must stay in place meanwhile.
 * `first`: the text begins where the whole input does. */
ald_status_t ald_pretokenizer_split(const ald_pretokenizer_t *pretokenizer, const char *text,
                                    size_t length, bool first, ald_pieces_t *pieces);
/* Reads what Metaspace's pre-tokenizer and decoder have in common. */
ald_status_t ald_metaspace_load(const ald_json_t *json, const char *place, char replacement[8],
                                ald_prepend_t *prepend, bool *split);

#endif
