/* The models of a scorer: pi_dpo and its contrasts, checked against each other. The header is
 * filled here once, so that every shard of a run says the same of them. */
#include "ald/role/scorer.h"

#include <string.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/par/comm.h"
#include "ald/role/frozen.h"
#include "ald/shard/format.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"

/* INPUT unless the contrast has the tokenizer of pi_dpo. *common becomes the tokens of both. */
static ald_status_t compare_contrast(ald_scorer_t *scorer, ald_contrast_t contrast, int64_t *common)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_encoding_t encoding = scorer->config->shards.encoding;
    const char *a = scorer->config->teacher.dpo;
    const char *b = ald_contrast_directory(scorer->config, contrast);
    const ald_model_config_t *dpo = &scorer->dpo.params.config;
    const ald_model_config_t *shape = &scorer->contrasts[contrast].params.config;
    ALD_CHECK(!ald_encoding_is_hidden(encoding) || dpo->hidden_size == shape->hidden_size,
              ALD_STATUS_INPUT,
              "%s/config.json: hidden_size %lld, but the teacher %s has %lld; "
              "expected the same for shards.encoding = \"%s\"",
              b, (long long)shape->hidden_size, a, (long long)dpo->hidden_size,
              ald_encoding_name(encoding));
    ALD_TRY(ald_frozen_compare(a, &scorer->dpo, b, &scorer->contrasts[contrast], common));
done:
    return status;
}

/* USAGE unless shards.with_reference can be done with these settings. */
static ald_status_t check_reference(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(config->teacher.contrast == ALD_CONTRAST_REVERSE, ALD_STATUS_USAGE,
              "shards.with_reference: expected teacher.contrast = \"reverse\", beside which the "
              "reference is stored");
    ALD_CHECK(!ald_encoding_row(config->shards.encoding)->draws, ALD_STATUS_USAGE,
              "shards.with_reference: can't be had with shards.encoding = \"%s\", whose draws "
              "follow one contrast",
              ald_encoding_name(config->shards.encoding));
done:
    return status;
}

/* Whether that contrast is scored. */
static bool is_scored(const ald_config_t *config, ald_contrast_t contrast)
{
    return contrast == config->teacher.contrast ||
           (contrast == ALD_CONTRAST_REFERENCE && config->shards.with_reference);
}

/* Writes the date of the newest file that the shards are made from. With that in place of today,
 * equal work gives equal shards, however often and whenever it is done. */
static ald_status_t date_of_inputs(const ald_config_t *config, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t newest = 0, modified;
    const char *const inputs[] = {config->teacher.dpo,
                                  ald_contrast_directory(config, config->teacher.contrast),
                                  config->data.train, config->teacher.reference};
    for (int i = 0; i < 3 + config->shards.with_reference; ++i) {
        ALD_TRY(ald_path_modified(inputs[i], ".safetensors", &modified));
        newest = modified > newest ? modified : newest;
    }
    time_t seconds = (time_t)newest;
    strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
done:
    return status;
}

static ald_shard_model_t shard_model(const ald_frozen_t *frozen)
{
    ald_shard_model_t out = {.head = frozen->head};
    strcpy(out.sha256, frozen->sha256);
    return out;
}

static ald_status_t fill_header(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t *h = &scorer->header;
    const ald_config_t *config = scorer->config;
    const ald_model_config_t *shape = &scorer->dpo.params.config;
    ALD_TRY(ald_config_print_content(config, &scorer->config_text));
    h->hidden_size = shape->hidden_size;
    ald_shard_take_settings(config, h);
    ALD_CHECK(h->top_k <= ALD_TOP_K_MOST, ALD_STATUS_USAGE,
              "shards.top_k: expected at most %d, found %lld; \"hidden\" takes less",
              ALD_TOP_K_MOST, (long long)config->shards.top_k);
    h->policy_step = -1;
    h->seed = config->seed;
    h->config = scorer->config_text;
    h->gzip = config->shards.compression == ALD_COMPRESSION_GZIP;
    h->contrast = config->teacher.contrast;
    h->dpo = shard_model(&scorer->dpo);
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (is_scored(config, c))
            h->contrasts[c] = shard_model(&scorer->contrasts[c]);
    strcpy(h->tool_version, ALD_VERSION);
    ALD_TRY(date_of_inputs(config, h->created, sizeof h->created));
done:
    return status;
}

/* INPUT unless all scored models fit each other. Scores are over the tokens that all of them have.
 */
static ald_status_t compare_models(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t common = 0;
    ALD_TRY(ald_hf_sha256_tokenizer(scorer->config->teacher.dpo, scorer->header.sha256_tokenizer));
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (is_scored(scorer->config, c))
            ALD_TRY(compare_contrast(scorer, c, &common));
    scorer->header.vocab_size = scorer->dpo.model.vocabulary = common;
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        scorer->contrasts[c].model.vocabulary = common;
done:
    return status;
}

/* Fills in the digests by which shards know a model. Collective. */
static ald_status_t digest_model(const ald_comm_t *comm, const char *directory, bool head,
                                 ald_frozen_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_frozen_digest(comm, directory, out));
    if (head)
        ALD_TRY(ald_frozen_digest_head(comm, out));
done:
    return status;
}

/* Digests read all weights, so they wait until all models are known to fit. */
ald_status_t ald_scorer_init(const ald_config_t *config, const ald_comm_t *comm, ald_scorer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool head = ald_encoding_is_hidden(config->shards.encoding);
    *out = (ald_scorer_t){.config = config};
    if (config->shards.with_reference)
        ALD_TRY(check_reference(config));
    ALD_TRY(ald_frozen_load(comm, config->teacher.dpo, "teacher.dpo", &out->dpo));
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (is_scored(config, c))
            ALD_TRY(ald_frozen_load(comm, ald_contrast_directory(config, c), ald_contrast_key(c),
                                    &out->contrasts[c]));
    ALD_TRY(ald_comm_agree(comm, compare_models(out)));
    ALD_TRY(digest_model(comm, config->teacher.dpo, head, &out->dpo));
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (is_scored(config, c))
            ALD_TRY(
                digest_model(comm, ald_contrast_directory(config, c), head, &out->contrasts[c]));
    ALD_TRY(ald_comm_agree(comm, fill_header(out)));
done:
    return status;
}

void ald_scorer_reset(ald_scorer_t *scorer)
{
    ald_frozen_reset(&scorer->dpo);
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        ald_frozen_reset(&scorer->contrasts[c]);
    ald_free(scorer->config_text);
    ald_arena_reset(&scorer->arena);
    *scorer = (ald_scorer_t){0};
}
