/* The steps of off-policy training. Each run draws from the corpus in its own order; those that
 * draw alike share what is read. */
#include "pipeline/corpus_feed_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/role/reader.h"
#include "ald/shard/mix.h"
#include "ald/train/loop.h"
#include "pipeline/corpus_impl.h"

ald_status_t ald_corpus_feed_init(ald_corpus_t *corpus, const ald_dataset_t *data,
                                  const ald_comm_t *trainers, bool ahead, int64_t most,
                                  ald_corpus_feed_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_corpus_feed_t){.corpus = corpus, .data = data, .ahead = ahead, .planned = -1};
    out->items = ald_alloc(sizeof *out->items * (size_t)most);
    ALD_CHECK(out->items != NULL, ALD_STATUS_RESOURCE, "out of memory: a step's sequences");
    ALD_TRY(ald_reader_open(trainers, &corpus->set, &out->reader));
done:
    return status;
}

void ald_corpus_feed_reset(ald_corpus_feed_t *feed)
{
    ald_reader_close(&feed->reader);
    ald_free(feed->items);
    *feed = (ald_corpus_feed_t){0};
}

/* Draws a step of the run and has its sequences read ahead. */
static ald_status_t plan(ald_corpus_feed_t *feed, const ald_run_t *run, int64_t step)
{
    ald_mix_t *mix = run->order;
    feed->count = ald_mix_draw(mix, step);
    feed->planned = step;
    return ald_reader_plan(&feed->reader, run->engine->config, mix->items, feed->count);
}

static ald_status_t ready(void *context, ald_run_t *run, int64_t step, ald_items_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_corpus_feed_t *feed = context;
    const ald_mix_t *mix = run->order;
    if (!feed->ahead || feed->planned != step)
        ALD_TRY(plan(feed, run, step));
    *out = (ald_items_t){.step = step,
                         .item = feed->items,
                         .count = feed->count,
                         .epoch = (double)(step + 1) / (double)ald_mix_epoch_steps(mix)};
    memcpy(feed->items, mix->items, sizeof *feed->items * (size_t)feed->count);
    if (feed->ahead && step + 1 < run->engine->steps)
        ALD_TRY(plan(feed, run, step + 1));
done:
    return status;
}

static ald_status_t read_items(void *context, const ald_items_t *items, int64_t first,
                               int64_t count, ald_arena_t *arena, const void **out)
{
    ald_corpus_feed_t *feed = context;
    return ald_reader_read(&feed->reader, items, first, count, arena, out);
}

static ald_status_t metrics(void *context, ald_run_t *run, const ald_items_t *items,
                            ald_metrics_t *out)
{
    ald_corpus_feed_t *feed = context;
    (void)run;
    feed->used += items->count;
    ald_corpus_metrics(feed->corpus, items->item, items->count, out);
    if (items->step == 0 && feed->data != NULL && feed->data->pairs.count > 0)
        ald_dataset_metrics(feed->data, out);
    return ALD_STATUS_OK;
}

ald_feed_t ald_corpus_feed(ald_corpus_feed_t *feed)
{
    return (ald_feed_t){.context = feed, .ready = ready, .read = read_items, .metrics = metrics};
}
