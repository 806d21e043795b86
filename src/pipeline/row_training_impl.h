/* Private to pipeline: training on the rows of a data file, for the stages that do. */
#ifndef ALD_PIPELINE_ROW_TRAINING_IMPL_H
#define ALD_PIPELINE_ROW_TRAINING_IMPL_H

#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/plan/memory.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "pipeline/claim_impl.h"

/* Takes all steps of one run over the rows; says before what memory they will take, with `beside`
 * for a frozen model that the objective runs, else NULL. After
 * ald_rows_finished. Collective over the engine's trainers. */
ald_status_t ald_train_on_rows(ald_engine_t *engine, const ald_objective_t *objective, void *state,
                               const ald_dataset_t *data, const ald_beside_plan_t *beside);
/* Gives the engine its recipe, of the data and the models that the result follows from
 * (ald_recipe), and looks whether the run is finished (ald_engine_finished). Collective over the
 * trainers. */
ald_status_t ald_rows_finished(ald_engine_t *engine, const ald_dataset_t *data,
                               const ald_named_t *models, bool *out);

#endif
