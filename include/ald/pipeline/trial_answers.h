/* How long a model's answers are: some of them, sampled for a plan. Layer: pipeline. */
#ifndef ALD_PIPELINE_TRIAL_ANSWERS_H
#define ALD_PIPELINE_TRIAL_ANSWERS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"

typedef struct {
    const char *key, *model; /* the setting and its directory, the configuration's; NULL: there are
                                no answers */
    int64_t count;
    double tokens, text; /* means: tokens, the one that ends an answer included; bytes of UTF-8 */
} ald_trial_answers_t;

/* Answers to the first rows of data.eval, else of data.train, by sampling.*, as `eval` samples
 * them. The model is the first of eval.model, distill.policy, dpo.policy and sft.model that is
 * there. INPUT for a model or rows that can't be read. Local. */
ald_status_t ald_trial_answers(const ald_config_t *config, ald_trial_answers_t *out);

#endif
