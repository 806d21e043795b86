/* The limits that a phase is held to: its matrix products as plain sgemm, and the speed of memory.
 * They are timed here and now, since a figure of another day or machine would be no limit. */
#include "bench/products_impl.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/bench/bench.h"
#include "ald/model/head.h"
#include "ald/model/model_config.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"

/* 512 MiB: more than a processor's caches hold. */
#define READ_FLOATS ((int64_t)1 << 27)
#define ENOUGH      0.1 /* seconds: long beside a clock's step and a thread's start */

static void add(products_t *p, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float beta,
                double count)
{
    if (count > 0 && m > 0)
        p->item[p->count++] = (product_t){ta, tb, m, n, k, beta, count};
}

/* Adds y = x W^T of T rows, and when trained dx and dW, in the forms of ald/num/gemm.h. */
static void add_linear(products_t *p, bool trained, int64_t T, int64_t N, int64_t K, double count)
{
    add(p, false, true, T, N, K, 0.0f, count);
    if (trained) {
        add(p, false, false, T, K, N, 0.0f, count);
        add(p, true, false, N, K, T, 1.0f, count);
    }
}

/* Adds attention's scores and values, and when trained dV, dP, dQ and dK. */
static void add_attention(products_t *p, const ald_bench_options_t *o, bool trained, double passes)
{
    const ald_model_config_t *c = &o->shape;
    const int64_t n = o->tokens, D = c->head_dim;
    double unmasked = (double)(n + 1) / (double)(2 * n);
    double count = passes * (double)(o->sequences * c->layers * c->heads) * unmasked;
    add(p, false, true, n, n, D, 0.0f, count * (trained ? 2 : 1));
    add(p, false, false, n, D, n, 0.0f, count * (trained ? 2 : 1));
    if (trained)
        add(p, true, false, n, D, n, 0.0f, count * 2);
}

static void add_layers(products_t *p, const ald_model_config_t *c, bool trained, int64_t T,
                       double passes)
{
    const int64_t H = c->hidden_size, I = c->intermediate_size, heads = c->heads * c->head_dim;
    double count = passes * (double)c->layers;
    add_linear(p, trained, T, heads + 2 * c->kv_heads * c->head_dim, H, count);
    add_linear(p, trained, T, H, heads, count);
    add_linear(p, trained, T, 2 * I, H, count);
    add_linear(p, trained, T, H, I, count);
}

/* Adds the vocabulary step, in the chunks that ald_head makes. */
static void add_head(products_t *p, const ald_model_config_t *c, bool trained, int64_t R,
                     double passes)
{
    int64_t chunk = ald_head_chunk(c->vocab_size) < R ? ald_head_chunk(c->vocab_size) : R;
    add_linear(p, trained, chunk, c->vocab_size, c->hidden_size, passes * (double)(R / chunk));
    add_linear(p, trained, R % chunk, c->vocab_size, c->hidden_size, passes);
}

void bench_products(const ald_bench_options_t *options, ald_bench_phase_t phase, products_t *out)
{
    const ald_model_config_t *c = &options->shape;
    const int64_t T = options->sequences * options->tokens;
    const bool trained = phase == ALD_BENCH_TRAIN;
    const double passes = phase == ALD_BENCH_SCORE ? 2.0 : 1.0;
    *out = (products_t){.count = 0};
    if (phase == ALD_BENCH_DECODE) { /* attention isn't a matrix product there */
        add_layers(out, c, false, options->sequences, DECODE_STEPS);
        add_linear(out, false, options->sequences, c->vocab_size, c->hidden_size, DECODE_STEPS);
        return;
    }
    add_layers(out, c, trained, T, passes);
    add_attention(out, options, trained, passes);
    if (phase != ALD_BENCH_FORWARD)
        add_head(out, c, trained, T, passes);
}

double bench_products_flop(const products_t *products)
{
    double flop = 0.0;
    for (int i = 0; i < products->count; ++i) {
        const product_t *p = &products->item[i];
        flop += 2.0 * (double)p->m * (double)p->n * (double)p->k * p->count;
    }
    return flop;
}

void bench_fill(int64_t count, float scale, float *x)
{
    enum {
        PERIOD = 65521
    }; /* a prime, so that the rows of a matrix differ; drawing all would take longer than
         the products */
    for (int64_t i = 0; i < PERIOD && i < count; ++i)
        x[i] = scale * (float)(2.0 * ald_rng_uniform(1, 0, (uint64_t)i) - 1.0);
#pragma omp parallel for schedule(static)
    for (int64_t at = PERIOD; at < count; at += PERIOD)
        memcpy(x + at, x, sizeof(float) * (size_t)(count - at < PERIOD ? count - at : PERIOD));
}

ald_status_t bench_limit_init(const products_t *products, double bytes, limit_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const double most = (double)READ_FLOATS * sizeof(float);
    int64_t floats[3] = {0};
    *out = (limit_t){.products = products, .bytes = bytes};
    out->floats = (int64_t)(bytes < most ? bytes : most) / (int64_t)sizeof(float);
    floats[0] = out->floats;
    for (int i = 0; i < products->count && bytes == 0.0; ++i) {
        const product_t *p = &products->item[i];
        const int64_t need[3] = {p->m * p->k, p->k * p->n, p->m * p->n};
        for (int b = 0; b < 3; ++b)
            floats[b] = need[b] > floats[b] ? need[b] : floats[b];
    }
    for (int b = 0; b < 3; ++b) {
        size_t size = sizeof(float) * (size_t)floats[b];
        out->matrix[b] = ald_alloc(size);
        ALD_CHECK_MEMORY(out->matrix[b], size);
        bench_fill(floats[b], 0.02f, out->matrix[b]);
    }
done:
    return status;
}

void bench_limit_reset(limit_t *limit)
{
    for (int b = 0; b < 3; ++b)
        ald_free(limit->matrix[b]);
    *limit = (limit_t){.products = NULL};
}

seconds_t bench_now(void)
{
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (seconds_t){ald_time(), (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

static seconds_t product_time(const product_t *p, const limit_t *buffers)
{
    const ald_gemm_t *gemm = ald_gemm_find("openblas");
    const ald_factor_t a = {buffers->matrix[0], p->transpose_a ? p->m : p->k, p->transpose_a};
    const ald_factor_t b = {buffers->matrix[1], p->transpose_b ? p->k : p->n, p->transpose_b};
    const ald_product_t product = {p->m, p->n, p->k, 1.0f, a, b, p->beta, buffers->matrix[2], p->n};
    const seconds_t begun = bench_now();
    seconds_t now = begun;
    double runs = 0.0;
    while (runs == 0.0 || (runs < p->count && now.wall - begun.wall < ENOUGH)) {
        gemm->run(&product);
        runs += 1.0;
        now = bench_now();
    }
    double scale = p->count / runs;
    return (seconds_t){(now.wall - begun.wall) * scale, (now.cpu - begun.cpu) * scale};
}

ALD_KERNEL(float, block_sum, (int64_t count, const float *x), (count, x))
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i)
        sum += x[i];
    return sum;
}

static double read_seconds(int64_t count, const float *x, double *sum)
{
    const int64_t block =
        16384; /* 64 KiB: summed in float, and no thread waits long for the last */
    double begun = ald_time(), total = 0.0;
#pragma omp parallel for schedule(static) reduction(+ : total)
    for (int64_t at = 0; at < count; at += block)
        total += block_sum(count - at < block ? count - at : block, x + at);
    *sum = total;
    return ald_time() - begun;
}

static seconds_t products_time(const limit_t *limit)
{
    seconds_t sum = {0.0, 0.0};
    for (int i = 0; i < limit->products->count; ++i) {
        seconds_t one = product_time(&limit->products->item[i], limit);
        sum.wall += one.wall;
        sum.cpu += one.cpu;
    }
    return sum;
}

static seconds_t reading_time(const limit_t *limit)
{
    const seconds_t begun = bench_now();
    seconds_t now = begun;
    double bytes = 0.0, sum, total = 0.0;
    while (bytes == 0.0 || now.wall - begun.wall < ENOUGH) {
        read_seconds(limit->floats, limit->matrix[0], &sum);
        total += sum;
        bytes += (double)limit->floats * sizeof(float);
        now = bench_now();
    }
    const double scale = isfinite(total) ? limit->bytes / bytes : NAN; /* uses the sums */
    return (seconds_t){(now.wall - begun.wall) * scale, (now.cpu - begun.cpu) * scale};
}

seconds_t bench_limit_time(const limit_t *limit)
{
    return limit->bytes > 0.0 ? reading_time(limit) : products_time(limit);
}

ald_status_t bench_machine(double *gflops, double *gigabytes)
{
    ald_status_t status = ALD_STATUS_OK;
    /* The best of five, as other programs only slow a try down. The three matrices of 9 MiB keep
     * all threads at work, and a try to some tens of milliseconds on two cores. */
    enum { TRIES = 5, SIDE = 1536 };
    const int64_t count = READ_FLOATS;
    const products_t square = {{{false, true, SIDE, SIDE, SIDE, 0.0f, 1.0}}, 1};
    const double flop = bench_products_flop(&square);
    limit_t limit = {.products = NULL};
    double sum;
    float *x = ald_alloc(sizeof(float) * (size_t)count);
    ALD_CHECK_MEMORY(x, sizeof(float) * (size_t)count);
    bench_fill(count, 1.0f, x);
    ALD_TRY(bench_limit_init(&square, 0.0, &limit));
    *gflops = *gigabytes = 0.0;
    for (int i = 0; i < TRIES; ++i) {
        double rate = flop / bench_limit_time(&limit).wall * 1e-9;
        double speed = (double)count * sizeof(float) / read_seconds(count, x, &sum) * 1e-9;
        *gflops = rate > *gflops ? rate : *gflops;
        *gigabytes = speed > *gigabytes ? speed : *gigabytes;
    }
    ALD_CHECK(isfinite(sum), ALD_STATUS_INTERNAL, "the sum of %lld numbers is %g", (long long)count,
              sum);
done:
    ald_free(x);
    bench_limit_reset(&limit);
    return status;
}
