/* What dpo has of its reference. Most losses need its summed log-probabilities of all pairs before
 * the first step: kept beside the run (ald/record/reference.h), computed, or left to step 0. Those
 * that need its whole distribution have the model itself, mapped. Layer: objective. */
#ifndef ALD_OBJECTIVE_DPO_REFERENCE_H
#define ALD_OBJECTIVE_DPO_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/objective/pair_pass.h"
#include "ald/objective/preference.h"
#include "ald/par/comm.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"

/* `values` to `made_from` are of ALD_REFERENCE_SUMS, the last three of ALD_REFERENCE_ROWS. */
typedef struct {
    ald_preferences_t preferences;
    /* [2 pairs], owned: of a row's preferred and of its dispreferred response. NaN: step 0 fills it
     * in, as the policy's numbers before the first step are the reference's when both are one. */
    double *values;
    bool own;            /* reference and policy are one directory */
    bool *skip, *known;  /* [pairs], owned: rows that step 0 fills; rows of which the pass over the
                            pairs, which a stop cuts short, has the numbers */
    char *path;          /* of the kept numbers, owned */
    char made_from[640]; /* names the content that the numbers are of */
    int64_t V;           /* tokens that policy and reference share, the tokenizer's */
    ald_params_t params;
    ald_mapped_t *mapped; /* NULL: not mapped */
    ald_model_t model;    /* points to the two above: this struct must stay where it is */
} ald_dpo_reference_t;

/* Fills `out` for the pairs of `data` with what the configured loss needs. INPUT for a reference of
 * another tokenizer, STOPPED when it is time; what is computed is kept then. Collective over the
 * trainers; reset it also after a failure. */
ald_status_t ald_dpo_reference_init(ald_engine_t *engine, const ald_dataset_t *data,
                                    ald_dpo_reference_t *out);
void ald_dpo_reference_reset(ald_dpo_reference_t *reference); /* takes a zeroed one */
/* After a step that filled NaNs: every rank learns what each of the step's rows was given, and the
 * numbers are kept, now that all are known. Collective over the trainers. */
ald_status_t ald_dpo_reference_share(ald_dpo_reference_t *reference, const ald_items_t *items,
                                     const ald_comm_t *comm);
/* Whether the step is the one that fills them. */
bool ald_dpo_reference_fills(const ald_dpo_reference_t *reference, const ald_items_t *items);

#endif
