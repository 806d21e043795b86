/* Sums of gradients and AdamW. The sums are integers, which don't depend on order; each trainer has
 * its share of the moments alone, since they are needed for nothing but its share of the update. */
#include "ald/train/optimizer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/params.h"
#include "ald/num/kernel.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"

/* Floats that a thread takes at a time: with their sums 768 KiB, which most cores' caches hold.
 * Shares are of whole blocks, so that the squares of a block are added in one order on any number
 * of trainers. */
#define BLOCK ((int64_t)65536)
/* The unit of the fixed point, 2^UNIT, until gradients ask for another. In it those of 2^-17 and
 * more lose no bit, and smaller ones are rounded far below what an update shows. */
enum { UNIT = -40 };
/* Bits of the largest element: with FEWEST or fewer the unit is changed, to one in which it has
 * USUAL. All sums stay below 2^ROOM units. */
enum { FEWEST = 26, USUAL = 40, ROOM = 61 };
/* The largest norm of a clipped gradient: the square of an element stays in the range of a float.
 */
#define NORM_MOST 0x1.0p62

static int64_t blocks_of(int64_t total)
{
    return (total + BLOCK - 1) / BLOCK;
}

int64_t ald_optimizer_share(int64_t total, int size, int rank)
{
    int64_t at = blocks_of(total) * rank / size * BLOCK;
    return at < total ? at : total;
}

ald_status_t ald_optimizer_init(const ald_config_t *config, const ald_comm_t *trainers,
                                int64_t total, ald_optimizer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_optimizer_t){.comm = trainers,
                             .total = total,
                             .first = ald_optimizer_share(total, trainers->size, trainers->rank),
                             .unit = UNIT,
                             .addends = 1,
                             .beta1 = config->optimizer.betas[0],
                             .beta2 = config->optimizer.betas[1],
                             .epsilon = config->optimizer.epsilon,
                             .weight_decay = config->optimizer.weight_decay,
                             .max_grad_norm = config->optimizer.max_grad_norm};
    out->count = ald_optimizer_share(total, trainers->size, trainers->rank + 1) - out->first;
    out->sum = ald_calloc((size_t)total, sizeof(int64_t));
    out->m = ald_calloc((size_t)out->count + 1, sizeof(float));
    out->v = ald_calloc((size_t)out->count + 1, sizeof(float));
    ALD_CHECK(out->sum && out->m && out->v, ALD_STATUS_RESOURCE,
              "out of memory: sums of gradients and moments of %lld parameters", (long long)total);
done:
    return status;
}

void ald_optimizer_reset(ald_optimizer_t *optimizer)
{
    ald_free(optimizer->sum);
    ald_free(optimizer->m);
    ald_free(optimizer->v);
    ald_free(optimizer->spared);
    *optimizer = (ald_optimizer_t){0};
}

ald_status_t ald_optimizer_spare(const ald_params_t *params, ald_optimizer_t *optimizer)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t bytes = sizeof *optimizer->spared * (size_t)params->count;
    optimizer->spared = ald_alloc(bytes);
    ALD_CHECK_MEMORY(optimizer->spared, bytes);
    for (int64_t i = 0; i < params->count; ++i) {
        const ald_tensor_t *tensor = &params->tensors[i];
        if (tensor->ndim == 1)
            optimizer->spared[optimizer->spans++] =
                (ald_span_t){tensor->offset, tensor->offset + tensor->count};
    }
done:
    return status;
}

void ald_optimizer_begin(ald_optimizer_t *optimizer, int64_t addends)
{
    optimizer->addends = addends > 1 ? addends : 1;
    optimizer->largest = 0.0f;
}

/* Bits that an addend may have for the sum of all to have ROOM. Steps have at most 10^9 sequences,
 * so it is 31 or more. */
static int addend_bits(const ald_optimizer_t *o)
{
    int bits = ROOM;
    for (int64_t addends = 1; addends < o->addends; addends *= 2)
        --bits;
    return bits;
}

/* Adds a block's gradient into its sums and zeroes it; elements above `most` are left out. Returns
 * the largest magnitude, infinity for NaN. */
ALD_KERNEL(float, add_block,
           (int64_t count, float most, double inverse_unit, float *gradient, int64_t *sum),
           (count, most, inverse_unit, gradient, sum))
{
    float largest = 0.0f;
    for (int64_t i = 0; i < count; ++i) {
        float g = gradient[i], size = g < 0.0f ? -g : g;
        largest = size <= largest ? largest : size == size ? size : INFINITY;
        /* A float has 24 bits: exact for 2^24 units and more, rounded to the nearest unit below. */
        double scaled = (double)g * inverse_unit;
        sum[i] += size <= most ? (int64_t)rint(scaled) : 0;
        gradient[i] = 0.0f;
    }
    return largest;
}

ald_status_t ald_optimizer_add(ald_optimizer_t *optimizer, int64_t offset, int64_t count,
                               float *gradient)
{
    ald_status_t status = ALD_STATUS_OK;
    float largest = optimizer->largest;
    int64_t blocks = blocks_of(count);
    const double limit = ldexp(1.0, optimizer->unit + addend_bits(optimizer));
    const float most = limit < (double)FLT_MAX ? (float)limit : FLT_MAX;
    const double inverse_unit = ldexp(1.0, -optimizer->unit);
#pragma omp parallel for schedule(static) reduction(max : largest)
    for (int64_t b = 0; b < blocks; ++b) {
        int64_t left = count - b * BLOCK;
        float found = add_block(left < BLOCK ? left : BLOCK, most, inverse_unit,
                                gradient + b * BLOCK, optimizer->sum + offset + b * BLOCK);
        largest = found > largest ? found : largest;
    }
    optimizer->largest = largest;
    ALD_CHECK(isfinite(largest), ALD_STATUS_INTERNAL, "a gradient isn't a finite number: %s",
              optimizer->steps == 0
                  ? "the model's numbers overflow at its first step, before any was changed"
                  : "the training has diverged; lower optimizer.lr");
done:
    return status;
}

bool ald_optimizer_fits(ald_optimizer_t *optimizer)
{
    ald_optimizer_t *o = optimizer;
    const int bits = addend_bits(o);
    float largest = o->largest;
    if (o->comm->size > 1)
        MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_FLOAT, MPI_MAX, o->comm->mpi);
    const int has = largest > 0.0f ? ilogb((double)largest) + 1 - o->unit : USUAL;
    if (has > FEWEST && has <= bits)
        return true;
    o->unit += has - (bits < USUAL ? bits : USUAL);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks_of(o->total); ++b) {
        const int64_t left = o->total - b * BLOCK;
        memset(o->sum + b * BLOCK, 0, sizeof(int64_t) * (size_t)(left < BLOCK ? left : BLOCK));
    }
    return false;
}

/* Every rank's share of an array of floats or sums; `starts` has room for size + 1. */
static ald_spread_t all_shares(const ald_optimizer_t *o, MPI_Datatype type, int64_t *starts)
{
    for (int r = 0; r <= o->comm->size; ++r)
        starts[r] = ald_optimizer_share(o->total, o->comm->size, r);
    return (ald_spread_t){o->comm, starts, type};
}

/* Adds up the sums of all trainers. The result is left in o->sum, in this rank's share only. */
static ald_status_t reduce_sums(ald_optimizer_t *o)
{
    int64_t starts[o->comm->size + 1];
    if (o->comm->size == 1)
        return ALD_STATUS_OK;
    const ald_spread_t spread = all_shares(o, MPI_INT64_T, starts);
    return ald_collect_sum_shares(&spread, o->sum);
}

ALD_KERNEL(double, block_square, (int64_t count, double unit, const int64_t *sum),
           (count, unit, sum))
{
    double total = 0.0;
    for (int64_t i = 0; i < count; ++i) {
        double g = (double)sum[i] * unit;
        total += g * g;
    }
    return total;
}

/* The global norm from per-block squares, added in the order of the blocks: the same bits for any
 * number of trainers. */
static ald_status_t global_norm(const ald_optimizer_t *o, double *norm)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t blocks = blocks_of(o->total), first = o->first / BLOCK;
    double *square = ald_calloc((size_t)blocks + 1, sizeof(double)), total = 0.0;
    const double unit = ldexp(1.0, o->unit);
    if (square == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: squares of gradients");
    ALD_TRY(ald_comm_agree(o->comm, status));
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks_of(o->count); ++b) {
        int64_t left = o->count - b * BLOCK;
        square[first + b] =
            block_square(left < BLOCK ? left : BLOCK, unit, o->sum + o->first + b * BLOCK);
    }
    /* A block is zero but on one trainer: exact. */
    ald_collect_reduce(o->comm, square, blocks, MPI_DOUBLE, MPI_SUM);
    for (int64_t b = 0; b < blocks; ++b)
        total += square[b];
    *norm = sqrt(total);
done:
    ald_free(square);
    return status;
}

/* The numbers of one update. */
typedef struct {
    double unit, beta1, beta2, epsilon, clip, rate, root_correction2, keep;
} update_t;

/* (double)x, in steps that AVX2 has for vectors: the lower half becomes 2^52 + l, the upper 2^84 +
 * 2^63 + 2^32 h, and only the last sum rounds. */
static inline double of_fixed(int64_t x)
{
    union {
        uint64_t i;
        double d;
    } lower = {.i = ((uint64_t)x & 0xFFFFFFFF) | 0x4330000000000000},
      upper = {.i = ((uint64_t)x >> 32) ^ 0x4530000080000000};
    return (upper.d - (0x1p84 + 0x1p63 + 0x1p52)) + lower.d;
}

/* Updates the moments of a block and its parameters x; zeroes the sums for the next step. */
ALD_KERNEL(void, update_block,
           (int64_t count, const update_t *u, int64_t *sum, float *m, float *v, float *x),
           (count, u, sum, m, v, x))
{
    float beta1 = (float)u->beta1, beta2 = (float)u->beta2;
    float rest1 = (float)(1.0 - u->beta1), rest2 = (float)(1.0 - u->beta2);
    for (int64_t i = 0; i < count; ++i) {
        float g = (float)(of_fixed(sum[i]) * u->unit * u->clip);
        sum[i] = 0;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        double denominator = sqrt((double)v[i]) / u->root_correction2 + u->epsilon;
        if (u->rate != 0.0) /* at rate 0 every bit stays; -0 - (-0) would be 0 */
            x[i] = (float)((double)x[i] * u->keep - u->rate * (double)m[i] / denominator);
    }
}

/* The first span that ends behind a place in the buffer; o->spans: none does. */
static int64_t find_span(const ald_optimizer_t *o, int64_t place)
{
    int64_t low = 0, high = o->spans;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (o->spared[middle].end > place)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Updates the floats [begin, end) of the buffer, a block of this rank's share, in pieces that have
 * weight decay or have none. */
static void update_pieces(ald_optimizer_t *o, const update_t *u, int64_t begin, int64_t end,
                          float *values)
{
    update_t spared = *u;
    spared.keep = 1.0;
    for (int64_t at = begin, next, s = find_span(o, begin); at < end; at = next) {
        const int64_t from = s < o->spans ? o->spared[s].begin : end;
        const bool inside = at >= from;
        next = inside ? o->spared[s++].end : from;
        next = next < end ? next : end;
        update_block(next - at, inside ? &spared : u, o->sum + at, o->m + (at - o->first),
                     o->v + (at - o->first), values + at);
    }
}

static void update_share(ald_optimizer_t *o, const update_t *u, float *values)
{
    const int64_t last = o->first + o->count;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks_of(o->count); ++b) {
        const int64_t begin = o->first + b * BLOCK;
        update_pieces(o, u, begin, begin + BLOCK < last ? begin + BLOCK : last, values);
    }
}

/* Zeroes the sums outside this rank's share, for the next step. */
static void clear_others(ald_optimizer_t *o)
{
    const int64_t last = o->first + o->count;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks_of(o->total); ++b) {
        int64_t at = b * BLOCK, left = o->total - at;
        if (at < o->first || at >= last)
            memset(o->sum + at, 0, sizeof(int64_t) * (size_t)(left < BLOCK ? left : BLOCK));
    }
}

static void gather_values(const ald_optimizer_t *o, float *values)
{
    int64_t starts[o->comm->size + 1];
    if (o->comm->size == 1)
        return;
    const ald_spread_t spread = all_shares(o, MPI_FLOAT, starts);
    ald_collect_share(&spread, values);
}

ald_status_t ald_optimizer_step(ald_optimizer_t *optimizer, double lr, float *values,
                                double *grad_norm)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_optimizer_t *o = optimizer;
    ALD_TRY(reduce_sums(o));
    ALD_TRY(global_norm(o, grad_norm));
    double limit = o->max_grad_norm, steps = (double)(o->steps + 1);
    /* The 1e-6 is that of PyTorch's clip_grad_norm_. */
    update_t u = {.unit = ldexp(1.0, o->unit),
                  .beta1 = o->beta1,
                  .beta2 = o->beta2,
                  .epsilon = o->epsilon,
                  .clip = limit > 0.0 && *grad_norm > limit ? limit / (*grad_norm + 1e-6) : 1.0,
                  .rate = lr / (1.0 - pow(o->beta1, steps)),
                  .root_correction2 = sqrt(1.0 - pow(o->beta2, steps)),
                  .keep = 1.0 - lr * o->weight_decay};
    ALD_CHECK(*grad_norm * u.clip <= NORM_MOST, ALD_STATUS_INTERNAL,
              "the gradients' norm is %g, and their squares overflow AdamW's moments; expected an "
              "optimizer.max_grad_norm that clips it, as 1.0",
              *grad_norm);
    o->steps += 1;
    update_share(o, &u, values);
    clear_others(o);
    gather_values(o, values);
done:
    return status;
}

double ald_schedule(const ald_config_t *config, int64_t step, int64_t steps)
{
    double lr = config->optimizer.lr, low = lr * config->optimizer.min_lr_ratio;
    int64_t warmup = (int64_t)ceil(config->optimizer.warmup_ratio * (double)steps);
    if (step < warmup)
        return lr * (double)(step + 1) / (double)warmup;
    double rest = (double)(steps - warmup > 1 ? steps - warmup : 1);
    double done = (double)(step - warmup) / rest;
    if (config->optimizer.schedule == ALD_SCHEDULE_COSINE)
        return low + (lr - low) * 0.5 * (1.0 + cos(3.14159265358979323846 * done));
    if (config->optimizer.schedule == ALD_SCHEDULE_LINEAR)
        return low + (lr - low) * (1.0 - done);
    return lr;
}
