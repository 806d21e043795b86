/* The table of matrix products: a fast one, one whose bits depend on nothing but its row, and a
 * slow twin that holds both to account. Also the number of threads, which they share. */
#include "ald/num/gemm.h"

#include <cblas.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "ald/config/choices.h"
#include "ald/num/kernel.h"

static void gemm_openblas(const ald_product_t *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    cblas_sgemm(CblasRowMajor, p->a.transposed ? CblasTrans : CblasNoTrans,
                p->b.transposed ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k,
                p->alpha, p->a.at, (int)p->a.ld, p->b.at, (int)p->b.ld, p->beta, p->c, (int)p->ldc);
}

static void gemm_twin(const ald_product_t *p)
{
    for (int64_t i = 0; i < p->m; ++i)
        for (int64_t j = 0; j < p->n; ++j) {
            float *c = p->c + i * p->ldc + j;
            double sum = 0.0;
            for (int64_t l = 0; l < p->k; ++l)
                sum += (double)p->a.at[p->a.transposed ? l * p->a.ld + i : i * p->a.ld + l] *
                       (double)p->b.at[p->b.transposed ? j * p->b.ld + l : l * p->b.ld + j];
            float old = p->beta == 0.0f ? 0.0f : p->beta * *c;
            *c = (float)(p->alpha * sum) + old;
        }
}

typedef float v16 __attribute__((vector_size(64), aligned(4)));

static inline __attribute__((always_inline)) float lanes_sum(v16 v)
{
    float s[16];
    memcpy(s, &v, sizeof s);
    for (int step = 8; step > 0; step /= 2)
        for (int i = 0; i < step; ++i)
            s[i] += s[i + step];
    return s[0];
}

/* MR x NR dot products from row i0 and column j0 on, each with 16 lanes of its own along k (the
 * floats of an AVX-512 register): the order of an element's sum doesn't depend on MR and NR. */
static inline __attribute__((always_inline)) void dot_tile(const ald_product_t *p, int MR, int NR,
                                                           int64_t i0, int64_t j0)
{
    const int64_t k = p->k, lda = p->a.ld, ldb = p->b.ld, ldc = p->ldc, whole = k / 16 * 16;
    const float *a = p->a.at + i0 * lda, *b = p->b.at + j0 * ldb;
    const float beta = p->beta;
    float *c = p->c + i0 * ldc + j0;
    v16 sum[8] = {{0}};
    for (int64_t l = 0; l < whole; l += 16)
        for (int i = 0; i < MR; ++i) {
            v16 x = *(const v16 *)(a + i * lda + l);
            for (int j = 0; j < NR; ++j)
                sum[i * NR + j] += x * *(const v16 *)(b + j * ldb + l);
        }
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NR; ++j) {
            float s = lanes_sum(sum[i * NR + j]);
            for (int64_t l = whole; l < k; ++l)
                s = __builtin_fmaf(a[i * lda + l], b[j * ldb + l], s);
            c[i * ldc + j] = beta == 0.0f ? s : s + beta * c[i * ldc + j];
        }
}

/* Computes the columns [j0, j1) of all rows of C, the share of one thread. */
ALD_CLONES
static void dot_columns(const ald_product_t *p, int64_t j0, int64_t j1)
{
    int64_t j = j0;
    for (; j + 4 <= j1; j += 4) {
        int64_t i = 0;
        for (; i + 2 <= p->m; i += 2)
            dot_tile(p, 2, 4, i, j);
        if (i < p->m)
            dot_tile(p, 1, 4, i, j);
    }
    for (; j < j1; ++j)
        for (int64_t i = 0; i < p->m; ++i)
            dot_tile(p, 1, 1, i, j);
}

static void gemm_invariant(const ald_product_t *p)
{
    const int64_t columns = 64;
    if (omp_in_parallel()) { /* every thread of the caller has a product of its own */
        dot_columns(p, 0, p->n);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < p->n; j += columns)
        dot_columns(p, j, j + columns < p->n ? j + columns : p->n);
}

static const ald_gemm_t back_ends[] = {
    {"openblas", gemm_openblas},
    {"invariant", gemm_invariant},
    {"twin", gemm_twin},
};

const ald_gemm_t *ald_gemm_find(const char *name)
{
    for (size_t i = 0; i < sizeof back_ends / sizeof back_ends[0]; ++i)
        if (strcmp(back_ends[i].name, name) == 0)
            return &back_ends[i];
    return NULL;
}

static const ald_gemm_t *chosen = &back_ends[0];

void ald_gemm_choose(ald_precision_t precision)
{
    static const char *const names[] = {
        [ALD_PRECISION_AUTO] = "openblas", [ALD_PRECISION_FP32] = "openblas"};
    chosen = ald_gemm_find(names[precision]);
}

const ald_gemm_t *ald_gemm_chosen(void)
{
    return chosen;
}

const char *ald_gemm_describe(void)
{
    static char text[96];
    char name[32] = "", version[32] = "";
    sscanf(openblas_get_config(), "%31s %31s", name, version);
    snprintf(text, sizeof text, "%s %s, %s kernel", name, version, openblas_get_corename());
    return text;
}

int ald_threads_set(int threads)
{
    cpu_set_t cpus;
    if (threads == 0)
        threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    openblas_set_num_threads(threads);
    omp_set_num_threads(threads);
    return threads;
}
