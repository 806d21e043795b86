/* What distillation will take on a rank: the numbers of this run, for the plan of its roles. The
 * steps to come are gone through, since the largest micro-batch decides. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/gradients.h"
#include "ald/model/model_config.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/role/reader.h"
#include "ald/role/roles.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/train/engine.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/scoring_impl.h"

static ald_training_plan_t training_plan(const ald_engine_t *engine)
{
    ald_training_plan_t plan = {.config = engine->config,
                                .shape = &engine->params.config,
                                .parameters = engine->params.total,
                                .trainers = engine->comm->size,
                                .gradients = ald_gradients_bytes(&engine->params),
                                .steps = engine->steps};
    ald_micro_most_init(engine->config->optimizer.micro_batch_tokens, &plan.most);
    return plan;
}

/* The shape of the teachers whose output matrices are mapped; NULL: none are. */
static const ald_model_config_t *mapped_teacher(const ald_config_t *config,
                                                const ald_shard_header_t *header,
                                                ald_model_config_t *shape)
{
    const bool mapped = config->distill.signal == ALD_SIGNAL_DISTRIBUTION &&
                        ald_encoding_is_hidden(header->encoding) &&
                        config->teacher.dpo[0] != '\0' &&
                        ald_model_config_read(config->teacher.dpo, shape) == ALD_STATUS_OK;
    return mapped ? shape : NULL;
}

/* --- off-policy ------------------------------------------------------------------------------- */

/* Goes through the steps to come, for their micro-batches and for the most that is read ahead: this
 * rank's sequences of one step and the next. */
static ald_status_t look_at_steps(const ald_roles_t *roles, const ald_corpus_t *corpus,
                                  ald_micro_most_t *most, double *ahead)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &roles->engine;
    const ald_shardset_t *set = &corpus->set;
    ald_mix_t mix = {0};
    int64_t *mine = NULL, planned = 0, kept = 0;
    ALD_TRY(ald_corpus_mix(corpus, roles->config, &mix));
    mine = ald_alloc(2 * sizeof *mine * (size_t)mix.batch);
    ALD_CHECK_MEMORY(mine, 2 * sizeof *mine * (size_t)mix.batch);
    *ahead = 0.0;
    for (int64_t step = engine->step; step < engine->steps; ++step) {
        const int64_t count = ald_mix_draw(&mix, step);
        int64_t more;
        for (int64_t i = 0; i < count; ++i)
            ald_micro_most_add(most, ald_entry_tokens(&set->entries[mix.items[i]]),
                               set->entries[mix.items[i]].response_count);
        ald_micro_most_end(most);
        ALD_TRY(ald_reader_share(&roles->trainers, roles->config, set, mix.items, count,
                                 mine + planned, &more));
        const double bytes = (double)ald_readahead_bytes(set, mine, planned + more, kept);
        *ahead = bytes > *ahead ? bytes : *ahead;
        kept = ald_readahead_kept(set, mine, planned, kept);
        memmove(mine, mine + planned, sizeof *mine * (size_t)more);
        planned = more;
    }
done:
    ald_free(mine);
    ald_mix_reset(&mix);
    return status;
}

ald_status_t ald_distill_memory(const ald_roles_t *roles, const ald_corpus_t *corpus)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shardset_t *set = &corpus->set;
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    ald_memory_plan_t plan;
    ald_model_config_t shape;
    ald_training_plan_t training = training_plan(&roles->engine);
    ald_lessons_plan_t lessons = {.header = header,
                                  .teacher = mapped_teacher(roles->config, header, &shape),
                                  .open = ald_memory_open_shards(header, set->shard_count)};
    double whole = 0.0;
    for (int64_t i = 0; i < set->shard_count; ++i)
        whole += (double)ald_file_size(set->paths[i]);
    lessons.open = whole < lessons.open ? whole : lessons.open;
    ALD_TRY(look_at_steps(roles, corpus, &training.most, &lessons.ahead));
    ald_memory_begin("distill", &plan);
    ald_memory_add_distilling(&plan, &training, &lessons);
    ald_memory_say(&plan);
done:
    return status;
}

/* --- on-policy -------------------------------------------------------------------------------- */

static int64_t response_most(const ald_roles_t *roles, int64_t row)
{
    const ald_pair_t *pair = &roles->data.pairs.rows[row];
    int64_t most = roles->config->sampling.max_new_tokens;
    most = pair->chosen.count > most ? pair->chosen.count : most; /* mixed; else there is none */
    return pair->rejected.count > most ? pair->rejected.count : most;
}

static ald_item_t longest_item(const void *context, int64_t row)
{
    const ald_roles_t *roles = context;
    return (ald_item_t){.prompt_count = roles->data.pairs.rows[row].prompt.count,
                        .responses = 1,
                        .response_count = {response_most(roles, row), 0}};
}

static ald_status_t plan_roles(const ald_roles_t *d, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = d->data.pairs.count;
    ald_memory_plan_t plan;
    ald_model_config_t shape;
    ald_training_plan_t training = training_plan(&d->engine);
    ald_on_policy_plan_t run = {
        .place = &d->place,
        .training = &training,
        .lessons = {.header = header, .teacher = mapped_teacher(d->config, header, &shape)},
        .rows = n,
        .prompt = ald_longest_prompt(&d->data, n),
        .sampled = d->config->sampling.max_new_tokens,
        .trains = d->trains,
        .scores = d->scores,
        .generates = d->generates};
    if (d->scores)
        run.scoring = ald_scoring_plan(&d->scorer);
    for (int64_t row = 0; row < n; ++row)
        run.longest = response_most(d, row) > run.longest ? response_most(d, row) : run.longest;
    ALD_TRY(ald_micro_most_rows(d->config, training.steps, n, longest_item, d, &training.most));
    ald_memory_begin("distill", &plan);
    ald_memory_on_policy(&plan, &run);
    ald_memory_say(&plan);
done:
    return status;
}

ald_status_t ald_distill_memory_on_policy(const ald_roles_t *roles)
{
    ald_shard_header_t header = roles->scorer.header;
    header.config = NULL; /* a pointer of another process */
    MPI_Bcast(&header, (int)sizeof header, MPI_BYTE, roles->place.scorers.first, roles->world->mpi);
    /* Rank 0 is the one that speaks, and a trainer. */
    return roles->world->rank == 0 ? plan_roles(roles, &header) : ALD_STATUS_OK;
}
