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
#include "ald/data/labels.h"
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

typedef enum {
    ALD_LABEL_RIGHT,
    ALD_LABEL_AMBIGUOUS,
    ALD_LABEL_FLIPPED,
    ALD_LABEL_COUNT
} ald_label_t;

/* The pairs' labels against margins, on root. */
typedef struct {
    int64_t count;   /* pairs; 0: audit.models is "none" */
    int64_t *row;    /* [count] in the file, ascending; owned, as the following */
    double *margin;  /* [count] nats; of lengths characters, with the sign that most pairs have */
    double *flipped; /* [count] probability that the label is */
    bool shorter;    /* of lengths: the shorter answer is chosen more often */
    ald_noise_t noise;
    int64_t sums[ALD_LABEL_COUNT], exchanged;
} ald_labels_t;

typedef struct {
    const ald_config_t *config;
    ald_audit_t audit;
    uint32_t remove;                     /* reasons, 1 << ald_reason_t */
    int64_t count;                       /* rows of the file */
    ald_audit_row_t *rows;               /* [count] on root, NULL elsewhere */
    uint32_t *others[ALD_REASON_OTHERS]; /* [count] on root */
    int64_t compared[ALD_AUDIT_TEXTS];   /* pairs of rows that share a band */
    int64_t alike[ALD_AUDIT_TEXTS];      /* of them, as similar as audit.similarity */
    ald_labels_t labels;
    ald_audit_sums_t sums;
} ald_audit_run_t;

/* USAGE for settings about labels that don't fit each other; `limited`: --fail-on has
 * likely-flipped. Local. */
ald_status_t ald_audit_labels_check(const ald_config_t *config, uint32_t remove, bool limited);
/* Fills run->labels and sets the reason likely-flipped, by the models of audit.models, which it
 * trains where they are to be trained; nothing with "none". STOPPED when it is time: what is made
 * so far is kept. Collective. */
ald_status_t ald_audit_labels(const ald_comm_t *world, ald_audit_run_t *run);
void ald_audit_labels_reset(ald_labels_t *labels);
/* What the probability of label `i` makes of it. Root only, as all below. */
ald_label_t ald_audit_label(const ald_audit_run_t *run, int64_t i);
/* Whether the file was looked at for this reason. */
bool ald_audit_looked_for(const ald_audit_run_t *run, ald_reason_t reason);
/* Writes labels.jsonl, or removes that of an earlier audit. */
ald_status_t ald_audit_write_labels(const ald_audit_run_t *run);
/* What labels are, for audit.json, audit.html and the summary. */
ald_json_t *ald_audit_json_of_labels(const ald_audit_run_t *run);
ald_status_t ald_audit_put_labels(const ald_audit_run_t *run, ald_vec_t *page);
void ald_audit_print_labels(const ald_audit_run_t *run);

/* The place of a row as people count: the line from 1, or the item of an array from 0. */
int64_t ald_audit_place(const ald_audit_run_t *run, int64_t row);
/* Fills run->sums. */
void ald_audit_sum(ald_audit_run_t *run);
/* The share of pairs whose chosen answer is the longer one, of all pairs; and of those whose
 * lengths differ, which is how often "the longer is better" is right. */
ald_interval_t ald_audit_longer(const ald_audit_sums_t *sums);
ald_interval_t ald_audit_accuracy(const ald_audit_sums_t *sums);

/* Whether clean.jsonl has the row with its answers exchanged. */
bool ald_audit_exchanges(const ald_audit_run_t *run, int64_t row);
/* Writes clean.jsonl, removed.jsonl and, with audit.flip, flipped.jsonl. */
ald_status_t ald_audit_write_rows(const ald_audit_run_t *run);
ald_status_t ald_audit_write_json(const ald_audit_run_t *run);
ald_status_t ald_audit_print(const ald_audit_run_t *run);
ald_status_t ald_audit_write_page(const ald_audit_run_t *run);

#endif
