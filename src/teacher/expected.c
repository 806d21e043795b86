/* What shards must have for a configuration. Everything that a shard depends on is in it by
 * content, so digests are compared here and never names. */
#include "ald/teacher/expected.h"

#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/digest.h"
#include "ald/shard/format.h"
#include "ald/teacher/teacher.h"

ald_status_t ald_teacher_expected(const ald_config_t *config, ald_shard_header_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = config->teacher.contrast;
    const char *directory = ald_contrast_directory(config, contrast);
    *out = (ald_shard_header_t){.encoding = ALD_ENCODING_ANY, .contrast = contrast};
    ALD_TRY(ald_hf_sha256_tokenizer(config->distill.policy, out->sha256_tokenizer));
    if (config->teacher.dpo[0] != '\0')
        ALD_TRY(ald_hf_sha256(config->teacher.dpo, out->dpo.sha256));
    if (directory[0] != '\0')
        ALD_TRY(ald_hf_sha256(directory, out->contrasts[contrast].sha256));
    if (config->data.train[0] != '\0' && config->shards.sources.count == 0)
        ALD_TRY(ald_sha256_file(config->data.train, out->sha256_data));
done:
    return status;
}
