#include "ald/role/trainer.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/vocabulary.h"
#include "ald/par/comm.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"

ald_status_t ald_trainer_init(const ald_config_t *config, const ald_comm_t *trainers,
                              ald_trainer_t *out)
{
    *out = (ald_trainer_t){.config = config, .policy_step = -1};
    ald_teacher_init(config, &out->teacher);
    ald_vec_init(&out->alphas, sizeof(float));
    return ald_engine_init(config, trainers, "distill", config->distill.policy,
                           config->distill.output, &out->engine);
}

void ald_trainer_reset(ald_trainer_t *trainer)
{
    ald_trainer_ahead_end(trainer);
    for (int which = 0; which < 2; ++which) {
        ald_mapped_close(trainer->heads[which].mapped);
        ald_params_reset(&trainer->heads[which].params);
    }
    ald_vec_reset(&trainer->alphas);
    ald_arena_reset(&trainer->shared);
    ald_engine_reset(&trainer->engine);
    *trainer = (ald_trainer_t){0};
}

/* One teacher. Local. */
static ald_status_t load_head(ald_trainer_t *trainer, int which, const char *directory,
                              const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape = {0};
    ald_params_t *params = &trainer->heads[which].params;
    ald_mapped_t **mapped = &trainer->heads[which].mapped;
    ALD_CHECK(directory[0] != '\0', ALD_STATUS_USAGE,
              "%s: not set; shards of hidden states need the teachers' model directories", key);
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, params));
    ALD_TRY(ald_mapped_open(directory, params, mapped));
    trainer->heads[which].model = ald_mapped_model(*mapped, params);
done:
    return status;
}

/* The matrix of `directory` is the one that a model of the shard had. */
static ald_status_t check_head(const ald_trainer_t *trainer, int which, const char *directory,
                               const char *path, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = trainer->teacher.contrast;
    const ald_head_digest_t *ours = &trainer->heads[which].digest;
    const ald_head_digest_t *theirs =
        which == 0 ? &header->dpo.head : &header->contrasts[contrast].head;
    ALD_CHECK(theirs->sha256[0] == '\0' || strcmp(theirs->sha256, ours->sha256) == 0,
              ALD_STATUS_INPUT,
              "%s: /teacher/hidden_%s belongs to an output matrix with sha256 %s (%s), but "
              "that of %s is %s (%s)",
              path,
              which == 0                     ? "dpo"
              : contrast == header->contrast ? "reverse"
                                             : "reference",
              theirs->sha256, theirs->dtype, directory, ours->sha256, ours->dtype);
done:
    return status;
}

/* The matrices are those that the shards' hidden states belong to. Root only. */
static ald_status_t check_heads(const ald_trainer_t *trainer, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = trainer->teacher.contrast;
    const char *directories[] = {trainer->config->teacher.dpo,
                                 ald_contrast_directory(trainer->config, contrast)};
    for (int64_t i = 0; i < set->shard_count; ++i) {
        const ald_shard_header_t *header = ald_shard_header(set->shards[i]);
        for (int which = 0; which < 2; ++which) {
            const ald_model_config_t *shape = &trainer->heads[which].params.config;
            ALD_CHECK(
                header->hidden_size == shape->hidden_size &&
                    header->vocab_size <= shape->vocab_size,
                ALD_STATUS_INPUT,
                "%s: /teacher/hidden_dpo: hidden states of %lld for %lld tokens, which the output "
                "matrices of %s and %s don't have",
                set->paths[i], (long long)header->hidden_size, (long long)header->vocab_size,
                directories[0], directories[1]);
            ALD_TRY(check_head(trainer, which, directories[which], set->paths[i], header));
        }
    }
done:
    return status;
}

ald_status_t ald_trainer_heads(ald_trainer_t *trainer, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = trainer->config;
    const ald_contrast_t contrast = trainer->teacher.contrast;
    const ald_comm_t *comm = trainer->engine.comm;
    if (trainer->heads[1].mapped == NULL) {
        status = load_head(trainer, 0, config->teacher.dpo, "teacher.dpo");
        if (status == ALD_STATUS_OK)
            status = load_head(trainer, 1, ald_contrast_directory(config, contrast),
                               ald_contrast_key(contrast));
        ALD_TRY(ald_comm_agree(comm, status));
        for (int which = 0; which < 2 && comm->rank == 0; ++which)
            strcpy(trainer->heads[which].digest.dtype,
                   ald_mapped_head_sha256(trainer->heads[which].mapped,
                                          &trainer->heads[which].params,
                                          trainer->heads[which].digest.sha256));
    }
    ALD_TRY(ald_comm_agree(comm, comm->rank == 0 ? check_heads(trainer, set) : ALD_STATUS_OK));
done:
    return status;
}

ald_status_t ald_trainer_vocabulary(ald_trainer_t *trainer, const ald_shardset_t *set)
{
    if (trainer->vocabulary > 0)
        return ALD_STATUS_OK;
    return ald_vocabulary_common(
        trainer->config->distill.policy, trainer->engine.params.config.vocab_size, set->paths[0],
        ald_shard_header(set->shards[0])->vocab_size, &trainer->vocabulary);
}

ald_status_t ald_trainer_ahead_begin(ald_trainer_t *trainer, ald_shardset_t *set)
{
    return ald_readahead_open(set, &trainer->ahead);
}

void ald_trainer_ahead_end(ald_trainer_t *trainer)
{
    ald_readahead_close(trainer->ahead);
    trainer->ahead = NULL;
}

ald_status_t ald_trainer_share(const ald_trainer_t *trainer, const ald_shardset_t *set,
                               const int64_t *entries, int64_t count, int64_t *mine,
                               int64_t *mine_count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &trainer->engine;
    int64_t *tokens = ald_alloc(sizeof *tokens * (size_t)(2 * count + 1));
    ALD_CHECK_MEMORY(tokens, sizeof *tokens * (size_t)(2 * count + 1));
    int64_t *start = tokens + count;
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_entry_tokens(&set->entries[entries[i]]);
    const int64_t micros =
        ald_micro_split(tokens, count, engine->config->optimizer.micro_batch_tokens, start);
    *mine_count = 0;
    for (int64_t m = engine->comm->rank; m < micros; m += engine->comm->size)
        for (int64_t i = start[m]; i < start[m + 1]; ++i)
            mine[(*mine_count)++] = entries[i];
done:
    ald_free(tokens);
    return status;
}

ald_status_t ald_trainer_ahead_plan(ald_trainer_t *trainer, const ald_shardset_t *set,
                                    const int64_t *entries, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t mine_count, *mine = ald_alloc(sizeof *mine * (size_t)(count + 1));
    ALD_CHECK_MEMORY(mine, sizeof *mine * (size_t)(count + 1));
    ALD_TRY(ald_trainer_share(trainer, set, entries, count, mine, &mine_count));
    ALD_TRY(ald_readahead_plan(trainer->ahead, mine, mine_count));
done:
    ald_free(mine);
    return status;
}

/* Draws from the teacher know what it likes, which is all that the forward divergence asks. */
ald_status_t ald_trainer_fits(const ald_config_t *config, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_encoding_t encoding = ald_shard_header(set->shards[0])->encoding;
    ALD_CHECK(!ald_encoding_row(encoding)->draws ||
                  config->distill.divergence == ALD_DIVERGENCE_FORWARD,
              ALD_STATUS_USAGE,
              "distill.divergence: \"%s\" can't be estimated from %s, whose encoding is "
              "\"%s\"; expected \"forward\"",
              ald_choice_name(ALD_CHOICES_DIVERGENCES, config->distill.divergence), set->paths[0],
              ald_encoding_name(encoding));
done:
    return status;
}
