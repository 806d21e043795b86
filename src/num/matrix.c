/* Products with weights as they lie in a mapped file, converted panel by panel on the way. So
 * frozen models take no memory of their own, and ranks and jobs of a node share one copy. */
#include "ald/num/matrix.h"

#include <omp.h>

#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "num/invariant_impl.h"

enum {
    SHARED_FLOATS = 1 << 21, /* of a panel for all threads, 8 MiB: products of it have full speed */
    OWN_FLOATS = 1 << 14,    /* of a panel for one thread, 64 KiB: it stays in the core's cache */
    OWN_ROWS = 4,            /* but of at least so many rows, which "invariant" takes at a time */
    FEW = 64,                /* rows of x up to which reading the weights takes longest */
};

int64_t ald_panel_floats(int64_t K)
{
    int64_t own = omp_get_max_threads() * OWN_ROWS * K;
    return own > SHARED_FLOATS ? own : SHARED_FLOATS;
}

static const void *row_of(const ald_block_t *block, int64_t row, int64_t K)
{
    return (const char *)block->data + row * K * ald_dtype_size(block->dtype);
}

static bool is_direct(const ald_block_t *block)
{
    return block->dtype == ALD_DTYPE_F32 && (uintptr_t)block->data % sizeof(float) == 0;
}

/* What a product has beside its matrix. */
typedef struct {
    ald_linear_t sizes;
    const float *x;
    float beta, *y;
} operands_t;

/* Converts the rows [first, first + count) of the whole matrix, by this thread alone or by all. */
static void convert_rows(const ald_matrix_t *w, int64_t first, int64_t count, int64_t K, bool alone,
                         float *out)
{
    for (int b = 0; count > 0; first -= w->block[b++].rows) {
        const ald_block_t *block = &w->block[b];
        if (first >= block->rows)
            continue;
        int64_t some = count < block->rows - first ? count : block->rows - first;
        if (alone)
            ald_dtype_row_to_f32(block->dtype, row_of(block, first, K), some * K, out);
        else
            ald_dtype_to_f32(block->dtype, row_of(block, first, K), some * K, out);
        out += some * K;
        first += some;
        count -= some;
    }
}

/* y[:, first:first + count] = x w^T (+ y) for so many rows w of the matrix. */
static void multiply(const ald_gemm_t *gemm, const operands_t *o, int64_t first, int64_t count,
                     const float *w)
{
    const ald_linear_t s = o->sizes;
    gemm->run(&(ald_product_t){
        s.M, count, s.K, 1.0f, {o->x, s.K, false}, {w, s.K, true}, o->beta, o->y + first, s.N});
}

/* For few rows of x: each thread converts some rows of w and multiplies them alone. */
static void linear_few(const ald_gemm_t *gemm, const operands_t *o, const ald_matrix_t *w)
{
    const int64_t N = o->sizes.N, K = o->sizes.K;
    const int64_t most = w->room / (OWN_ROWS * K); /* threads with a panel each, 1 or more */
    const int64_t threads = omp_get_max_threads() < most ? omp_get_max_threads() : most;
    const int64_t wanted = OWN_FLOATS / K, there = w->room / threads / K;
    int64_t rows = (wanted < there ? wanted : there) / OWN_ROWS * OWN_ROWS;
    rows = rows < OWN_ROWS ? OWN_ROWS : rows;
#pragma omp parallel for schedule(static) num_threads((int)threads)
    for (int64_t j = 0; j < N; j += rows) {
        float *own = w->panel + omp_get_thread_num() * rows * K;
        int64_t some = N - j < rows ? N - j : rows;
        convert_rows(w, j, some, K, true, own);
        multiply(gemm, o, j, some, own);
    }
}

/* For many rows of x: all threads convert one panel, then all multiply it. */
static void linear_many(const ald_gemm_t *gemm, const operands_t *o, const ald_matrix_t *w)
{
    const int64_t N = o->sizes.N, K = o->sizes.K;
    const int64_t rows = SHARED_FLOATS > K ? SHARED_FLOATS / K : 1;
    for (int64_t j = 0; j < N; j += rows) {
        int64_t some = N - j < rows ? N - j : rows;
        convert_rows(w, j, some, K, false, w->panel);
        multiply(gemm, o, j, some, w->panel);
    }
}

/* By products that take rows as they are stored. */
static void linear_stored(const operands_t *o, const ald_matrix_t *w)
{
    const ald_linear_t s = o->sizes;
    int64_t first = 0;
    for (int b = 0; b < w->blocks && first < s.N; first += w->block[b++].rows) {
        const ald_block_t *block = &w->block[b];
        int64_t n = s.N - first < block->rows ? s.N - first : block->rows;
        invariant_run(&(stored_t){s.M, n, s.K, o->x, s.K, block->dtype, block->data, s.K, o->beta,
                                  o->y + first, s.N});
    }
}

void ald_matrix_linear(const ald_gemm_t *gemm, ald_linear_t s, const float *x,
                       const ald_matrix_t *w, float beta, float *y)
{
    const operands_t o = {s, x, beta, y};
    bool direct = true;
    for (int b = 0; b < w->blocks; ++b)
        direct = direct && is_direct(&w->block[b]);
    if (gemm->stored) {
        linear_stored(&o, w);
    } else if (!direct && s.M <= FEW) {
        linear_few(gemm, &o, w);
    } else if (!direct) {
        linear_many(gemm, &o, w);
    } else {
        int64_t first = 0;
        for (int b = 0; b < w->blocks && first < s.N; first += w->block[b++].rows) {
            int64_t n = s.N - first < w->block[b].rows ? s.N - first : w->block[b].rows;
            multiply(gemm, &o, first, n, w->block[b].data);
        }
    }
}

void ald_matrix_gather(int64_t T, int64_t H, const int32_t *ids, const ald_matrix_t *w, float *x)
{
#pragma omp parallel for schedule(static) if (T * H > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        convert_rows(w, ids[t], 1, H, true, x + t * H);
}
