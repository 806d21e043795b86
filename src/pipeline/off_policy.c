/* Off-policy distillation. Shards that are missing are made first and then read from their files
 * like all others, so that making them doesn't change what is trained. */
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/objective/distill.h"
#include "ald/objective/objective.h"
#include "ald/par/comm.h"
#include "ald/role/monitor.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/teacher/expected.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"
#include "pipeline/corpus_feed_impl.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/scoring_impl.h"

static ald_status_t train_on(ald_roles_t *d, ald_corpus_t *corpus)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_mix_t mix = {0};
    ald_json_t *recipe = NULL;
    ald_corpus_feed_t feed = {0};
    ald_run_t run = {.objective = ald_objective(ALD_OBJECTIVE_DISTILL),
                     .state = &d->distiller,
                     .engine = &d->engine,
                     .order = &mix};
    ald_monitor_t *monitor = NULL;
    ald_loop_t loop = {.name = "distill", .trainers = &d->trainers, .runs = &run, .count = 1};
    d->distiller.set = &corpus->set;
    status = ald_corpus_mix(corpus, d->config, &mix);
    if (status == ALD_STATUS_OK)
        status = ald_corpus_feed_init(corpus, &d->data, &d->trainers, true,
                                      d->config->optimizer.batch_size, &feed);
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    loop.feed = ald_corpus_feed(&feed);
    ALD_TRY(ald_distill_recipe(&d->trainers, d->config, corpus, &recipe));
    ALD_TRY(ald_engine_finished(&d->engine, recipe, &d->finished));
    if (d->finished)
        goto done;
    ALD_TRY(ald_engine_begin(&d->engine, ald_total_steps(d->config, corpus->set.count)));
    ALD_TRY(ald_monitor_open(&d->engine, &monitor));
    loop.watch = monitor != NULL ? ald_monitor_watch : NULL;
    loop.watcher = monitor;
    ALD_TRY(ald_comm_agree(&d->trainers, ald_distill_memory(d, corpus)));
    ALD_TRY(ald_loop_run(&loop));
done:
    ald_loop_reset(&loop);
    ald_monitor_close(monitor);
    ald_corpus_feed_reset(&feed);
    ald_mix_reset(&mix);
    return status;
}

static ald_status_t train_on_folder(ald_roles_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_corpus_t corpus = {0};
    ald_shard_header_t expected;
    status = ald_teacher_expected(d->config, &expected);
    if (status == ALD_STATUS_OK)
        status = ald_corpus_open(d->config, &expected, &corpus);
    if (status == ALD_STATUS_OK)
        status = ald_distiller_fits(d->config, &corpus.set);
    if (status == ALD_STATUS_OK)
        status = ald_distiller_vocabulary(&d->distiller, &corpus.set);
    ALD_TRY(ald_comm_agree(&d->trainers, status));
    ald_corpus_report(&corpus);
    if (d->data.pairs.count == 0) /* of data, it was said when they were read */
        ald_positions_warn((const char *const *)&d->config->distill.policy, 1,
                           ald_longest_entry(&corpus.set));
    ALD_TRY(train_on(d, &corpus));
done:
    ald_corpus_reset(&corpus);
    return status;
}

ald_status_t ald_distill_off_policy(ald_roles_t *roles)
{
    ald_status_t status = ALD_STATUS_OK;
    if (roles->scores && roles->data.pairs.count > 0)
        status = ald_scoring_run(&roles->scorer, &roles->scorers, &roles->data, 0, 1);
    ALD_TRY(ald_comm_agree(roles->world, status));
    if (roles->trains)
        status = train_on_folder(roles);
    ALD_TRY(ald_comm_agree(roles->world, status));
done:
    return status;
}
