/* The stage `distill`: splits the ranks into roles and loads what each one holds; training itself
 * is in role/loop.c and off_policy.c. All loading is here, since both ways begin and end alike. */
#include "ald/pipeline/stage_distill.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/model/vocabulary.h"
#include "ald/objective/distill.h"
#include "ald/objective/guard.h"
#include "ald/objective/policy_gradient.h"
#include "ald/par/comm.h"
#include "ald/role/loop.h"
#include "ald/role/roles.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/expected.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/positions_impl.h"

static bool on_policy(const ald_config_t *config)
{
    return config->distill.mode != ALD_MODE_OFF_POLICY;
}

/* INPUT unless the policy has the teacher's tokenizer. */
static ald_status_t compare_with_policy(const ald_roles_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = d->config;
    ald_model_config_t shape;
    char hex[ALD_SHA256_HEX];
    int64_t common;
    ALD_TRY(ald_model_config_read(config->distill.policy, &shape));
    ALD_TRY(ald_hf_sha256_tokenizer(config->distill.policy, hex));
    ALD_CHECK(strcmp(hex, d->scorer.header.sha256_tokenizer) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from the policy's, %s; expected the same tokenizer",
              config->teacher.dpo, config->distill.policy);
    ALD_TRY(ald_vocabulary_common(config->distill.policy, shape.vocab_size, config->teacher.dpo,
                                  d->scorer.dpo.params.config.vocab_size, &common));
done:
    return status;
}

static ald_status_t policy_vocab_size(const ald_config_t *config, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(config->distill.policy, &shape));
    *out = shape.vocab_size;
done:
    return status;
}

static ald_status_t open_data(ald_roles_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = d->config;
    static const ald_pairs_need_t needs[] = {[ALD_RESPONSES_CHOSEN] = ALD_PAIRS_CHOSEN,
                                             [ALD_RESPONSES_REJECTED] = ALD_PAIRS_REJECTED,
                                             [ALD_RESPONSES_BOTH] =
                                                 ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED};
    ald_pairs_need_t need = ALD_PAIRS_SCORED;
    int64_t vocab_size = 0;
    if (config->distill.mode == ALD_MODE_ON_POLICY)
        need = ALD_PAIRS_PROMPT;
    else if (config->distill.mode == ALD_MODE_MIXED)
        need = config->shards.sources.count > 0 ? ALD_PAIRS_PROMPT : needs[config->data.responses];
    ALD_TRY(ald_comm_agree(d->world, policy_vocab_size(config, &vocab_size)));
    ALD_TRY(ald_data_open(d->world, config, config->distill.policy, vocab_size, config->data.train,
                          "data.train", need, &d->data));
    const char *const models[] = {config->distill.policy, config->teacher.dpo,
                                  ald_contrast_directory(config, config->teacher.contrast)};
    ald_positions_warn(models, 3,
                       ald_longest_row(&d->data, d->data.pairs.count,
                                       on_policy(config) ? config->sampling.max_new_tokens : 0));
done:
    return status;
}

/* Splits the world and loads what each role holds. */
static ald_status_t distill_init(ald_roles_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = d->config;
    const int64_t sources = config->shards.sources.count;
    bool scoring = on_policy(config) || (config->data.train[0] != '\0' && sources == 0);
    ALD_CHECK(config->distill.policy[0] != '\0', ALD_STATUS_USAGE,
              "distill.policy: not set; expected a model directory");
    ALD_CHECK(
        config->distill.mode != ALD_MODE_ON_POLICY || sources == 0, ALD_STATUS_USAGE,
        "shards.sources: expected none with distill.mode = \"%s\", which makes its own shards",
        ald_choice_name(ALD_CHOICES_MODES, config->distill.mode));
    ALD_TRY(ald_policy_gradient_check(config));
    ALD_TRY(ald_guard_check(config));
    ALD_TRY(ald_teacher_check(config));
    ALD_CHECK(!scoring || config->distill.signal != ALD_SIGNAL_DISTRIBUTION ||
                  !ald_encoding_row(config->shards.encoding)->draws ||
                  config->distill.divergence == ALD_DIVERGENCE_FORWARD,
              ALD_STATUS_USAGE,
              "distill.divergence: \"%s\" can't be estimated from shards.encoding = \"%s\"; "
              "expected \"forward\"",
              ald_choice_name(ALD_CHOICES_DIVERGENCES, config->distill.divergence),
              ald_encoding_name(config->shards.encoding));
    ALD_TRY(ald_distill_claim(d->world, config, on_policy(config)));
    ALD_TRY(ald_roles_split(scoring, on_policy(config), d));
    ald_log_info("distill: %s, %d trainers, %d scorers, %d generators",
                 ald_choice_name(ALD_CHOICES_MODES, config->distill.mode), d->place.trainers.count,
                 scoring ? d->place.scorers.count : 0,
                 on_policy(config) ? d->place.generators.count : 0);
    if (config->distill.signal != ALD_SIGNAL_DISTRIBUTION)
        ald_log_info("distill: policy gradients by distill.signal = \"%s\" have no use for "
                     "teacher.temperature and plausibility%s",
                     ald_choice_name(ALD_CHOICES_SIGNALS, config->distill.signal),
                     config->distill.penalty == ALD_PENALTY_BETA
                         ? ""
                         : ", nor for extrapolation, strength and epsilon");
    if (scoring)
        ALD_TRY(open_data(d));
    if (d->scores)
        status = ald_scorer_init(config, &d->scorers, &d->scorer);
    if (d->scores && status == ALD_STATUS_OK)
        status = compare_with_policy(d);
    ALD_TRY(ald_comm_agree(d->world, status));
    if (d->trains)
        status = ald_engine_init(config, &d->trainers, "distill", config->distill.policy,
                                 config->distill.output, &d->engine);
    if (d->trains)
        ald_distiller_init(&d->engine, &d->distiller);
    ALD_TRY(ald_comm_agree(d->world, status));
done:
    return status;
}

/* INPUT unless a scorer can write all kept sequences into its own shards. */
static ald_status_t check_kept(const ald_shardset_t *kept, const ald_shard_header_t *own)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < kept->shard_count; ++i) {
        const ald_shard_header_t *header = ald_shard_header(kept->shards[i]);
        ALD_TRY(ald_shard_fits_first(kept->paths[i], header, "this run", own));
        ALD_CHECK(header->certified == own->certified, ALD_STATUS_INPUT,
                  "%s: an earlier version made it, without the bounds of \"topk\": score it again",
                  kept->paths[i]);
    }
done:
    return status;
}

/* Opens the shards that a mixed run takes its off-policy items from. Collective over the world. */
static ald_status_t open_kept(ald_roles_t *d, ald_corpus_t *kept, ald_mix_t *mix)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t expected;
    if (!on_policy(d->config) || d->config->shards.sources.count == 0)
        return status;
    status = ald_teacher_expected(d->config, &expected);
    if (status == ALD_STATUS_OK)
        status = ald_corpus_open(d->config, &expected, kept);
    if (status == ALD_STATUS_OK && d->scores)
        status = check_kept(&kept->set, &d->scorer.header);
    if (status == ALD_STATUS_OK)
        status = ald_corpus_mix(kept, d->config, mix);
    ALD_TRY(ald_comm_agree(d->world, status));
    ald_corpus_report(kept);
    d->kept = &kept->set;
    d->mix = mix;
done:
    return status;
}

/* Gives the trainers the recipe of an on-policy run, and looks whether that is finished. */
static ald_status_t look_at_run(ald_roles_t *d, const ald_corpus_t *kept)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *recipe = NULL;
    if (d->trains)
        status = ald_distill_recipe(&d->trainers, d->config, NULL, &recipe);
    if (recipe != NULL)
        ald_json_set(recipe, "data.train", ald_json_new_string(d->data.pairs.sha256));
    if (recipe != NULL && d->kept != NULL) {
        char hex[ALD_SHA256_HEX];
        ald_corpus_sha256(kept, hex);
        ald_json_set(recipe, "shards", ald_json_new_string(hex));
    }
    if (d->trains && status == ALD_STATUS_OK)
        status = ald_engine_finished(&d->engine, recipe, &d->finished);
    ALD_TRY(ald_comm_agree(d->world, status));
    MPI_Allreduce(MPI_IN_PLACE, &d->finished, 1, MPI_C_BOOL, MPI_LOR, d->world->mpi);
done:
    return status;
}

static ald_status_t distill_finish(ald_roles_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    if (d->trains && !d->finished) {
        ald_json_t *inputs = ald_distill_inputs(d->config);
        if (d->kept != NULL)
            ald_json_set(inputs, "sources", ald_corpus_names(d->config));
        if (d->data.pairs.count > 0)
            ald_json_set(inputs, "sha256_data", ald_json_new_string(d->data.pairs.sha256));
        status = ald_engine_finish(&d->engine, inputs);
    }
    return ald_comm_agree(d->world, status);
}

ald_status_t ald_stage_distill(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_roles_t d;
    ald_corpus_t kept = {0};
    ald_mix_t mix = {0};
    ald_roles_init(config, world, &d);
    ALD_TRY(distill_init(&d));
    ALD_TRY(open_kept(&d, &kept, &mix));
    if (on_policy(config))
        ALD_TRY(look_at_run(&d, &kept));
    if (!on_policy(config))
        ALD_TRY(ald_distill_off_policy(&d));
    else if (!d.finished)
        ALD_TRY(ald_roles_run(&d, ald_distill_memory_on_policy));
    ALD_TRY(distill_finish(&d));
done:
    ald_roles_reset(&d);
    ald_mix_reset(&mix);
    ald_corpus_reset(&kept);
    return status;
}
