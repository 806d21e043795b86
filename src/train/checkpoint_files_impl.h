/* The files of a checkpoint: each trainer writes its share, root makes one folder of all.
 *
 * Under step-NNNNNN.tmp/ rank r > 0 writes into share-r/, and at last share-r/files.json with the
 * sha256 of what it has written: a share is whole when that is there. Root writes its own beside,
 * waits for the others', moves them up, writes state.json and gives the folder its name. No step of
 * that needs MPI, so that threads can do it. Layer: train. */
#ifndef ALD_TRAIN_CHECKPOINT_FILES_IMPL_H
#define ALD_TRAIN_CHECKPOINT_FILES_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/model/hf_save.h"
#include "ald/train/engine.h"

/* What a trainer writes of a step: its share of the weights and of both moments, in the engine or
 * in a copy. */
typedef struct {
    ald_engine_t engine; /* as it was; none of its arrays is read */
    ald_hf_share_t share;
    float *values; /* [share.count] */
    float *m, *v;  /* [optimizer.count] */
} ald_saved_t;

/* Root, before all others: makes the temporary folders, without what a killed run has left there.
 */
ald_status_t ald_saved_prepare(const ald_engine_t *engine);
/* Writes this trainer's share. Local. */
ald_status_t ald_saved_write(const ald_saved_t *saved);
/* Root, once its share is written: waits for those of the others, up to runtime.deadline, or a few
 * seconds from when *abandoned is true, and publishes; then removes all checkpoints but the newest
 * keep_last. */
ald_status_t ald_saved_publish(const ald_saved_t *saved, const atomic_bool *abandoned);
/* Root, after a failure, whose message stays: removes what there is of it. */
void ald_saved_discard(const ald_engine_t *engine);

#endif
