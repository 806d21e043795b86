/* Weight matrices, used where they lie: in a flat float32 buffer, or as tensors of a mapped file in
 * the file's type. Layer: num. */
#ifndef ALD_NUM_MATRIX_H
#define ALD_NUM_MATRIX_H

#include <stdint.h>

#include "ald/num/dtype.h"
#include "ald/num/gemm.h"

/* Consecutive whole rows of a matrix, at any address. */
typedef struct {
    ald_dtype_t dtype;
    const void *data;
    int64_t rows;
} ald_block_t;

/* [rows, K]: up to three blocks one under the other (q, k, v are tensors of their own in a file,
 * and one matrix for the product). Nothing is owned. */
typedef struct {
    ald_block_t block[3];
    int blocks;
    float *panel; /* [room] scratch for blocks that sgemm can't take as they are, for one product at
                     a time; NULL for ald_matrix_of */
    int64_t room; /* floats: ald_panel_floats(K) or more */
} ald_matrix_t;

/* A matrix of float32 in memory. */
static inline ald_matrix_t ald_matrix_of(const float *values, int64_t rows)
{
    return (ald_matrix_t){.block = {{ALD_DTYPE_F32, values, rows}}, .blocks = 1};
}
/* The values of a matrix that ald_matrix_of made; the backward needs them. */
static inline const float *ald_matrix_floats(const ald_matrix_t *matrix)
{
    return (const float *)matrix->block[0].data;
}

/* Floats of a panel for matrices of at most K columns. */
int64_t ald_panel_floats(int64_t K);
/* y[M,N] = x[M,K] w[:N]^T (+ y), with the first N rows of w. Blocks of other types are converted
 * panel by panel on the way. An element of y depends on M, N, K, x and the values of w as in
 * ald_linear with "invariant" products; with the others the order of its sum may differ. Local;
 * OpenMP threads share the work. */
void ald_matrix_linear(const ald_gemm_t *gemm, ald_linear_t s, const float *x,
                       const ald_matrix_t *w, float beta, float *y);
/* x[t] = row ids[t] of w, [T,H]. Ids must lie within the matrix. */
void ald_matrix_gather(int64_t T, int64_t H, const int32_t *ids, const ald_matrix_t *w, float *x);

#endif
