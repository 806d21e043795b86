/* Supervised fine-tuning's loss. Layer: objective. */
#ifndef ALD_OBJECTIVE_SFT_H
#define ALD_OBJECTIVE_SFT_H

#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/train/engine.h"

/* Forward, cross-entropy and backward of one packed micro-batch: adds the gradient of
 * -weight sum_r log softmax(z_r)[target_r] to engine->optimizer.gradient. *loss becomes the
 * unweighted sum in nats. Scratch comes from engine->arena, which the caller releases. Local. */
ald_status_t ald_sft_gradient(ald_engine_t *engine, const ald_packed_t *packed, float weight,
                              double *loss);

#endif
