/* Off-policy distillation: shards that are there, or that are made first, in the order of their
 * mixture. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/role/trainer.h"
#include "ald/role/trainer_step.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/train/engine.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/scoring_impl.h"

/* Draws a step and has its sequences read ahead; 0 behind the last step. */
static ald_status_t plan_step(ald_distill_t *d, ald_corpus_t *corpus, ald_mix_t *mix, int64_t step,
                              int64_t *count)
{
    *count = step < d->trainer.engine.steps ? ald_mix_draw(mix, step) : 0;
    return ald_trainer_ahead_plan(&d->trainer, &corpus->set, mix->items, *count);
}

static ald_status_t train_on(ald_distill_t *d, ald_corpus_t *corpus)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t *engine = &d->trainer.engine;
    ald_metrics_t metrics;
    ald_mix_t mix = {0};
    int64_t next = 0, *items = ald_alloc(sizeof *items * (size_t)d->config->optimizer.batch_size);
    if (items == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: a step's sequences");
    if (status == ALD_STATUS_OK)
        status = ald_corpus_mix(corpus, d->config, &mix);
    if (status == ALD_STATUS_OK)
        status = ald_trainer_ahead_begin(&d->trainer, &corpus->set);
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    ALD_TRY(ald_engine_begin(engine, ald_total_steps(d->config, corpus->set.count)));
    status = ald_distill_memory(d, corpus);
    if (status == ALD_STATUS_OK)
        status = plan_step(d, corpus, &mix, engine->step, &next);
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    while (engine->step < engine->steps) {
        const int64_t count = next;
        memcpy(items, mix.items, sizeof *items * (size_t)count);
        ALD_TRY(ald_comm_agree(&d->trainers, plan_step(d, corpus, &mix, engine->step + 1, &next)));
        double epoch = (double)(engine->step + 1) / (double)ald_mix_epoch_steps(&mix);
        ALD_TRY(ald_trainer_step(&d->trainer, &corpus->set, items, count, epoch, &metrics));
        ald_corpus_metrics(corpus, items, count, &metrics);
        if (engine->step == 0 && d->data.pairs.count > 0)
            ald_dataset_metrics(&d->data, &metrics);
        ALD_TRY(ald_engine_advance(engine, &metrics));
    }
done:
    ald_trainer_ahead_end(&d->trainer);
    ald_mix_reset(&mix);
    ald_free(items);
    return status;
}

static ald_status_t train_on_folder(ald_distill_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_corpus_t corpus = {0};
    ald_shard_header_t expected;
    status = ald_distill_expected(d->config, &expected);
    if (status == ALD_STATUS_OK)
        status = ald_corpus_open(d->config, &expected, &corpus);
    if (status == ALD_STATUS_OK)
        status = ald_trainer_fits(d->config, &corpus.set);
    if (status == ALD_STATUS_OK)
        status = ald_trainer_vocabulary(&d->trainer, &corpus.set);
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    ald_corpus_report(&corpus);
    ALD_TRY(train_on(d, &corpus));
done:
    ald_corpus_reset(&corpus);
    return status;
}

ald_status_t ald_distill_off_policy(ald_distill_t *distill)
{
    ald_status_t status = ALD_STATUS_OK;
    if (distill->scores && distill->data.pairs.count > 0)
        status = ald_scoring_run(&distill->scorer, &distill->scorers, &distill->data, 0, 1);
    ALD_TRY(ald_comm_agree(distill->world, status));
    if (distill->trains)
        status = train_on_folder(distill);
    ALD_TRY(ald_comm_agree(distill->world, status));
done:
    return status;
}
