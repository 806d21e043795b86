/* The table of objectives. The stages find theirs here, so that all kinds of training are listed in
 * one place. */
#include "ald/objective/objective.h"

#include "ald/train/loop.h"
#include "objective/objective_impl.h"

const ald_objective_t *ald_objective(ald_objective_kind_t kind)
{
    static const ald_objective_t *const rows[ALD_OBJECTIVE_COUNT] = {
        [ALD_OBJECTIVE_SFT] = &ald_objective_sft,
        [ALD_OBJECTIVE_DPO] = &ald_objective_dpo,
        [ALD_OBJECTIVE_DISTILL] = &ald_objective_distill,
    };
    return rows[kind];
}
