/* Whether a stage's result is there as configured, for those who submit stages. Layer: pipeline. */
#ifndef ALD_PIPELINE_MADE_H
#define ALD_PIPELINE_MADE_H

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"

/* Appends to a text in a vec of bytes what there is of the result of a stage ("sft", "dpo",
 * "score", "distill", "eval"):
 *   "no", or "no: " and the inputs that aren't there, but for those below `output`, which other
 *   stages make
 *   "yes"
 *   "otherwise: " and up to three settings, and all inputs, that it was made from otherwise than
 *   the configuration would have it made now
 * The settings are those of done.json or of the record (run.json); inputs are read only where they
 * lie elsewhere or were changed since that run began. Inputs that aren't there any more, and a
 * result without a record, are taken as they are. USAGE for another stage, INPUT for what can't be
 * read. Local. */
ald_status_t ald_stage_made(const ald_config_t *config, const char *stage, ald_vec_t *out);

#endif
