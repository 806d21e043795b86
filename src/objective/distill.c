/* Distillation: its state, and what a step needs before its first micro-batch. All that it
 * knows of a teacher is in shards, so those of last month and of a second ago are learnt from
 * alike.
 */
#include "ald/objective/distill.h"

#include <string.h>

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
#include "ald/objective/guard.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "objective/distill_impl.h"
#include "objective/objective_impl.h"

void ald_distiller_init(ald_engine_t *engine, ald_distiller_t *out)
{
    *out = (ald_distiller_t){.config = engine->config, .engine = engine, .policy_step = -1};
    ald_teacher_init(engine->config, &out->teacher);
    ald_vec_init(&out->alphas, sizeof(float));
    ald_vec_init(&out->tvds, sizeof(float));
    ald_vec_init(&out->choices, sizeof(double));
    ald_vec_init(&out->returns, sizeof(double));
}

void ald_distiller_reset(ald_distiller_t *distiller)
{
    for (int which = 0; which < 2; ++which) {
        ald_mapped_close(distiller->heads[which].mapped);
        ald_params_reset(&distiller->heads[which].params);
    }
    ald_vec_reset(&distiller->alphas);
    ald_vec_reset(&distiller->tvds);
    ald_vec_reset(&distiller->choices);
    ald_vec_reset(&distiller->returns);
    *distiller = (ald_distiller_t){0};
}

/* Maps one of both models for its output matrix. Local. */
static ald_status_t load_head(ald_distiller_t *d, int which, const char *directory, const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape = {0};
    ald_params_t *params = &d->heads[which].params;
    ald_mapped_t **mapped = &d->heads[which].mapped;
    ALD_CHECK(directory[0] != '\0', ALD_STATUS_USAGE,
              "%s: not set; shards of hidden states need the teachers' model directories", key);
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, params));
    ALD_TRY(ald_mapped_open(directory, params, mapped));
    d->heads[which].model = ald_mapped_model(*mapped, params);
done:
    return status;
}

/* INPUT unless the output matrix of `directory` is the one that the model of the shard had. */
static ald_status_t check_head(const ald_distiller_t *d, int which, const char *directory,
                               const char *path, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = d->teacher.contrast;
    const ald_head_digest_t *ours = &d->heads[which].digest;
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

/* INPUT unless the output matrices are those that the shards' hidden states belong to. Root only.
 */
static ald_status_t check_heads(const ald_distiller_t *d, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = d->teacher.contrast;
    const char *directories[] = {d->config->teacher.dpo,
                                 ald_contrast_directory(d->config, contrast)};
    for (int64_t i = 0; i < set->shard_count; ++i) {
        const ald_shard_header_t *header = ald_shard_header(set->shards[i]);
        for (int which = 0; which < 2; ++which) {
            const ald_model_config_t *shape = &d->heads[which].params.config;
            ALD_CHECK(
                header->hidden_size == shape->hidden_size &&
                    header->vocab_size <= shape->vocab_size,
                ALD_STATUS_INPUT,
                "%s: /teacher/hidden_dpo: hidden states of %lld for %lld tokens, which the output "
                "matrices of %s and %s don't have",
                set->paths[i], (long long)header->hidden_size, (long long)header->vocab_size,
                directories[0], directories[1]);
            ALD_TRY(check_head(d, which, directories[which], set->paths[i], header));
        }
    }
done:
    return status;
}

/* Maps both models, and compares their output matrices with those of the shards. Collective. */
static ald_status_t ready_heads(ald_distiller_t *d, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = d->config;
    const ald_contrast_t contrast = d->teacher.contrast;
    const ald_comm_t *comm = d->engine->comm;
    if (d->heads[1].mapped == NULL) {
        status = load_head(d, 0, config->teacher.dpo, "teacher.dpo");
        if (status == ALD_STATUS_OK)
            status = load_head(d, 1, ald_contrast_directory(config, contrast),
                               ald_contrast_key(contrast));
        ALD_TRY(ald_comm_agree(comm, status));
        for (int which = 0; which < 2 && comm->rank == 0; ++which)
            strcpy(d->heads[which].digest.dtype,
                   ald_mapped_head_sha256(d->heads[which].mapped, &d->heads[which].params,
                                          d->heads[which].digest.sha256));
    }
    ALD_TRY(ald_comm_agree(comm, comm->rank == 0 ? check_heads(d, set) : ALD_STATUS_OK));
done:
    return status;
}

ald_status_t ald_distiller_vocabulary(ald_distiller_t *distiller, const ald_shardset_t *set)
{
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    if (distiller->vocabulary > 0)
        return ALD_STATUS_OK;
    return (header->schema < 2 ? ald_vocabulary_padded : ald_vocabulary_common)(
        distiller->config->distill.policy, distiller->engine->params.config.vocab_size,
        set->paths[0], header->vocab_size, &distiller->vocabulary);
}

/* Draws show where the teacher's mass is. The forward divergence asks for nothing else; the others
 * ask for the teacher's mass where the student's is, too. Nor do they show the likeliest token, by
 * which others are implausible, and the bounds of a support say nothing of these. */
ald_status_t ald_distiller_fits(const ald_config_t *config, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_encoding_t encoding = ald_shard_header(set->shards[0])->encoding;
    ALD_CHECK(config->distill.signal != ALD_SIGNAL_DISTRIBUTION ||
                  !ald_encoding_row(encoding)->draws ||
                  config->distill.divergence == ALD_DIVERGENCE_FORWARD,
              ALD_STATUS_USAGE,
              "distill.divergence: \"%s\" can't be estimated from %s, whose encoding is "
              "\"%s\"; expected \"forward\"",
              ald_choice_name(ALD_CHOICES_DIVERGENCES, config->distill.divergence), set->paths[0],
              ald_encoding_name(encoding));
    ALD_CHECK(config->teacher.plausibility <= 0.0 || !ald_encoding_row(encoding)->draws,
              ALD_STATUS_USAGE,
              "teacher.plausibility: can't be had from %s, whose encoding is \"%s\"; expected 0",
              set->paths[0], ald_encoding_name(encoding));
    ALD_CHECK(config->teacher.plausibility <= 0.0 || config->distill.max_teacher_error <= 0.0 ||
                  !ald_encoding_has_k(encoding),
              ALD_STATUS_USAGE,
              "distill.max_teacher_error: the bound doesn't cover teacher.plausibility = %g; "
              "expected 0 for one of them",
              config->teacher.plausibility);
done:
    return status;
}

static ald_item_t item(const void *state, int64_t index)
{
    const ald_entry_t *entry = &((const ald_distiller_t *)state)->set->entries[index];
    return (ald_item_t){.prompt_count = entry->prompt_count,
                        .responses = 1,
                        .response_count = {entry->response_count, 0}};
}

/* What the method needs for the step: output matrices, where the shards have hidden states. */
static ald_status_t ready_teacher(ald_distiller_t *d)
{
    return ald_encoding_is_hidden(ald_shard_header(d->set->shards[0])->encoding)
               ? ready_heads(d, d->set)
               : ALD_STATUS_OK;
}

/* The signals, by distill.signal. */
static const struct {
    ald_status_t (*look)(ald_distiller_t *distiller);  /* NULL: it needs none */
    ald_status_t (*ready)(ald_distiller_t *distiller); /* collective */
    ald_status_t (*micro)(void *state, const ald_micro_t *micro);
    ald_status_t (*metrics)(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *metrics);
} signals[] = {
    [ALD_SIGNAL_DISTRIBUTION] = {NULL, ready_teacher, ald_distill_micro, ald_distill_metrics},
    [ALD_SIGNAL_TOKEN] = {ald_policy_gradient_look, ald_policy_gradient_ready,
                          ald_policy_gradient_micro, ald_policy_gradient_metrics},
    [ALD_SIGNAL_SEQUENCE] = {ald_policy_gradient_look, ald_policy_gradient_ready,
                             ald_policy_gradient_micro, ald_policy_gradient_metrics},
};

ald_status_t ald_distiller_look(ald_distiller_t *distiller)
{
    ald_status_t (*look)(ald_distiller_t *) = signals[distiller->config->distill.signal].look;
    return look != NULL ? look(distiller) : ALD_STATUS_OK;
}

/* Collective. */
static ald_status_t ready(void *state, const ald_items_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distiller_t *d = state;
    (void)items;
    d->teacher.strength = ald_guard_strength(d->engine);
    status = ald_distiller_vocabulary(d, d->set);
    if (status == ALD_STATUS_OK)
        status = ald_distiller_fits(d->config, d->set);
    ALD_TRY(ald_comm_agree(d->engine->comm, status));
    ALD_TRY(signals[d->config->distill.signal].ready(d));
done:
    return status;
}

static void forget(void *state)
{
    ald_distiller_t *d = state;
    d->alphas.count = d->tvds.count = d->choices.count = 0;
    d->worst = 0.0;
}

static ald_status_t micro(void *state, const ald_micro_t *at)
{
    return signals[((const ald_distiller_t *)state)->config->distill.signal].micro(state, at);
}

static ald_status_t metrics(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distiller_t *d = state;
    ALD_TRY(signals[d->config->distill.signal].metrics(state, items, columns, out));
    ald_guard_step(d->engine, out);
done:
    return status;
}

const ald_objective_t ald_objective_distill = {.stage = "distill",
                                               .item = item,
                                               .ready = ready,
                                               .forget = forget,
                                               .micro = micro,
                                               .metrics = metrics};
