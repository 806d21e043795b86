/* What a distillation is made from, follows from, and claims. It is here once, so that a run of a
 * sweep has the same as that run alone. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/teacher/teacher.h"
#include "pipeline/claim_impl.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/recipe_impl.h"

ald_status_t ald_distill_claim(const ald_comm_t *world, const ald_config_t *config, bool shards)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_named_t inputs[] = {{"distill.policy", config->distill.policy},
                                  {"teacher.dpo", config->teacher.dpo},
                                  {"teacher.reverse", config->teacher.reverse},
                                  {"teacher.reference", config->teacher.reference},
                                  {NULL, NULL}};
    const ald_named_t outputs[] = {{"distill.output", config->distill.output},
                                   {"shards.directory", config->shards.directory}};
    for (int i = 0; i < 1 + shards; ++i)
        ALD_TRY(ald_claim(world, "distill", outputs[i], false, inputs));
done:
    return status;
}

ald_status_t ald_distill_recipe(const ald_comm_t *trainers, const ald_config_t *config,
                                const ald_corpus_t *corpus, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = config->teacher.contrast;
    const ald_named_t models[] = {{"distill.policy", config->distill.policy},
                                  {"teacher.dpo", corpus == NULL ? config->teacher.dpo : ""},
                                  {ald_contrast_key(contrast),
                                   corpus == NULL ? ald_contrast_directory(config, contrast) : ""},
                                  {NULL, NULL}};
    char hex[ALD_SHA256_HEX];
    ALD_TRY(ald_recipe(trainers, config, corpus == NULL ? "on-policy" : "off-policy", models, out));
    if (corpus != NULL && *out != NULL) {
        ald_corpus_sha256(corpus, hex);
        ald_json_set(*out, "shards", ald_json_new_string(hex));
    }
done:
    return status;
}

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
