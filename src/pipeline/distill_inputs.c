/* What a distillation is made from, for its done.json. It is here once, so that a run of a sweep
 * has the same as that run alone. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/config/config.h"
#include "ald/teacher/teacher.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"

ald_json_t *ald_distill_inputs(const ald_config_t *config)
{
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "policy", ald_json_new_string(config->distill.policy));
    ald_json_set(inputs, "dpo", ald_json_new_string(config->teacher.dpo));
    ald_json_set(inputs, "contrast",
                 ald_json_new_string(ald_contrast_directory(config, config->teacher.contrast)));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "shards", ald_corpus_names(config));
    return inputs;
}
