/* The objectives: what a training stage trains for, a table. A new one is a row here and a file of
 * its own with its state. Layer: objective. */
#ifndef ALD_OBJECTIVE_OBJECTIVE_H
#define ALD_OBJECTIVE_OBJECTIVE_H

#include "ald/train/loop.h"

typedef enum {
    ALD_OBJECTIVE_SFT,     /* state: ald_sft_t */
    ALD_OBJECTIVE_DPO,     /* state: ald_dpo_t */
    ALD_OBJECTIVE_DISTILL, /* state: ald_distiller_t */
    ALD_OBJECTIVE_COUNT,
} ald_objective_kind_t;

const ald_objective_t *ald_objective(ald_objective_kind_t kind);

#endif
