/* Private to objective: the rows of the table of objectives, each in a file. */
#ifndef ALD_OBJECTIVE_OBJECTIVE_IMPL_H
#define ALD_OBJECTIVE_OBJECTIVE_IMPL_H

#include "ald/train/loop.h"

extern const ald_objective_t ald_objective_sft, ald_objective_dpo, ald_objective_distill;

#endif
