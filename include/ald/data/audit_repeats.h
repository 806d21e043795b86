/* What rows are to each other: repeats, contradictions, and clusters of rows that are nearly the
 * same. Works on the records of all rows. Layer: data. */
#ifndef ALD_DATA_AUDIT_REPEATS_H
#define ALD_DATA_AUDIT_REPEATS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"

#define ALD_AUDIT_NO_OTHER UINT32_MAX

/* Sets the reasons duplicate-pair, duplicate-prompt and contradiction of rows[count], and in
 * others[reason][count], which are all ALD_AUDIT_NO_OTHER before, the first row that is the same
 * (for a contradiction: the first of the other opinion). Local. */
ald_status_t ald_repeats_find(ald_audit_row_t *rows, int64_t count, uint32_t *const *others);

/* Rows that are in one cluster have the same lowest row. */
typedef struct {
    int64_t count;
    uint32_t *parent; /* [count]; owned */
    ald_vec_t order;  /* uint64_t: band's hash and row; for use in between */
    int64_t compared; /* pairs that were verified, and those that were alike enough */
    int64_t alike;
} ald_clusters_t;

/* RESOURCE without memory. Freed by ald_clusters_reset. Local. */
ald_status_t ald_clusters_init(int64_t count, ald_clusters_t *out);
void ald_clusters_reset(ald_clusters_t *clusters); /* takes a zeroed one */
/* Appends to `pairs` (uint32_t, two a pair, the lower row first) those rows whose hash band[count]
 * of one band is the same and that aren't in one cluster yet: each row with at most 4 before it.
 * Rows that were not read, that have the reason `repeat`, and hashes of 0 are left out. Local. */
ald_status_t ald_clusters_candidates(ald_clusters_t *clusters, const ald_audit_row_t *rows,
                                     ald_reason_t repeat, const uint32_t *band, ald_vec_t *pairs);
/* Joins the pairs for which same[] is set. */
void ald_clusters_join(ald_clusters_t *clusters, const ald_vec_t *pairs, const uint8_t *same);
/* Sets the reason, and the other row, of every row but the lowest of its cluster. */
void ald_clusters_mark(ald_clusters_t *clusters, ald_reason_t reason, ald_audit_row_t *rows,
                       uint32_t *others);

#endif
