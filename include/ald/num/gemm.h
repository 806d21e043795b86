/* Matrix products through one table of back ends. Layer: num. */
#ifndef ALD_NUM_GEMM_H
#define ALD_NUM_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/choices.h"

/* C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C, row-major; op transposes when asked, `ld*` is the
 * distance between rows as stored. beta 0 doesn't read C. */
typedef void (*ald_gemm_fn)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                            float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                            float beta, float *c, int64_t ldc);

typedef struct {
    const char *name;
    ald_gemm_fn run;
} ald_gemm_t;

/* "openblas": the fast one for training and scoring.
 * "invariant": each element of C is one dot product in a fixed order, so that a row of C has the
 * same bits whatever the other rows, their number and the number of threads are: for sampling. A is
 * never transposed, B always is, alpha is 1. "twin": three loops in double precision, to which the
 * tests hold the others. NULL for any other name. */
const ald_gemm_t *ald_gemm_find(const char *name);

/* Sets the back end of training and scoring in the whole process, by runtime.precision; until then
 * it is that of "auto". Both values of the key mean float32, whose back end is "openblas". */
void ald_gemm_choose(ald_precision_t precision);
const ald_gemm_t *ald_gemm_chosen(void);

/* The library behind "openblas", with the kernel that it picked for this CPU: "OpenBLAS 0.3.21, Zen
 * kernel". A static buffer. */
const char *ald_gemm_describe(void);

/* y[M,N] = x[M,K] w[N,K]^T (+ y): a linear layer (for a frozen model's, ald/num/matrix.h). */
static inline void ald_linear(const ald_gemm_t *gemm, int64_t M, int64_t N, int64_t K,
                              const float *x, const float *w, float beta, float *y)
{
    gemm->run(false, true, M, N, K, 1.0f, x, K, w, K, beta, y, N);
}

/* dx[M,K] = dy[M,N] w[N,K] (+ dx) */
static inline void ald_linear_backward_input(const ald_gemm_t *gemm, int64_t M, int64_t N,
                                             int64_t K, const float *dy, const float *w, float beta,
                                             float *dx)
{
    gemm->run(false, false, M, K, N, 1.0f, dy, N, w, K, beta, dx, K);
}

/* dw[N,K] += dy[M,N]^T x[M,K] */
static inline void ald_linear_backward_weight(const ald_gemm_t *gemm, int64_t M, int64_t N,
                                              int64_t K, const float *dy, const float *x, float *dw)
{
    gemm->run(true, false, N, K, M, 1.0f, dy, N, x, K, 1.0f, dw, K);
}

/* Threads for everything in this process: OpenMP's pool, which OpenBLAS shares. 0: the cores that
 * this process may use. Returns the number set. */
int ald_threads_set(int threads);

#endif
