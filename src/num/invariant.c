/* Products for sampling, whose bits depend on nothing but row and column. Their order is that of 16
 * lanes along k, whatever the instruction level's vectors are, and no sum is cut by the tiles. */
#include "num/invariant_impl.h"

#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "ald/num/dtype.h"
#include "ald/num/kernel.h"

enum {
    PER_NUMBER = 32, /* products that take as long as an operation on a number */
    LANES = 16,      /* of a dot product: the floats of an AVX-512 register */
    COLUMNS = 4,     /* of a tile at most: rows of b */
    ROWS = 8,        /* of a that pass by some columns of b: they stay in a core's nearest cache */
    DEPTH = 512,     /* elements of k at a time */
    FEW = 4,         /* rows of a that are taken faster than b comes from memory */
    LINE = 64,       /* bytes that memory gives at a time */
    WHOLE = 12,      /* columns that are whole tiles of 3 or 4 */
    NEAR = 3 << 14,  /* floats of b, 192 KiB: they stay in its next cache while all rows pass by */
};

typedef float lanes_t[LANES];

/* What a tile adds to its dot products. So that b is on its way from memory in time, all parts of
 * the work on a group of columns, tile by tile and pass by pass, ask for lines of the next group.
 */
typedef struct {
    const float *a;
    int64_t lda;
    const void *b;
    int64_t ldb, count;
    bool from_zero;
    const char *next;           /* of the next group */
    int all_lines, lines, part; /* for 16 elements of k: of all parts, of one; the part's index */
} tile_t;

/* Rows of c, [i0, i1), and the first of some columns, whose lanes are kept, COLUMNS a row. */
typedef struct {
    int64_t i0, i1, j;
    lanes_t *lanes;
} part_t;

typedef float four_t __attribute__((vector_size(16)));

/* The sums of four rows of lanes: the upper half is added to the lower, until one is left. */
static inline __attribute__((always_inline)) void sum_lanes(const lanes_t lanes[COLUMNS],
                                                            float *out)
{
    four_t quarter[4][4], q[4];
    memcpy(quarter, lanes, sizeof quarter);
    for (int j = 0; j < 4; ++j)
        q[j] = (quarter[j][0] + quarter[j][2]) + (quarter[j][1] + quarter[j][3]);
    const four_t low01 = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
    const four_t high01 = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
    const four_t low23 = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
    const four_t high23 = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
    const four_t first = low01 + high01, second = low23 + high23;
    const four_t sum = __builtin_shufflevector(first, second, 0, 1, 4, 5) +
                       __builtin_shufflevector(first, second, 2, 3, 6, 7);
    memcpy(out, &sum, sizeof sum);
}

#if ALD_LEVELS
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define WIDTH        16
#define FEW_ROWS     4
#define MANY_ROWS    4
#define MANY_COLUMNS 4
#include "num/tile_impl.h"
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH        8
#define FEW_ROWS     3
#define MANY_ROWS    4
#define MANY_COLUMNS 3
#include "num/tile_impl.h"
#pragma GCC pop_options
#endif
#define WIDTH        4
#define FEW_ROWS     2
#define MANY_ROWS    2
#define MANY_COLUMNS 4
#include "num/tile_impl.h"

/* With few rows memory is the limit, which two passes of short registers use better than one pass
 * of long ones: they ask for b more evenly. */
static void columns(const stored_t *p, int64_t j0, int64_t j1)
{
#if ALD_LEVELS
    if (ald_isa == ALD_ISA_V4 && p->m > FEW)
        columns_16(p, j0, j1);
    else if (ald_isa >= ALD_ISA_V3)
        columns_8(p, j0, j1);
    else
#endif
        columns_4(p, j0, j1);
}

void invariant_run(const stored_t *p)
{
    if (omp_in_parallel() || p->m * p->n * p->k < PER_NUMBER * ALD_WORTH_WAKING) {
        columns(p, 0, p->n);
        return;
    }
    const int64_t groups = (p->n + WHOLE - 1) / WHOLE;
#pragma omp parallel
    {
        const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
        const int64_t j0 = thread * groups / threads * WHOLE;
        const int64_t j1 = (thread + 1) * groups / threads * WHOLE;
        columns(p, j0, j1 < p->n ? j1 : p->n);
    }
}
