/* Private to pipeline: preference optimisation from the policy to the written model, for the stage
 * and for the folds of an audit. */
#ifndef ALD_PIPELINE_DPO_TRAINING_IMPL_H
#define ALD_PIPELINE_DPO_TRAINING_IMPL_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/par/comm.h"

/* Trains dpo.policy on the pairs of `given`, or with NULL on those of data.train, and writes the
 * model into dpo.output, which the caller has claimed: checkpoints, going on from them, and doing
 * nothing where it is finished included. `given` is named by its sha256. Collective. */
ald_status_t ald_dpo_train(const ald_config_t *config, const ald_comm_t *world,
                           const ald_dataset_t *given);

#endif
