/* The memory that the rows of a data file point into. Layer: data. */
#ifndef ALD_DATA_PAIRS_IMPL_H
#define ALD_DATA_PAIRS_IMPL_H

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/pairs.h"
#include "ald/data/row_file.h"

struct ald_pairs_store {
    ald_arena_t *arenas; /* one per thread */
    int threads;
    ald_vec_t kept;      /* ald_json_t * */
    ald_vec_t packed;    /* bytes, after a merge */
    char left_out[1024]; /* what was wrong with the first row that was left out; "": none */
};

/* The first row (ald_raw_row_t) of part `part`, where all parts have about the same number of
 * bytes.
 */
size_t ald_pairs_part_begin(const ald_vec_t *rows, int part, int parts);
/* The layout that is forced, or, at AUTO, that the first rows show; a broken row gets its message
 * when it is read. */
ald_layout_t ald_pairs_find_layout(ald_layout_t forced, const ald_row_file_t *source);
/* Frees the rows and their memory, and keeps counts and the rest. */
void ald_pairs_drop_rows(ald_pairs_t *pairs);
/* INPUT when no row is left. */
ald_status_t ald_pairs_check(const char *path, const ald_pairs_t *pairs);

#endif
