/* The table of matrix products: a fast one, one whose bits depend on nothing but its row, a slow
 * twin that holds both to account, and one for tests, which shows on every CPU what some CPUs do.
 */
#include "ald/num/gemm.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/rng.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "num/invariant_impl.h"

static void gemm_openblas(const ald_product_t *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    cblas_sgemm(CblasRowMajor, p->a.transposed ? CblasTrans : CblasNoTrans,
                p->b.transposed ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k,
                p->alpha, p->a.at, (int)p->a.ld, p->b.at, (int)p->b.ld, p->beta, p->c, (int)p->ldc);
}

/* On some CPUs a row of "openblas" depends on how many rows there are and which of them it is, on
 * others it doesn't. Here it always does, by up to 16 units in the last place. */
static void gemm_perturbed(const ald_product_t *p)
{
    gemm_openblas(p);
    for (int64_t i = 0; i < p->m; ++i) {
        const uint64_t mixed = ald_rng_mix((uint64_t)p->m, (uint64_t)i);
        const float factor = 1.0f + 0x1.0p-20f * ((float)(mixed >> 40) * 0x1.0p-23f - 1.0f);
        for (int64_t j = 0; j < p->n; ++j)
            p->c[i * p->ldc + j] *= factor;
    }
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

static void gemm_invariant(const ald_product_t *p)
{
    invariant_run(&(stored_t){p->m, p->n, p->k, p->a.at, p->a.ld, ALD_DTYPE_F32, p->b.at, p->b.ld,
                              p->beta, p->c, p->ldc});
}

static const ald_gemm_t back_ends[] = {
    {"openblas", gemm_openblas, false},
    {"invariant", gemm_invariant, true},
    {"twin", gemm_twin, false},
    {"perturbed", gemm_perturbed, false},
};

const ald_gemm_t *ald_gemm_find(const char *name)
{
    for (size_t i = 0; i < sizeof back_ends / sizeof back_ends[0]; ++i)
        if (strcmp(back_ends[i].name, name) == 0)
            return &back_ends[i];
    return NULL;
}

static const ald_gemm_t *chosen = &back_ends[0];

void ald_gemm_choose(ald_precision_t precision, ald_product_choice_t product)
{
    static const char *const names[] = {
        [ALD_PRECISION_AUTO] = "openblas", [ALD_PRECISION_FP32] = "openblas"};
    chosen = ald_gemm_find(product == ALD_PRODUCT_PERTURBED ? "perturbed" : names[precision]);
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
