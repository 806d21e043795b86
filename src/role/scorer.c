#include "ald/role/scorer.h"

#include <string.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/model/vocabulary.h"
#include "ald/par/comm.h"
#include "ald/role/frozen.h"
#include "ald/shard/format.h"

const char *ald_contrast_directory(const ald_config_t *config)
{
    return config->teacher.contrast == ALD_CONTRAST_REFERENCE ? config->teacher.reference
                                                              : config->teacher.reverse;
}

/* The two teachers must speak of the same tokens. */
static ald_status_t compare_teachers(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *a = scorer->config->teacher.dpo, *b = ald_contrast_directory(scorer->config);
    const ald_model_config_t *first = &scorer->dpo.params.config;
    const ald_model_config_t *second = &scorer->contrast.params.config;
    char other[ALD_SHA256_HEX];
    ALD_CHECK(!ald_encoding_is_hidden(scorer->config->shards.encoding) ||
                  first->hidden_size == second->hidden_size,
              ALD_STATUS_INPUT,
              "%s/config.json: hidden_size %lld, but the teacher %s has %lld; "
              "expected the same for shards.encoding = \"%s\"",
              b, (long long)second->hidden_size, a, (long long)first->hidden_size,
              ald_encoding_name(scorer->config->shards.encoding));
    ALD_TRY(ald_hf_sha256_tokenizer(a, scorer->header.sha256_tokenizer));
    ALD_TRY(ald_hf_sha256_tokenizer(b, other));
    ALD_CHECK(strcmp(other, scorer->header.sha256_tokenizer) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of the teacher %s; expected the same tokenizer",
              b, a);
    ALD_TRY(ald_vocabulary_common(a, first->vocab_size, b, second->vocab_size,
                                  &scorer->header.vocab_size));
    scorer->dpo.model.vocabulary = scorer->contrast.model.vocabulary = scorer->header.vocab_size;
done:
    return status;
}

/* The reference must fit the other two as they do each other. */
static ald_status_t compare_reference(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *a = scorer->config->teacher.dpo, *b = scorer->config->teacher.reference;
    const ald_model_config_t *first = &scorer->dpo.params.config;
    const ald_model_config_t *third = &scorer->reference.params.config;
    char other[ALD_SHA256_HEX];
    int64_t common;
    ALD_CHECK(!ald_encoding_is_hidden(scorer->config->shards.encoding) ||
                  first->hidden_size == third->hidden_size,
              ALD_STATUS_INPUT,
              "%s/config.json: hidden_size %lld, but the teacher %s has %lld; expected the same", b,
              (long long)third->hidden_size, a, (long long)first->hidden_size);
    ALD_TRY(ald_hf_sha256_tokenizer(b, other));
    ALD_CHECK(strcmp(other, scorer->header.sha256_tokenizer) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of the teacher %s; expected the same tokenizer",
              b, a);
    ALD_TRY(ald_vocabulary_common(a, scorer->header.vocab_size, b, third->vocab_size, &common));
    scorer->header.vocab_size = common;
    scorer->dpo.model.vocabulary = scorer->contrast.model.vocabulary = common;
    scorer->reference.model.vocabulary = common;
done:
    return status;
}

/* shards.with_reference can be done. */
static ald_status_t check_reference(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(config->teacher.contrast == ALD_CONTRAST_REVERSE, ALD_STATUS_USAGE,
              "shards.with_reference: expected teacher.contrast = \"reverse\", beside which the "
              "reference is stored");
    ALD_CHECK(config->shards.encoding != ALD_ENCODING_SAMPLED, ALD_STATUS_USAGE,
              "shards.with_reference: can't be had with shards.encoding = \"sampled\", whose draws "
              "follow one contrast");
done:
    return status;
}

/* Collective. */
static ald_status_t load_reference(ald_scorer_t *scorer, const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *directory = scorer->config->teacher.reference;
    ALD_TRY(check_reference(scorer->config));
    ALD_TRY(ald_frozen_load(comm, directory, "teacher.reference", &scorer->reference));
    ALD_TRY(ald_comm_agree(comm, compare_reference(scorer)));
    ALD_TRY(ald_frozen_digest(comm, directory, &scorer->reference));
    strcpy(scorer->header.sha256_reference, scorer->reference.sha256);
    if (ald_encoding_is_hidden(scorer->config->shards.encoding)) {
        ald_frozen_digest_head(comm, &scorer->reference);
        scorer->header.head_reference = scorer->reference.head;
    }
done:
    return status;
}

/* When the newest file that shards are made from was written: equal work gives equal shards,
 * however often and whenever it is done. */
static ald_status_t date_of_inputs(const ald_config_t *config, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t newest = 0, modified;
    const char *const inputs[] = {config->teacher.dpo, ald_contrast_directory(config),
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

static ald_status_t fill_header(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t *h = &scorer->header;
    const ald_config_t *config = scorer->config;
    const ald_model_config_t *shape = &scorer->dpo.params.config;
    ALD_TRY(ald_config_print_content(config, &scorer->config_text));
    h->encoding = config->shards.encoding;
    h->hidden_size = shape->hidden_size;
    h->top_k = 0;
    if (ald_encoding_has_k(h->encoding))
        h->top_k = config->shards.top_k < h->vocab_size ? config->shards.top_k : h->vocab_size;
    ALD_CHECK(h->top_k <= ALD_TOP_K_MOST, ALD_STATUS_USAGE,
              "shards.top_k: expected at most %d, found %lld; \"hidden\" takes less",
              ALD_TOP_K_MOST, (long long)config->shards.top_k);
    h->full16 = h->encoding == ALD_ENCODING_FULL && config->shards.full_dtype == ALD_FULL_DTYPE_F16;
    h->certified = h->encoding == ALD_ENCODING_TOPK;
    h->policy_step = -1;
    h->seed = config->seed;
    h->config = scorer->config_text;
    h->gzip = config->shards.compression == ALD_COMPRESSION_GZIP;
    strcpy(h->contrast, ald_choice_name(ALD_CHOICES_CONTRASTS, config->teacher.contrast));
    strcpy(h->sha256_dpo, scorer->dpo.sha256);
    strcpy(h->sha256_reverse, scorer->contrast.sha256);
    strcpy(h->tool_version, ALD_VERSION);
    ALD_TRY(date_of_inputs(config, h->created, sizeof h->created));
done:
    return status;
}

ald_status_t ald_scorer_init(const ald_config_t *config, const ald_comm_t *comm, ald_scorer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_scorer_t){.config = config};
    bool reference = config->teacher.contrast == ALD_CONTRAST_REFERENCE;
    ALD_TRY(ald_frozen_load(comm, config->teacher.dpo, "teacher.dpo", &out->dpo));
    ALD_TRY(ald_frozen_load(comm, ald_contrast_directory(config),
                            reference ? "teacher.reference" : "teacher.reverse", &out->contrast));
    ALD_TRY(ald_comm_agree(comm, compare_teachers(out)));
    if (config->shards.with_reference)
        ALD_TRY(load_reference(out, comm));
    ALD_TRY(ald_frozen_digest(comm, config->teacher.dpo, &out->dpo));
    ALD_TRY(ald_frozen_digest(comm, ald_contrast_directory(config), &out->contrast));
    ALD_TRY(ald_comm_agree(comm, fill_header(out)));
    if (ald_encoding_is_hidden(out->header.encoding)) {
        ald_frozen_digest_head(comm, &out->dpo);
        ald_frozen_digest_head(comm, &out->contrast);
        out->header.head_dpo = out->dpo.head;
        out->header.head_reverse = out->contrast.head;
    }
done:
    return status;
}

void ald_scorer_reset(ald_scorer_t *scorer)
{
    ald_frozen_reset(&scorer->dpo);
    ald_frozen_reset(&scorer->contrast);
    ald_frozen_reset(&scorer->reference);
    ald_free(scorer->config_text);
    ald_arena_reset(&scorer->arena);
    *scorer = (ald_scorer_t){0};
}
