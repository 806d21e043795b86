/* The largest micro-batches that a job will make. Items are looked at one by one in the order of
 * their steps, so that a plan needs no list of what it plans for. */
#include "ald/plan/micro.h"

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/train/order.h"

void ald_micro_most_init(int64_t limit, ald_micro_most_t *out)
{
    *out = (ald_micro_most_t){.limit = limit};
}

void ald_micro_most_add(ald_micro_most_t *most, int64_t tokens, int64_t positions)
{
    if (ald_micro_full(most->tokens, tokens, most->limit))
        ald_micro_most_end(most);
    most->micros += most->tokens == 0;
    most->all_tokens += (double)tokens;
    most->all_positions += (double)positions;
    most->tokens += tokens;
    most->positions += positions;
    most->T = most->tokens > most->T ? most->tokens : most->T;
    most->R = most->positions > most->R ? most->positions : most->R;
}

void ald_micro_most_end(ald_micro_most_t *most)
{
    most->tokens = most->positions = 0;
}

ald_status_t ald_micro_most_rows(const ald_config_t *config, int64_t steps, int64_t count,
                                 ald_plan_item_fn item, const void *context, ald_micro_most_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t batch = config->optimizer.batch_size, per_epoch = ald_epoch_steps(config, count);
    int64_t *order = ald_alloc(sizeof *order * (size_t)count);
    ald_micro_most_init(config->optimizer.micro_batch_tokens, out);
    ALD_CHECK_MEMORY(order, sizeof *order * (size_t)count);
    for (int64_t step = 0; step < steps; ++step) {
        const int64_t first = step % per_epoch * batch;
        if (first == 0)
            ald_rng_permutation((uint64_t)config->seed, (uint64_t)(step / per_epoch), count, order);
        for (int64_t i = first; i < count && i < first + batch; ++i) {
            const ald_item_t one = item(context, order[i]);
            ald_micro_most_add(out, ald_item_tokens(&one),
                               one.response_count[0] + one.response_count[1]);
        }
        ald_micro_most_end(out);
    }
done:
    ald_free(order);
    return status;
}

void ald_micro_most_shards(ald_plan_item_fn item, const void *context, int64_t count,
                           int64_t per_shard, int64_t per_row, ald_micro_most_t *most,
                           int64_t *positions)
{
    *positions = 0;
    for (int64_t first = 0; first < count; first += per_shard) {
        const int64_t end = first + per_shard < count ? first + per_shard : count;
        int64_t all = 0;
        for (int64_t i = first; i < end; i += per_row) {
            int64_t R = 0, T = 0;
            for (int64_t k = i; k < i + per_row && k < end; ++k) {
                const ald_item_t one = item(context, k);
                T += one.response_count[0] - 1 + (k == i ? one.prompt_count : 0);
                R += one.response_count[0];
            }
            ald_micro_most_add(most, T, R);
            all += R;
        }
        ald_micro_most_end(most);
        *positions = all > *positions ? all : *positions;
    }
}

int64_t ald_plan_per_shard(const ald_config_t *config, int64_t per_row)
{
    const int64_t whole = config->shards.sequences_per_shard / per_row * per_row;
    return whole > 0 ? whole : per_row;
}
