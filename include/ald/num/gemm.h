/* Matrix products through one table of back ends. Layer: num. */
#ifndef ALD_NUM_GEMM_H
#define ALD_NUM_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/choices.h"

/* C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C, row-major; op transposes when asked, `ld` is the
 * distance between rows as stored. beta 0 doesn't read C. */
typedef struct {
    const float *at;
    int64_t ld;
    bool transposed;
} ald_factor_t;
typedef struct {
    int64_t m, n, k;
    float alpha;
    ald_factor_t a, b;
    float beta, *c;
    int64_t ldc;
} ald_product_t;
typedef void (*ald_gemm_fn)(const ald_product_t *product);

typedef struct {
    const char *name;
    ald_gemm_fn run;
    bool stored; /* ald/num/matrix.h has it for rows of any stored type, without a panel */
} ald_gemm_t;

/* "openblas": the fast one for training and scoring.
 * "invariant": each element of C is one dot product in a fixed order, so that a row of C has the
 * same bits whatever the other rows, their number and the number of threads are: for sampling. A is
 * never transposed, B always is, alpha is 1. "twin": three loops in double precision, to which the
 * tests hold the others. "perturbed": "openblas", and then each row of C times a number near 1 that
 * depends on m and on the row's place, so that results depend on what is computed in one product.
 * NULL for any other name. */
const ald_gemm_t *ald_gemm_find(const char *name);

/* Sets the back end of training and scoring in the whole process, by runtime.precision and
 * debug.product; until then it is that of "auto". Both values of the first mean float32, whose back
 * end is "openblas"; the second may put "perturbed" in its place. */
void ald_gemm_choose(ald_precision_t precision, ald_product_choice_t product);
const ald_gemm_t *ald_gemm_chosen(void);

/* The library behind "openblas", with the kernel that it picked for this CPU: "OpenBLAS 0.3.21, Zen
 * kernel". A static buffer. */
const char *ald_gemm_describe(void);

/* The sizes of a linear layer: M rows of K numbers become M rows of N. */
typedef struct {
    int64_t M, N, K;
} ald_linear_t;

/* y[M,N] = x[M,K] w[N,K]^T (+ y) (for a frozen model's w, ald/num/matrix.h). */
static inline void ald_linear(const ald_gemm_t *gemm, ald_linear_t s, const float *x,
                              const float *w, float beta, float *y)
{
    gemm->run(&(ald_product_t){s.M, s.N, s.K, 1.0f, {x, s.K, false}, {w, s.K, true}, beta, y, s.N});
}

/* dx[M,K] = dy[M,N] w[N,K] (+ dx) */
static inline void ald_linear_backward_input(const ald_gemm_t *gemm, ald_linear_t s,
                                             const float *dy, const float *w, float beta, float *dx)
{
    gemm->run(
        &(ald_product_t){s.M, s.K, s.N, 1.0f, {dy, s.N, false}, {w, s.K, false}, beta, dx, s.K});
}

/* dw[N,K] += dy[M,N]^T x[M,K] */
static inline void ald_linear_backward_weight(const ald_gemm_t *gemm, ald_linear_t s,
                                              const float *dy, const float *x, float *dw)
{
    gemm->run(
        &(ald_product_t){s.N, s.K, s.M, 1.0f, {dy, s.N, true}, {x, s.K, false}, 1.0f, dw, s.K});
}

#endif
