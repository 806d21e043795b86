/* Checkpoints: checkpoints/step-NNNNNN/ with a model directory, optimizer.h5 (moments) and
 * state.json (step, recipe, sha256 of the files). Any number of trainers resumes any of them.
 * Layer: train. */
#ifndef ALD_TRAIN_CHECKPOINT_H
#define ALD_TRAIN_CHECKPOINT_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/train/engine.h"

/* The newest checkpoint's step in the engine's output, 0 for none. Local. */
int64_t ald_checkpoint_newest(const ald_engine_t *engine);
/* The same of those whose files are the ones that were written, by their sha256. Newer ones that
 * are damaged are said and renamed to step-NNNNNN.damaged; INPUT when no other is there. Local. */
ald_status_t ald_checkpoint_whole(const ald_engine_t *engine, int64_t *step);
/* Loads parameters, step, and of the moments each trainer its own. Collective over the trainers. */
ald_status_t ald_checkpoint_read(ald_engine_t *engine, int64_t step);

#endif
