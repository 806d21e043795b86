/* Private to pipeline: an audit, and the files that it writes. */
#ifndef ALD_PIPELINE_AUDIT_IMPL_H
#define ALD_PIPELINE_AUDIT_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/interval.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/par/comm.h"
#include "ald/text/words.h"

/* How many rows of each reason are shown. */
#define ALD_AUDIT_EXAMPLES 5

/* Sums over the rows. */
typedef struct {
    int64_t read, pairs, removed;
    int64_t reasons[ALD_REASON_COUNT];
    int64_t examples[ALD_REASON_COUNT][ALD_AUDIT_EXAMPLES]; /* rows; -1: no more */
    int64_t longer, shorter;                                /* chosen than rejected, of pairs */
    int64_t refuses[2];                                     /* chosen, rejected */
    int64_t scripts[ALD_SCRIPT_COUNT];
} ald_audit_sums_t;

typedef struct {
    const ald_config_t *config;
    ald_audit_t audit;
    uint32_t remove;                     /* reasons, 1 << ald_reason_t */
    int64_t count;                       /* rows of the file */
    ald_audit_row_t *rows;               /* [count] on root, NULL elsewhere */
    uint32_t *others[ALD_REASON_OTHERS]; /* [count] on root */
    int64_t compared[ALD_AUDIT_TEXTS];   /* pairs of rows that share a band */
    int64_t alike[ALD_AUDIT_TEXTS];      /* of them, as similar as audit.similarity */
    ald_audit_sums_t sums;
} ald_audit_run_t;

/* The place of a row as people count: the line from 1, or the item of an array from 0. */
int64_t ald_audit_place(const ald_audit_run_t *run, int64_t row);
/* Fills run->sums. */
void ald_audit_sum(ald_audit_run_t *run);
/* The share of pairs whose chosen answer is the longer one, of all pairs; and of those whose
 * lengths differ, which is how often "the longer is better" is right. */
ald_interval_t ald_audit_longer(const ald_audit_sums_t *sums);
ald_interval_t ald_audit_accuracy(const ald_audit_sums_t *sums);

/* Writes clean.jsonl and removed.jsonl. Root only, as the others. */
ald_status_t ald_audit_write_rows(const ald_audit_run_t *run);
ald_status_t ald_audit_write_json(const ald_audit_run_t *run);
ald_status_t ald_audit_print(const ald_audit_run_t *run);
ald_status_t ald_audit_write_page(const ald_audit_run_t *run);

#endif
