/* Chooses K tokens of a teacher, and bounds what the loss is off by for leaving out the others.
 * The bounds of the header are computed with room for the rounding of every stored number. */
#include "ald/teacher/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/num/kernel.h"
#include "ald/num/ops.h"
#include "ald/teacher/teacher.h"

#define UNKNOWN 1e30 /* above any KL, and finite */

/* --- making ----------------------------------------------------------------------------------- */

static const float *sort_keys; /* for qsort, which passes no context; each thread has its own */
#pragma omp threadprivate(sort_keys)

/* Orders by falling key, then by rising id. */
static int compare_ids(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (sort_keys[i] != sort_keys[j])
        return sort_keys[i] > sort_keys[j] ? -1 : 1;
    return (i > j) - (i < j);
}

/* Moves the ids of the K largest keys to the front, in no particular order (quickselect). */
static void select_top(int64_t V, int64_t K, const float *key, int32_t *id)
{
    int64_t low = 0, high = V - 1;
    while (low < high) {
        float pivot = key[id[low + (high - low) / 2]];
        int64_t i = low, j = high;
        while (i <= j) {
            while (key[id[i]] > pivot)
                ++i;
            while (key[id[j]] < pivot)
                --j;
            if (i <= j) {
                int32_t swap = id[i];
                id[i++] = id[j];
                id[j--] = swap;
            }
        }
        if (K - 1 <= j)
            high = j;
        else if (K - 1 >= i)
            low = i;
        else
            break;
    }
}

/* The mass outside the K tokens `id`. It is summed there, since 1 - the mass inside would lose its
 * digits. `work` holds log-probabilities [V] and is overwritten. */
static double outside_mass(int64_t V, int64_t K, const int32_t *id, float *work)
{
    double mass = 0.0;
    ald_exp_shifted(V, work, 0.0f, work);
    for (int64_t k = 0; k < K; ++k)
        work[id[k]] = 0.0f;
    for (int64_t v = 0; v < V; ++v)
        mass += (double)work[v];
    return mass;
}

/* key = max(l, l - rho, key - lse) */
ALD_KERNEL(void, largest_of_three,
           (int64_t V, float lse, const float *logprob, const float *ratio, float *key),
           (V, lse, logprob, ratio, key))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float first = logprob[v], second = first - ratio[v], third = key[v] - lse;
        float larger = first > second ? first : second;
        key[v] = larger > third ? larger : third;
    }
}

ALD_KERNEL(float, smallest, (int64_t n, const float *x), (n, x))
{
    float low = INFINITY;
#pragma omp simd reduction(min : low)
    for (int64_t i = 0; i < n; ++i)
        low = x[i] < low ? x[i] : low;
    return low;
}

ALD_KERNEL(float, largest, (int64_t n, const float *x), (n, x))
{
    float high = -INFINITY;
#pragma omp simd reduction(max : high)
    for (int64_t i = 0; i < n; ++i)
        high = x[i] > high ? x[i] : high;
    return high;
}

/* The log of the sum of exp(x). It is summed in blocks so short that the order of their sums hardly
 * matters. */
ALD_KERNEL(float, log_sum, (int64_t n, const float *x), (n, x))
{
    const float top = largest(n, x);
    double total = 0.0;
    for (int64_t start = 0; start < n; start += 256) {
        int64_t end = start + 256 < n ? start + 256 : n;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = start; i < end; ++i)
            sum += ald_expf(x[i] - top);
        total += (double)sum;
    }
    return (float)((double)top + log(total));
}

static void set_ids(int64_t K, const int32_t *id, float value, float *x)
{
    for (int64_t k = 0; k < K; ++k)
        x[id[k]] = value;
}

void ald_support_describe(const ald_teacher_t *teacher, double tvd, int64_t V, int64_t K,
                          const int32_t *id, const float *logprob, const float *ratio, float *key,
                          const ald_tail_rows_t *out)
{
    *out->alpha_max = (float)ald_teacher_alpha(teacher, tvd);
    for (int j = 0; j < ALD_KNOTS; ++j) {
        ald_teacher_extrapolate_row(V, *out->alpha_max * (0.5f * (float)j), -INFINITY, 1.0f,
                                    logprob, ratio, key);
        set_ids(K, id, INFINITY, key);
        out->least[j] = K < V ? smallest(V, key) : 0.0f;
        set_ids(K, id, -INFINITY, key);
        out->mass[j] = K < V ? log_sum(V, key) : -INFINITY;
    }
    memcpy(key, ratio, sizeof *key * (size_t)V);
    set_ids(K, id, INFINITY, key);
    *out->ratio_least = K < V ? smallest(V, key) : 0.0f;
    set_ids(K, id, -INFINITY, key);
    *out->ratio_most = K < V ? largest(V, key) : 0.0f;
    for (int64_t v = 0; v < V; ++v)
        key[v] = logprob[v] - ratio[v];
    *out->tail_contrast = (float)log(outside_mass(V, K, id, key));
}

void ald_support_make(const ald_teacher_t *teacher, double tvd, int64_t V, int64_t K,
                      const float *logprob, const float *ratio, float *key, int32_t *ids,
                      const ald_support_rows_t *out)
{
    const double alpha = ald_teacher_alpha(teacher, tvd);
    const float inverse_tau = (float)(1.0 / teacher->temperature);
    ald_teacher_extrapolate_row(V, (float)ald_teacher_factor(teacher, alpha), -INFINITY,
                                inverse_tau, logprob, ratio, key);
    largest_of_three(V, ald_logsumexp(V, key), logprob, ratio, key);
    for (int64_t v = 0; v < V; ++v)
        ids[v] = (int32_t)v;
    if (K < V)
        select_top(V, K, key, ids);
    sort_keys = key;
    qsort(ids, (size_t)K, sizeof *ids, compare_ids);
    for (int64_t k = 0; k < K; ++k) {
        out->id[k] = ids[k];
        out->logprob[k] = logprob[ids[k]];
        out->ratio[k] = ratio[ids[k]];
    }
    memcpy(key, logprob, sizeof *key * (size_t)V);
    *out->tail_dpo = (float)log(outside_mass(V, K, ids, key));
    ald_support_describe(teacher, tvd, V, K, ids, logprob, ratio, key, &out->tail);
}

/* --- bounding --------------------------------------------------------------------------------- */

/* An interval that holds F(a), or G(a). */
typedef struct {
    double low, high;
} span_t;

/* The interval of a stored number: the number and its margin. */
static span_t knot(const ald_tail_t *tail, const float *values, int j)
{
    double a = tail->alpha_max * 0.5 * j, value = values[j];
    double most = fmax(fabs(tail->ratio_least), fabs(tail->ratio_most));
    double margin = 0x1p-22 * (128.0 + fabs(value) + fabs(a) * most);
    return (span_t){value - margin, value + margin};
}

/* The value at x of the line through (x0, y0) and (x1, y1). */
static double line(double x0, double y0, double x1, double y1, double x)
{
    return x1 > x0 ? y0 + (y1 - y0) * ((x - x0) / (x1 - x0)) : fmax(y0, y1);
}

/* Where a lies: j between the knots j and j + 1; -1 or ALD_KNOTS - 1 beyond an end. */
static int interval_of(const ald_tail_t *tail, double a)
{
    if (a < 0.0)
        return -1;
    for (int j = 0; j + 1 < ALD_KNOTS; ++j)
        if (a <= tail->alpha_max * 0.5 * (j + 1))
            return j;
    return ALD_KNOTS - 1;
}

/* The interval beyond an end, where every value changes by the step times some rho of the tail. */
static span_t beyond(const ald_tail_t *tail, const float *values, int end, double a)
{
    span_t at = knot(tail, values, end);
    double step = a - tail->alpha_max * 0.5 * end;
    double one = step * tail->ratio_least, two = step * tail->ratio_most;
    return (span_t){at.low + fmin(one, two), at.high + fmax(one, two)};
}

static span_t mass_at(const ald_tail_t *tail, double a)
{
    const int left = interval_of(tail, a);
    span_t k[ALD_KNOTS], out;
    double half = 0.5 * tail->alpha_max;
    for (int j = 0; j < ALD_KNOTS; ++j)
        k[j] = knot(tail, tail->mass, j);
    if (left < 0)
        return beyond(tail, tail->mass, 0, a);
    if (left == ALD_KNOTS - 1) {
        out = beyond(tail, tail->mass, left, a);
        if (half > 0.0)
            out.low = fmax(out.low, line(half, k[1].high, 2.0 * half, k[2].low, a));
        return out;
    }
    out.high = line(left * half, k[left].high, (left + 1) * half, k[left + 1].high, a);
    out.low = beyond(tail, tail->mass, left, a).low;
    out.low = fmax(out.low, beyond(tail, tail->mass, left + 1, a).low);
    if (half > 0.0 && left == 0)
        out.low = fmax(out.low, line(half, k[1].low, 2.0 * half, k[2].high, a));
    if (half > 0.0 && left == 1)
        out.low = fmax(out.low, line(0.0, k[0].high, half, k[1].low, a));
    return out;
}

/* A number below G(a). */
static double least_at(const ald_tail_t *tail, double a)
{
    const int left = interval_of(tail, a);
    double half = 0.5 * tail->alpha_max;
    if (left < 0 || left == ALD_KNOTS - 1)
        return beyond(tail, tail->least, left < 0 ? 0 : left, a).low;
    double chord = line(left * half, knot(tail, tail->least, left).low, (left + 1) * half,
                        knot(tail, tail->least, left + 1).low, a);
    return half > 0.0 ? chord : beyond(tail, tail->least, left, a).low;
}

/* An interval that holds log sum_T exp((l + a rho) / tau). */
static span_t tail_span(const ald_teacher_t *teacher, double a, int64_t V, int64_t vocab_size,
                        int64_t K, const ald_tail_t *tail)
{
    const double tau = teacher->temperature, n = (double)(vocab_size - K);
    if (n < 1.0)
        return (span_t){-INFINITY, -INFINITY};
    span_t out = mass_at(tail, a);
    double shift = (1.0 - 1.0 / tau) * log(n);
    out.low = out.low / tau + fmin(shift, 0.0);
    out.high = out.high / tau + fmax(shift, 0.0);
    if (V < vocab_size) /* any part of the tail may be of tokens that the policy lacks */
        out.low = -INFINITY;
    return out;
}

static double half_error(double stored)
{
    return 0x1p-11 * fabs(stored) + 0x1p-25;
}

/* Sums over the K tokens and the bucket. Weights are relative to exp(top). */
typedef struct {
    double top, made, low, high; /* Z^, Z-, Z+ */
    double bucket;               /* log w^_T; -infinity: none */
    double deltas;               /* sum_S p d */
    bool known;                  /* false: the rounding is so large that nothing can be said */
    span_t tail;
} totals_t;

static double logit_of(const ald_teacher_t *teacher, double a, const ald_support_t *s, int64_t k)
{
    return ((double)s->logprob_dpo[k] + a * (double)s->log_ratio[k]) / teacher->temperature;
}

static double delta_of(const ald_teacher_t *teacher, double a, const ald_support_t *s, int64_t k)
{
    return (half_error((double)s->logprob_dpo[k]) + fabs(a) * half_error((double)s->log_ratio[k])) /
           teacher->temperature;
}

static totals_t sum_support(const ald_teacher_t *teacher, double a, int64_t V,
                            const ald_support_t *s, span_t tail, float lse, const float *z)
{
    bool has = isfinite(s->tail_dpo) && isfinite(s->tail_contrast) && tail.high > -INFINITY;
    totals_t t = {.tail = tail, .known = true};
    t.bucket = has ? (s->tail_dpo + a * (s->tail_dpo - s->tail_contrast)) / teacher->temperature
                   : -INFINITY;
    t.top = fmax(tail.high, t.bucket);
    for (int64_t k = 0; k < s->count; ++k)
        if (s->id[k] < V)
            t.top = fmax(t.top, logit_of(teacher, a, s, k));
    t.made = exp(t.bucket - t.top);
    t.low = exp(tail.low - t.top);
    t.high = exp(tail.high - t.top);
    for (int64_t k = 0; k < s->count; ++k) {
        if (s->id[k] >= V)
            continue;
        double x = logit_of(teacher, a, s, k) - t.top, d = delta_of(teacher, a, s, k);
        t.known = t.known && d < 50.0;
        t.made += exp(x);
        t.low += exp(x - d);
        t.high += exp(x + d);
        t.deltas += exp((double)(z[s->id[k]] - lse)) * d;
    }
    t.known = t.known && t.made > 0.0 && t.low > 0.0 && isfinite(t.high);
    return t;
}

static double variation_of(const ald_teacher_t *teacher, double a, int64_t V,
                           const ald_support_t *s, const totals_t *t)
{
    const double tail = exp(t->tail.high - t->top), tail_low = exp(t->tail.low - t->top);
    double sum = tail / (t->low - tail_low + tail) + exp(t->bucket - t->top) / t->made;
    for (int64_t k = 0; k < s->count; ++k) {
        if (s->id[k] >= V)
            continue;
        double x = logit_of(teacher, a, s, k) - t->top, d = delta_of(teacher, a, s, k);
        double low = exp(x - d), high = exp(x + d), made = exp(x) / t->made;
        double most = high / (t->low + high - low), least = low / (t->high + low - high);
        sum += fmax(most - made, made - least);
    }
    return fmin(0.5 * sum + 1e-9, 1.0);
}

/* Sums of p and of p log p, in float over short blocks. */
ALD_KERNEL(void, entropy_sums, (int64_t V, float lse, const float *z, double *mass, double *plogp),
           (V, lse, z, mass, plogp))
{
    double p = 0.0, h = 0.0;
    for (int64_t start = 0; start < V; start += 256) {
        int64_t end = start + 256 < V ? start + 256 : V;
        float ps = 0.0f, hs = 0.0f;
#pragma omp simd reduction(+ : ps, hs)
        for (int64_t v = start; v < end; ++v) {
            float lp = z[v] - lse, e = ald_expf(lp);
            ps += e;
            hs += e * lp;
        }
        p += (double)ps;
        h += (double)hs;
    }
    *mass = p;
    *plogp = h;
}

/* P and H of the header: mass and sum of p log p of the student outside the support. */
static void outside_sums(int64_t V, const ald_support_t *s, float lse, float *z, double *mass,
                         double *plogp)
{
    float kept[s->count + 1];
    for (int64_t k = 0; k < s->count; ++k)
        if (s->id[k] < V)
            kept[k] = z[s->id[k]];
    for (int64_t k = 0; k < s->count; ++k)
        if (s->id[k] < V)
            z[s->id[k]] = -1e30f;
    entropy_sums(V, lse, z, mass, plogp);
    for (int64_t k = s->count; k-- > 0;)
        if (s->id[k] < V)
            z[s->id[k]] = kept[k];
}

static double reverse_of(const ald_teacher_t *teacher, double a, const ald_tail_t *tail,
                         const totals_t *t, double mass, double plogp)
{
    const double least = least_at(tail, a) / teacher->temperature, slack = 0x1p-11;
    const double bucket = t->bucket > -INFINITY ? t->bucket : 0.0;
    double up = (1.0 + slack) * (t->deltas + log(t->high / t->made));
    double down = (1.0 + slack) * (t->deltas - log(t->low / t->made));
    if (mass > 0.0 && t->tail.high > -INFINITY) {
        /* Without a bucket the tail isn't in the loss at all: its term is P log P - log q. */
        double merged = t->bucket > -INFINITY ? mass * log(mass) : 0.0;
        up += plogp + slack * fabs(plogp) - merged + slack * fabs(merged) +
              mass * (bucket - least) + slack * mass * (fabs(bucket) + fabs(least));
        down += t->bucket > -INFINITY
                    ? mass * (t->tail.high - bucket) + slack * mass * fabs(t->tail.high - bucket)
                    : mass * (t->tail.high - t->top - log(mass));
        if (!(t->bucket > -INFINITY)) {
            up += mass * (t->top + log(t->made));
            down -= mass * log(t->made);
        }
    }
    return fmin(fmax(fmax(up, down), 0.0) + 1e-6, UNKNOWN);
}

ald_support_error_t ald_support_error(const ald_teacher_t *teacher, double factor, int64_t V,
                                      int64_t vocab_size, const ald_support_t *support,
                                      const ald_tail_t *tail, float *z)
{
    float lse = ald_logsumexp(V, z);
    double mass, plogp;
    int64_t inside = 0;
    span_t span = {-INFINITY, -INFINITY};
    for (int64_t k = 0; k < support->count; ++k)
        inside += support->id[k] < V;
    if (inside < V) /* else no token is left in the tail: it was of tokens from V on alone */
        span = tail_span(teacher, factor, V, vocab_size, support->count, tail);
    totals_t t = sum_support(teacher, factor, V, support, span, lse, z);
    if (!t.known)
        return (ald_support_error_t){1.0, UNKNOWN};
    outside_sums(V, support, lse, z, &mass, &plogp);
    return (ald_support_error_t){variation_of(teacher, factor, V, support, &t),
                                 reverse_of(teacher, factor, tail, &t, mass, plogp)};
}
