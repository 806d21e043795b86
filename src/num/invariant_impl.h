/* Products of which each element is one dot product in a fixed order, and the rows of the second
 * factor may be of any stored type. Layer: num. */
#ifndef ALD_SRC_NUM_INVARIANT_IMPL_H
#define ALD_SRC_NUM_INVARIANT_IMPL_H

#include <stdint.h>

#include "ald/num/dtype.h"

/* c[m,n] = a[m,k] b[n,k]^T + beta c, rows lda, ldb and ldc elements apart; beta 0 doesn't read c.
 * An element has the same bits for any m, n, type of b with the same values, and number of threads,
 * and at all instruction levels that have FMA. */
typedef struct {
    int64_t m, n, k;
    const float *a;
    int64_t lda;
    ald_dtype_t dtype;
    const void *b; /* at any address */
    int64_t ldb;
    float beta, *c;
    int64_t ldc;
} stored_t;
/* On all threads; on the calling one alone in a parallel region and for a small product. */
void invariant_run(const stored_t *product);

#endif
