/* Direct preference optimisation (Rafailov et al. 2023), also with chosen and rejected swapped, for
 * a reverse model. Items are rows of a data file. Layer: objective. */
#ifndef ALD_OBJECTIVE_DPO_H
#define ALD_OBJECTIVE_DPO_H

#include "ald/objective/dpo_reference.h"
#include "ald/objective/preference.h"
#include "ald/par/comm.h"

/* The state of ALD_OBJECTIVE_DPO. */
typedef struct {
    ald_preference_t settings;
    ald_dpo_reference_t reference; /* with the pairs; the caller's ald_dpo_reference_init */
    const ald_comm_t *comm;        /* the trainers */
} ald_dpo_t;

#endif
