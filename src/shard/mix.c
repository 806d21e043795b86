/* The order in which training draws from one or several sources. It depends on seed and step
 * alone, so that a resumed run goes on with the same batches on any number of ranks. */
#include "ald/shard/mix.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"

/* Streams of random numbers, "mix" and "source". The epochs of a single source use streams 0, 1,
 * ...
 */
enum { STREAM_STEP = 0x6d6978, STREAM_SOURCE = 0x736f75726365 };

ald_status_t ald_mix_init(const int64_t *start, const double *weights, int64_t sources,
                          uint64_t seed, int64_t batch, ald_mix_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double sum = 0.0, reached = 0.0;
    *out = (ald_mix_t){.sources = sources,
                       .total = start[sources],
                       .batch = batch < start[sources] ? batch : start[sources],
                       .seed = seed,
                       .start = start};
    out->edge = ald_calloc((size_t)sources + 1, sizeof *out->edge);
    out->drawn = ald_calloc((size_t)sources, sizeof *out->drawn);
    out->order = ald_calloc((size_t)out->total, sizeof *out->order);
    out->items = ald_calloc((size_t)out->batch, sizeof *out->items);
    ALD_CHECK(out->edge != NULL && out->drawn != NULL && out->order != NULL && out->items != NULL,
              ALD_STATUS_RESOURCE, "out of memory: the order of %lld sequences",
              (long long)out->total);
    for (int64_t k = 0; k < sources; ++k)
        sum += weights == NULL ? 1.0 : weights[k];
    for (int64_t k = 0; k < sources; ++k) {
        reached += weights == NULL ? 1.0 : weights[k];
        out->edge[k + 1] = reached / sum;
    }
    out->edge[sources] =
        2.0; /* so that every point lies before the end, however the sums are rounded */
done:
    return status;
}

void ald_mix_reset(ald_mix_t *mix)
{
    ald_free(mix->edge);
    ald_free(mix->drawn);
    ald_free(mix->order);
    ald_free(mix->items);
    *mix = (ald_mix_t){0};
}

int64_t ald_mix_epoch_steps(const ald_mix_t *mix)
{
    return (mix->total + mix->batch - 1) / mix->batch;
}

/* The next sequence of source k. */
static int64_t draw_from(ald_mix_t *mix, int64_t k)
{
    const int64_t count = mix->start[k + 1] - mix->start[k];
    const int64_t epoch = mix->drawn[k] / count, at = mix->drawn[k] % count;
    int64_t *order = mix->order + mix->start[k];
    if (at == 0) {
        uint64_t key = k == 0 ? mix->seed : ald_rng_mix(mix->seed, STREAM_SOURCE + (uint64_t)k);
        ald_rng_permutation(key, (uint64_t)epoch, count, order);
    }
    ++mix->drawn[k];
    return mix->start[k] + order[at];
}

static int64_t draw_next(ald_mix_t *mix)
{
    const int64_t first = mix->step % ald_mix_epoch_steps(mix) * mix->batch;
    const int64_t left = mix->total - first, count = left < mix->batch ? left : mix->batch;
    double u = ald_rng_uniform(ald_rng_mix(mix->seed, STREAM_STEP), (uint64_t)mix->step, 0);
    for (int64_t i = 0, k = 0; i < count; ++i) {
        while (((double)i + u) / (double)count >= mix->edge[k + 1])
            ++k;
        mix->items[i] = draw_from(mix, k);
    }
    ++mix->step;
    return count;
}

int64_t ald_mix_draw(ald_mix_t *mix, int64_t step)
{
    int64_t count = 0;
    if (step < mix->step) {
        memset(mix->drawn, 0, sizeof *mix->drawn * (size_t)mix->sources);
        mix->step = 0;
    }
    while (mix->step <= step)
        count = draw_next(mix);
    return count;
}
