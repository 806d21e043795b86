/* Private to the bench: lists of matrix products, plain sgemm's time for them, and the machine's
 * limits. */
#ifndef ALD_BENCH_PRODUCTS_IMPL_H
#define ALD_BENCH_PRODUCTS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/bench/bench.h"

/* Tokens that one run of the decode phase adds to each sequence: enough for a time that a clock
 * measures well, few beside what the caches hold already. */
#define DECODE_STEPS 8

/* C[m,n] = op(A)[m,k] op(B)[k,n] + beta C, `count` times. Attention's products are square, and
 * their count is scaled by the share of the square that isn't masked. */
typedef struct {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    float beta;
    double count;
} product_t;

enum { PRODUCTS_MAX = 64 }; /* training, the phase with most kinds, has 21 */
typedef struct {
    product_t item[PRODUCTS_MAX];
    int count;
} products_t;

/* The products of one run of a phase. */
void bench_products(const ald_bench_options_t *options, ald_bench_phase_t phase, products_t *out);
double bench_products_flop(const products_t *products);

/* Seconds on the clock, and of the processors by all threads of this process. */
typedef struct {
    double wall, cpu;
} seconds_t;
seconds_t bench_now(void);

/* What a phase is held to: sgemm's time for its products, or where `bytes` isn't 0 the time in
 * which memory gives so many. The matrices A, B and C are large enough for each product; bytes are
 * read from A, again and again where they are more than 512 MiB. */
typedef struct {
    const products_t *products;
    double bytes;
    int64_t floats; /* of A, for reading */
    float *matrix[3];
} limit_t;
ald_status_t bench_limit_init(const products_t *products, double bytes, limit_t *out);
void bench_limit_reset(limit_t *limit);
/* What is needed often or takes no time is run for at least 0.1 s and scaled. */
seconds_t bench_limit_time(const limit_t *limit);

/* Sets `count` floats in [-scale, scale] that aren't all equal nor subnormal: products of zeros or
 * subnormals take other times. */
void bench_fill(int64_t count, float scale, float *x);

/* GFLOP/s of sgemm, GB/s of reading memory; the best of several. */
ald_status_t bench_machine(double *gflops, double *gigabytes);

#endif
