/* The table of divergences. A new one is a row at the end: its sums and its gradient over a
 * vocabulary, as vector code, and its slope at one outcome, in double precision. */
#include "ald/teacher/divergence.h"

#include <math.h>

#include "ald/config/choices.h"
#include "ald/num/kernel.h"

enum {
    BLOCK = 4096
}; /* addends of a sum in float: so few that its error stays below that of exp */

#define LN2    0.693147181f
#define INLINE static inline __attribute__((always_inline))
#define EACH_BLOCK(V, at, n)                                                                       \
    for (int64_t at = 0, n = V < BLOCK ? V : BLOCK; at < V;                                        \
         at += BLOCK, n = V - at < BLOCK ? V - at : BLOCK)

INLINE void reverse_block(int64_t n, const float *lp, const float *t, float lse_t, ald_sums_t *s)
{
    float reverse = 0.0f;
#pragma omp simd reduction(+ : reverse)
    for (int64_t v = 0; v < n; ++v)
        reverse += ald_expf(lp[v]) * (lp[v] - (t[v] - lse_t));
    s->reverse += reverse;
}

INLINE void forward_block(int64_t n, const float *lp, const float *t, float lse_t, ald_sums_t *s)
{
    float reverse = 0.0f, forward = 0.0f;
#pragma omp simd reduction(+ : reverse, forward)
    for (int64_t v = 0; v < n; ++v) {
        float ratio = lp[v] - (t[v] - lse_t);
        reverse += ald_expf(lp[v]) * ratio;
        forward -= ald_expf(t[v] - lse_t) * ratio;
    }
    s->reverse += reverse;
    s->forward += forward;
}

/* log m is computed as log(p + q) - log 2, since half of the least number that ald_expf gives isn't
 * normal. */
INLINE void jsd_block(int64_t n, const float *lp, const float *t, float lse_t, ald_sums_t *s)
{
    float reverse = 0.0f, pm = 0.0f, qm = 0.0f;
#pragma omp simd reduction(+ : reverse, pm, qm)
    for (int64_t v = 0; v < n; ++v) {
        float lq = t[v] - lse_t, p = ald_expf(lp[v]), q = ald_expf(lq);
        float lm = ald_logf(p + q) - LN2;
        reverse += p * (lp[v] - lq);
        pm += p > 0.0f ? p * (lp[v] - lm) : 0.0f;
        qm += q > 0.0f ? q * (lq - lm) : 0.0f;
    }
    s->reverse += reverse;
    s->to_mixture += pm;
    s->from_teacher += qm;
}

ALD_KERNEL(void, reverse_sum,
           (int64_t V, const float *lp, const float *t, float lse_t, ald_sums_t *s),
           (V, lp, t, lse_t, s))
{
    EACH_BLOCK(V, at, n)
    reverse_block(n, lp + at, t + at, lse_t, s);
}

ALD_KERNEL(void, forward_sum,
           (int64_t V, const float *lp, const float *t, float lse_t, ald_sums_t *s),
           (V, lp, t, lse_t, s))
{
    EACH_BLOCK(V, at, n)
    forward_block(n, lp + at, t + at, lse_t, s);
}

ALD_KERNEL(void, jsd_sum, (int64_t V, const float *lp, const float *t, float lse_t, ald_sums_t *s),
           (V, lp, t, lse_t, s))
{
    EACH_BLOCK(V, at, n)
    jsd_block(n, lp + at, t + at, lse_t, s);
}

static double reverse_value(const ald_sums_t *s)
{
    return s->reverse;
}

static double forward_value(const ald_sums_t *s)
{
    return s->forward;
}

static double jsd_value(const ald_sums_t *s)
{
    return 0.5 * (s->to_mixture + s->from_teacher);
}

/* dL/dz:  reverse  p ((lp - lq) - KL)      forward  p - q      jsd  p/2 (log(p/m) - KL(p || m)) */
ALD_KERNEL(void, reverse_gradient,
           (int64_t V, float scale, const ald_sums_t *s, float lse_t, const float *t, float *lp),
           (V, scale, s, lse_t, t, lp))
{
    const float kl = (float)s->reverse;
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        lp[v] = scale * ald_expf(lp[v]) * (lp[v] - (t[v] - lse_t) - kl);
}

ALD_KERNEL(void, forward_gradient,
           (int64_t V, float scale, const ald_sums_t *s, float lse_t, const float *t, float *lp),
           (V, scale, s, lse_t, t, lp))
{
    (void)s;
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        lp[v] = scale * (ald_expf(lp[v]) - ald_expf(t[v] - lse_t));
}

ALD_KERNEL(void, jsd_gradient,
           (int64_t V, float scale, const ald_sums_t *s, float lse_t, const float *t, float *lp),
           (V, scale, s, lse_t, t, lp))
{
    const float kl = (float)s->to_mixture;
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float p = ald_expf(lp[v]), lm = ald_logf(p + ald_expf(t[v] - lse_t)) - LN2;
        lp[v] = p > 0.0f ? scale * 0.5f * p * (lp[v] - lm - kl) : 0.0f;
    }
}

static double reverse_slope(const ald_sums_t *s, double lp, double lq)
{
    return lp - lq - s->reverse;
}

static double forward_slope(const ald_sums_t *s, double lp, double lq)
{
    const double p = exp(lp), q = exp(lq);
    (void)s;
    return 1.0 - (p > 0.0 ? q / p : 0.0);
}

static double jsd_slope(const ald_sums_t *s, double lp, double lq)
{
    const double p = exp(lp), q = exp(lq);
    return 0.5 * (lp - log(0.5 * (p + q)) - s->to_mixture);
}

void ald_sums_add(ald_sums_t *s, double lp, double lq)
{
    double p = exp(lp), q = exp(lq), m = 0.5 * (p + q);
    if (p > 0.0) {
        s->reverse += p * (lp - lq);
        s->to_mixture += p * (lp - log(m));
    }
    if (q > 0.0) {
        s->forward += q * (lq - lp);
        s->from_teacher += q * (lq - log(m));
    }
}

const ald_divergence_row_t *ald_divergence_row(ald_divergence_t divergence)
{
    static const ald_divergence_row_t rows[] = {
        [ALD_DIVERGENCE_REVERSE] = {reverse_sum, reverse_value, reverse_gradient, reverse_slope},
        [ALD_DIVERGENCE_FORWARD] = {forward_sum, forward_value, forward_gradient, forward_slope},
        [ALD_DIVERGENCE_JSD] = {jsd_sum, jsd_value, jsd_gradient, jsd_slope},
    };
    return &rows[divergence];
}
