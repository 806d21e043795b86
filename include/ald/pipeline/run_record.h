/* The record, card and line of the ledger of a stage that has ended. Layer: pipeline. */
#ifndef ALD_PIPELINE_RUN_RECORD_H
#define ALD_PIPELINE_RUN_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/sweep.h"
#include "ald/par/comm.h"

typedef struct {
    const char
        *stage; /* "audit", "sft", "dpo", "reverse", "score", "distill", "generate", "eval" */
    const ald_sweep_t *sweep; /* of distill; its count 0: one run */
    bool points;              /* of eval: with --strengths */
    int64_t part, parts;      /* of score; parts 0: another stage */
    double begun;             /* ald_time */
    bool written;             /* the result, though the stage has failed: audit --fail-on */
} ald_recorded_t;

/* Writes run.json beside each result of a stage that has ended (`ended` OK or STOPPED, or
 * with its result written; the same on all ranks), README.md of a model, the figures of an
 * evaluation into its model's card, and appends to runtime.ledger. Nothing where the stage had
 * nothing to do. What can't be written is warned of: results don't depend on it. Collective. */
void ald_run_record(const ald_config_t *config, const ald_comm_t *world, const ald_recorded_t *what,
                    ald_status_t ended);

#endif
