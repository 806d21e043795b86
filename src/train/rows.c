/* Rows of a data file as the items of steps. Every trainer draws all rows of a step itself: they
 * are a few numbers, and so nobody has to send them. */
#include "ald/train/rows.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/record/metrics.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"

ald_status_t ald_rows_init(const ald_config_t *config, const ald_dataset_t *data, ald_rows_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = data->pairs.count;
    const size_t bytes = sizeof *out->order * (size_t)(n + config->optimizer.batch_size);
    *out = (ald_rows_t){.config = config, .data = data, .order = ald_alloc(bytes)};
    ALD_CHECK(out->order != NULL, ALD_STATUS_RESOURCE, "out of memory: the data's order");
    out->items = out->order + n;
done:
    return status;
}

void ald_rows_reset(ald_rows_t *rows)
{
    ald_free(rows->order);
    *rows = (ald_rows_t){0};
}

static ald_status_t ready(void *context, ald_run_t *run, int64_t step, ald_items_t *out)
{
    const ald_rows_t *rows = context;
    const int64_t n = rows->data->pairs.count;
    (void)run;
    *out = (ald_items_t){.step = step,
                         .item = rows->items,
                         .count = ald_step_items(rows->config, n, step, rows->order, rows->items),
                         .epoch = (double)(step + 1) / (double)ald_epoch_steps(rows->config, n)};
    return ALD_STATUS_OK;
}

static ald_status_t metrics(void *context, ald_run_t *run, const ald_items_t *items,
                            ald_metrics_t *out)
{
    const ald_rows_t *rows = context;
    (void)run;
    if (items->step == 0)
        ald_dataset_metrics(rows->data, out);
    return ALD_STATUS_OK;
}

ald_feed_t ald_rows_feed(ald_rows_t *rows)
{
    return (ald_feed_t){.context = rows, .ready = ready, .metrics = metrics};
}
