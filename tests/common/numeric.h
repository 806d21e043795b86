/* Random arrays, and comparison with slow twins in double precision. */
#ifndef ALD_TESTS_NUMERIC_H
#define ALD_TESTS_NUMERIC_H

#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/num/kernel.h"
#include "scratch.h"

/* Standard normal times `scale`; freed by ald_free. The same numbers for the same stream. */
static inline float *random_floats(uint64_t stream, int64_t count, double scale)
{
    float *x = ald_alloc(sizeof(float) * (size_t)(count + 1));
    assert_non_null(x);
    for (int64_t i = 0; i < count; ++i)
        x[i] = (float)(scale * ald_rng_normal(99, stream, (uint64_t)i));
    return x;
}

static inline double *to_doubles(const float *x, int64_t count)
{
    double *y = ald_alloc(sizeof(double) * (size_t)(count + 1));
    assert_non_null(y);
    for (int64_t i = 0; i < count; ++i)
        y[i] = x[i];
    return y;
}

/* Every |found - expected| is within `bound` of the largest |expected|. */
static inline void expect_close(const char *what, int64_t count, const float *found,
                                const double *expected, double bound)
{
    double size = 0.0;
    for (int64_t i = 0; i < count; ++i)
        size = fabs(expected[i]) > size ? fabs(expected[i]) : size;
    for (int64_t i = 0; i < count; ++i)
        if (!(fabs(found[i] - expected[i]) <= bound * size))
            fail_msg("%s[%lld]: %.9g, expected %.9g, of %.3g at most", what, (long long)i,
                     (double)found[i], expected[i], size);
}

static inline void expect_near(const char *what, double found, double expected, double bound)
{
    if (!(fabs(found - expected) <= bound))
        fail_msg("%s: %.12g, expected %.12g within %.3g", what, found, expected, bound);
}

/* A scalar function of an array, for central differences. */
typedef double (*scalar_fn)(const void *context, const double *x);

static inline double slope_at(scalar_fn function, const void *context, double *x, int64_t i)
{
    const double step = 1e-5, keep = x[i];
    x[i] = keep + step;
    double above = function(context, x);
    x[i] = keep - step;
    double below = function(context, x);
    x[i] = keep;
    return (above - below) / (2.0 * step);
}

/* All partial derivatives at x, in double; freed by ald_free. */
static inline double *slopes(scalar_fn function, const void *context, const float *x, int64_t count)
{
    double *at = to_doubles(x, count), *out = to_doubles(x, count);
    for (int64_t i = 0; i < count; ++i)
        out[i] = slope_at(function, context, at, i);
    ald_free(at);
    return out;
}

static inline double dot_product(int64_t count, const double *a, const double *b)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; ++i)
        sum += a[i] * b[i];
    return sum;
}

/* The lowest level that is tested: with the sanitizers, which take long, the CPU's highest alone.
 */
#ifdef __SANITIZE_ADDRESS__
#define LOWEST_LEVEL ald_isa_highest()
#else
#define LOWEST_LEVEL ALD_ISA_BASE
#endif

/* Runs a group of tests on each instruction level of this CPU; how many failed. */
static inline int run_on_levels(const struct CMUnitTest *tests, size_t count)
{
    int failed = 0;
    for (ald_isa_t isa = LOWEST_LEVEL; isa <= ald_isa_highest(); ++isa) {
        expect_ok(ald_isa_set(ald_isa_name(isa)));
        failed += _cmocka_run_group_tests(ald_isa_name(isa), tests, count, NULL, NULL);
    }
    return failed;
}
#define RUN_ON_LEVELS(tests) run_on_levels(tests, sizeof(tests) / sizeof *(tests))

#endif
