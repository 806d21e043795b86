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

static void gemm_openblas(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                          float *c, int64_t ldc)
{
    if (m == 0 || n == 0)
        return;
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

static void gemm_twin(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                      const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                      float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
            double sum = 0.0;
            for (int64_t l = 0; l < k; ++l)
                sum += (double)(ta ? a[l * lda + i] : a[i * lda + l]) *
                       (double)(tb ? b[j * ldb + l] : b[l * ldb + j]);
            float old = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
            c[i * ldc + j] = (float)(alpha * sum) + old;
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

/* MR x NR dot products, each with 16 lanes of its own along k (the floats of an AVX-512 register):
 * the order of an element's sum doesn't depend on MR and NR. */
static inline __attribute__((always_inline)) void dot_tile(int MR, int NR, int64_t k,
                                                           const float *a, int64_t lda,
                                                           const float *b, int64_t ldb, float beta,
                                                           float *c, int64_t ldc)
{
    v16 sum[8] = {{0}};
    int64_t whole = k / 16 * 16;
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
static void dot_columns(int64_t m, int64_t j0, int64_t j1, int64_t k, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    int64_t j = j0;
    for (; j + 4 <= j1; j += 4) {
        int64_t i = 0;
        for (; i + 2 <= m; i += 2)
            dot_tile(2, 4, k, a + i * lda, lda, b + j * ldb, ldb, beta, c + i * ldc + j, ldc);
        if (i < m)
            dot_tile(1, 4, k, a + i * lda, lda, b + j * ldb, ldb, beta, c + i * ldc + j, ldc);
    }
    for (; j < j1; ++j)
        for (int64_t i = 0; i < m; ++i)
            dot_tile(1, 1, k, a + i * lda, lda, b + j * ldb, ldb, beta, c + i * ldc + j, ldc);
}

static void gemm_invariant(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                           const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                           float *c, int64_t ldc)
{
    const int64_t columns = 64;
    (void)ta, (void)tb, (void)alpha;
    if (omp_in_parallel()) { /* every thread of the caller has a product of its own */
        dot_columns(m, 0, n, k, a, lda, b, ldb, beta, c, ldc);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j += columns)
        dot_columns(m, j, j + columns < n ? j + columns : n, k, a, lda, b, ldb, beta, c, ldc);
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
