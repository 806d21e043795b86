/* Checkpoints: written. By all trainers: each writes the moments that it has and its share of the
 * weights' files, root the rest. With several trainers optimizer.h5 joins their files
 * optimizer-NNNNN-of-NNNNN.h5, and is read like the one of one trainer. Layer: train. */
#ifndef ALD_TRAIN_CHECKPOINT_WRITE_H
#define ALD_TRAIN_CHECKPOINT_WRITE_H

#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"
#include "ald/train/engine.h"

/* Writes the checkpoint of engine->step atomically, then removes all but the newest keep_last.
 * Collective over the trainers. */
ald_status_t ald_checkpoint_write(ald_engine_t *engine);
/* The same from copies, by a thread of each trainer, while training goes on; written at once where
 * a node has no memory for the copy beside what it may need else. A process writes one at a time:
 * the next one waits for it. Collective over the trainers. */
ald_status_t ald_checkpoint_begin(ald_engine_t *engine);
/* Whether a thread of this process writes a checkpoint, of whatever engine: on root until it is
 * published. Local. */
bool ald_checkpoint_pending(void);
/* The failure of this trainer's thread where it has ended; OK when none has, or it is done. Local;
 * all trainers must agree on the status after. */
ald_status_t ald_checkpoint_look(void);
/* Waits until the checkpoint that is being written, if any, is published. The same status on all.
 * Collective over the trainers. */
ald_status_t ald_checkpoint_settle(const ald_comm_t *trainers);
/* Waits for a thread that writes of this engine, which is to be reset, whatever comes of it. Local.
 */
void ald_checkpoint_forget(const ald_engine_t *engine);

#endif
