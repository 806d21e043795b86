/* What a distillation is made from: what its shards must say, and what its done.json says. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/digest.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"

ald_status_t ald_distill_expected(const ald_config_t *config, ald_shard_header_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *contrast = ald_contrast_directory(config);
    *out = (ald_shard_header_t){.encoding = ALD_ENCODING_ANY};
    strcpy(out->contrast, ald_choice_name(ALD_CHOICES_CONTRASTS, config->teacher.contrast));
    ALD_TRY(ald_hf_sha256_tokenizer(config->distill.policy, out->sha256_tokenizer));
    if (config->teacher.dpo[0] != '\0')
        ALD_TRY(ald_hf_sha256(config->teacher.dpo, out->sha256_dpo));
    if (contrast[0] != '\0')
        ALD_TRY(ald_hf_sha256(contrast, out->sha256_reverse));
    if (config->data.train[0] != '\0' && config->shards.sources.count == 0)
        ALD_TRY(ald_sha256_file(config->data.train, out->sha256_data));
done:
    return status;
}

ald_json_t *ald_distill_inputs(const ald_config_t *config)
{
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "policy", ald_json_new_string(config->distill.policy));
    ald_json_set(inputs, "dpo", ald_json_new_string(config->teacher.dpo));
    ald_json_set(inputs, "contrast", ald_json_new_string(ald_contrast_directory(config)));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "shards", ald_corpus_names(config));
    return inputs;
}
