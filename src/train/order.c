/* The order of rows in training. Which rows a step has depends on seed and step alone, so that a
 * run that goes on draws what it would have drawn. */
#include "ald/train/order.h"

#include <string.h>

#include "ald/base/rng.h"
#include "ald/config/config.h"

int64_t ald_epoch_steps(const ald_config_t *config, int64_t count)
{
    int64_t batch = config->optimizer.batch_size;
    return (count + batch - 1) / batch;
}

int64_t ald_total_steps(const ald_config_t *config, int64_t count)
{
    int64_t steps = ald_epoch_steps(config, count) * config->optimizer.epochs;
    int64_t limit = config->optimizer.max_steps;
    return limit > 0 && limit < steps ? limit : steps;
}

int64_t ald_step_items(const ald_config_t *config, int64_t count, int64_t step, int64_t *order,
                       int64_t *items)
{
    int64_t per_epoch = ald_epoch_steps(config, count), batch = config->optimizer.batch_size;
    int64_t first = step % per_epoch * batch;
    ald_rng_permutation((uint64_t)config->seed, (uint64_t)(step / per_epoch), count, order);
    int64_t taken = count - first < batch ? count - first : batch;
    memcpy(items, order + first, sizeof *items * (size_t)taken);
    return taken;
}
