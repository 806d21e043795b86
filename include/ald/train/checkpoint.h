/* Checkpoints: checkpoints/step-NNNNNN/ with a model directory, optimizer.h5 (moments) and
 * state.json (step, recipe, sha256 of the files). Any number of trainers resumes any of them.
 * Layer: train. */
#ifndef ALD_TRAIN_CHECKPOINT_H
#define ALD_TRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/train/engine.h"

/* Writes the checkpoint of engine->step atomically, then removes all but the newest keep_last.
 * Collective over the trainers. */
ald_status_t ald_checkpoint_write(ald_engine_t *engine);
/* The same from a copy, by a thread of root, while training goes on; written at once where the
 * node has no memory for the copy beside what it may need else. A process writes one at a time: the
 * next one waits for it. Collective over the trainers. */
ald_status_t ald_checkpoint_begin(ald_engine_t *engine);
/* Whether a thread of this process writes a checkpoint, of whatever engine. Local. */
bool ald_checkpoint_pending(void);
/* The failure of a thread that has ended; OK when none has, or it is done. Waits for the thread
 * where `wait` says so. Local; all trainers must agree on the status after. */
ald_status_t ald_checkpoint_settle(bool wait);
/* Waits for a thread that writes of this engine, which is to be reset, whatever comes of it. Local.
 */
void ald_checkpoint_forget(const ald_engine_t *engine);
/* The newest checkpoint's step in the engine's output, 0 for none. Local. */
int64_t ald_checkpoint_newest(const ald_engine_t *engine);
/* The same of those whose files are the ones that were written, by their sha256. Newer ones that
 * are damaged are said and renamed to step-NNNNNN.damaged; INPUT when no other is there. Local. */
ald_status_t ald_checkpoint_whole(const ald_engine_t *engine, int64_t *step);
/* Loads parameters, moments and step. Collective over the trainers. */
ald_status_t ald_checkpoint_read(ald_engine_t *engine, int64_t step);

#endif
