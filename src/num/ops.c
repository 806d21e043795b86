/* The decoder's operators other than products and attention, each backward beside its forward.
 * They are written so that their bits do not depend on the number of threads. */
#include "ald/num/ops.h"

#include <math.h>

#include "ald/num/kernel.h"

#define COLUMNS 64 /* that a thread sums over all rows: four cache lines, written by no other */

/* As in every sum over rows here, a thread takes whole columns, and each column is summed in the
 * order of the rows: the bits are the same for any number of threads. */
void ald_embedding_backward(int64_t T, int64_t H, const int32_t *ids, const float *dx,
                            float *dtable)
{
#pragma omp parallel for schedule(static) if (T * H > ALD_WORTH_WAKING)
    for (int64_t h0 = 0; h0 < H; h0 += COLUMNS) {
        int64_t h1 = h0 + COLUMNS < H ? h0 + COLUMNS : H;
        for (int64_t t = 0; t < T; ++t)
            for (int64_t h = h0; h < h1; ++h)
                dtable[ids[t] * H + h] += dx[t * H + h];
    }
}

ALD_KERNEL(float, inverse_rms, (int64_t H, double eps, const float *x), (H, eps, x))
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t h = 0; h < H; ++h)
        sum += x[h] * x[h];
    return (float)(1.0 / sqrt((double)sum / (double)H + eps));
}

ALD_KERNEL(void, rmsnorm_row,
           (int64_t H, float scale, const float *x, const float *w, float offset, float *y),
           (H, scale, x, w, offset, y))
{
#pragma omp simd
    for (int64_t h = 0; h < H; ++h)
        y[h] = x[h] * scale * (w[h] + offset);
}

void ald_rmsnorm(ald_norm_t norm, const float *x, float *y)
{
#pragma omp parallel for schedule(static) if (norm.rows * norm.H > ALD_WORTH_WAKING)
    for (int64_t r = 0; r < norm.rows; ++r) {
        const float *row = x + r * norm.ld;
        rmsnorm_row(norm.H, inverse_rms(norm.H, norm.eps, row), row, norm.w, norm.offset,
                    y + r * norm.ld);
    }
}

/* y = s x w, s = (mean(x^2) + eps)^-1/2:  dx = s w dy - x s^3 / H sum(dy w x), for w + offset */
ALD_KERNEL(void, rmsnorm_row_backward,
           (int64_t H, float s, const float *x, const float *w, float offset, const float *dy,
            int accumulate, float *dx),
           (H, s, x, w, offset, dy, accumulate, dx))
{
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t h = 0; h < H; ++h)
        dot += dy[h] * (w[h] + offset) * x[h];
    float c = dot * s * s * s / (float)H;
    if (accumulate)
#pragma omp simd
        for (int64_t h = 0; h < H; ++h)
            dx[h] += s * (w[h] + offset) * dy[h] - c * x[h];
    else
#pragma omp simd
        for (int64_t h = 0; h < H; ++h)
            dx[h] = s * (w[h] + offset) * dy[h] - c * x[h];
}

/* dw += sum over rows of dy x s. The scales s of a block of rows are computed first, once for all
 * columns. */
static void rmsnorm_weight_backward(ald_norm_t norm, const float *x, const float *dy, float *dw)
{
    const int64_t rows = norm.rows, H = norm.H, ld = norm.ld;
    enum { BLOCK = 256 }; /* rows: their scales are 1 KiB on the stack */
    float scale[BLOCK];
    for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
        int64_t count = rows - r0 < BLOCK ? rows - r0 : BLOCK;
#pragma omp parallel for schedule(static) if (count * H > ALD_WORTH_WAKING)
        for (int64_t i = 0; i < count; ++i)
            scale[i] = inverse_rms(H, norm.eps, x + (r0 + i) * ld);
#pragma omp parallel for schedule(static) if (count * H > ALD_WORTH_WAKING)
        for (int64_t h0 = 0; h0 < H; h0 += COLUMNS) {
            int64_t h1 = h0 + COLUMNS < H ? h0 + COLUMNS : H;
            for (int64_t i = 0; i < count; ++i)
                for (int64_t h = h0; h < h1; ++h)
                    dw[h] += dy[(r0 + i) * ld + h] * x[(r0 + i) * ld + h] * scale[i];
        }
    }
}

void ald_rmsnorm_backward(ald_norm_t norm, const float *x, const float *dy, int accumulate,
                          float *dx, float *dw)
{
    rmsnorm_weight_backward(norm, x, dy, dw);
#pragma omp parallel for schedule(static) if (norm.rows * norm.H > ALD_WORTH_WAKING)
    for (int64_t r = 0; r < norm.rows; ++r) {
        const float *row = x + r * norm.ld;
        rmsnorm_row_backward(norm.H, inverse_rms(norm.H, norm.eps, row), row, norm.w, norm.offset,
                             dy + r * norm.ld, accumulate, dx + r * norm.ld);
    }
}

void ald_bias(int64_t T, int64_t N, const float *bias, float *x)
{
#pragma omp parallel for schedule(static) if (T * N > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        for (int64_t n = 0; n < N; ++n)
            x[t * N + n] += bias[n];
}

void ald_bias_backward(int64_t T, int64_t N, const float *dy, float *dbias)
{
#pragma omp parallel for schedule(static) if (T * N > ALD_WORTH_WAKING)
    for (int64_t n0 = 0; n0 < N; n0 += COLUMNS) {
        int64_t n1 = n0 + COLUMNS < N ? n0 + COLUMNS : N;
        for (int64_t t = 0; t < T; ++t)
            for (int64_t n = n0; n < n1; ++n)
                dbias[n] += dy[t * N + n];
    }
}

void ald_add(int64_t count, const float *y, float *x)
{
#pragma omp parallel for simd schedule(static) if (count > ALD_WORTH_WAKING)
    for (int64_t i = 0; i < count; ++i)
        x[i] += y[i];
}

void ald_scale(int64_t count, float factor, float *x)
{
#pragma omp parallel for simd schedule(static) if (count > ALD_WORTH_WAKING)
    for (int64_t i = 0; i < count; ++i)
        x[i] *= factor;
}

ALD_KERNEL(void, rope_head, (int64_t half, const float *cosine, const float *sine, float *x),
           (half, cosine, sine, x))
{
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

void ald_rope(int64_t T, int64_t heads, int64_t D, int64_t ld, const int32_t *positions,
              const double *frequency, double factor, int direction, float *x)
{
    int64_t half = D / 2;
#pragma omp parallel for schedule(static) if (T * heads * D > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t) {
        float cosine[half], sine[half];
        for (int64_t i = 0; i < half; ++i) {
            /* transformers rounds frequency and angle to float32; the difference is below 1e-7 of
             * the angle, and double is the more exact side. */
            double angle = (double)positions[t] * frequency[i];
            cosine[i] = (float)(factor * cos(angle));
            sine[i] = (float)(direction * factor * sin(angle));
        }
        for (int64_t h = 0; h < heads; ++h)
            rope_head(half, cosine, sine, x + t * ld + h * D);
    }
}

ALD_KERNEL(void, swiglu_row, (int64_t I, const float *g, const float *u, float *y), (I, g, u, y))
{
#pragma omp simd
    for (int64_t i = 0; i < I; ++i)
        y[i] = g[i] / (1.0f + ald_expf(-g[i])) * u[i];
}

void ald_swiglu(int64_t T, int64_t I, const float *gu, float *y)
{
#pragma omp parallel for schedule(static) if (T * I > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        swiglu_row(I, gu + 2 * t * I, gu + (2 * t + 1) * I, y + t * I);
}

/* y = g s u, s = sigmoid(g):  dg = dy u s (1 + g (1 - s)), du = dy g s */
ALD_KERNEL(void, swiglu_row_backward,
           (int64_t I, const float *g, const float *u, const float *dy, float *dg, float *du),
           (I, g, u, dy, dg, du))
{
#pragma omp simd
    for (int64_t i = 0; i < I; ++i) {
        float gate = g[i], up = u[i];
        float s = 1.0f / (1.0f + ald_expf(-gate));
        dg[i] = dy[i] * up * s * (1.0f + gate * (1.0f - s));
        du[i] = dy[i] * gate * s;
    }
}

void ald_swiglu_backward(int64_t T, int64_t I, const float *gu, const float *dy, float *dgu)
{
#pragma omp parallel for schedule(static) if (T * I > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        swiglu_row_backward(I, gu + 2 * t * I, gu + (2 * t + 1) * I, dy + t * I, dgu + 2 * t * I,
                            dgu + (2 * t + 1) * I);
}

#define GELU_SLOPE 1.5957691216f /* sqrt(8 / pi) */
#define GELU_CUBIC 0.044715f

ALD_KERNEL(void, geglu_row, (int64_t I, const float *g, const float *u, float *y), (I, g, u, y))
{
#pragma omp simd
    for (int64_t i = 0; i < I; ++i) {
        float a = GELU_SLOPE * (g[i] + GELU_CUBIC * g[i] * g[i] * g[i]);
        y[i] = g[i] / (1.0f + ald_expf(-a)) * u[i];
    }
}

void ald_geglu(int64_t T, int64_t I, const float *gu, float *y)
{
#pragma omp parallel for schedule(static) if (T * I > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        geglu_row(I, gu + 2 * t * I, gu + (2 * t + 1) * I, y + t * I);
}

/* y = g s u, s = sigmoid(a(g)):  dg = dy u s (1 + g (1 - s) a'(g)), du = dy g s. Far out 1 - s is 0
 * sooner than a' is infinite. */
ALD_KERNEL(void, geglu_row_backward,
           (int64_t I, const float *g, const float *u, const float *dy, float *dg, float *du),
           (I, g, u, dy, dg, du))
{
#pragma omp simd
    for (int64_t i = 0; i < I; ++i) {
        float gate = g[i], up = u[i], square = gate * gate;
        float a = GELU_SLOPE * (gate + GELU_CUBIC * square * gate);
        float slope = GELU_SLOPE * (1.0f + 3.0f * GELU_CUBIC * square);
        float s = 1.0f / (1.0f + ald_expf(-a));
        dg[i] = dy[i] * up * s * (1.0f + gate * (1.0f - s) * slope);
        du[i] = dy[i] * gate * s;
    }
}

void ald_geglu_backward(int64_t T, int64_t I, const float *gu, const float *dy, float *dgu)
{
#pragma omp parallel for schedule(static) if (T * I > ALD_WORTH_WAKING)
    for (int64_t t = 0; t < T; ++t)
        geglu_row_backward(I, gu + 2 * t * I, gu + (2 * t + 1) * I, dy + t * I, dgu + 2 * t * I,
                           dgu + (2 * t + 1) * I);
}

ALD_KERNEL(float, maximum, (int64_t n, const float *x), (n, x))
{
    float m = x[0];
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; ++i)
        m = x[i] > m ? x[i] : m;
    return m;
}

/* Blocks of 4096 are summed in float, by as many lanes as a register has, and the blocks in double:
 * for sums as long as a vocabulary that has nearly the accuracy of double at the speed of float. */
ALD_KERNEL(double, exp_shifted, (int64_t n, const float *x, float shift, float *y),
           (n, x, shift, y))
{
    double total = 0.0;
    for (int64_t start = 0; start < n; start += 4096) {
        int64_t end = start + 4096 < n ? start + 4096 : n;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = start; i < end; ++i) {
            float e = ald_expf(x[i] - shift);
            y[i] = e;
            sum += e;
        }
        total += (double)sum;
    }
    return total;
}

double ald_exp_shifted(int64_t n, const float *x, float shift, float *y)
{
    return exp_shifted(n, x, shift, y);
}

ALD_KERNEL(double, sum_exp, (int64_t n, const float *x, float shift), (n, x, shift))
{
    double total = 0.0;
    for (int64_t start = 0; start < n; start += 4096) {
        int64_t end = start + 4096 < n ? start + 4096 : n;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = start; i < end; ++i)
            sum += ald_expf(x[i] - shift);
        total += (double)sum;
    }
    return total;
}

float ald_logsumexp(int64_t n, const float *x)
{
    float shift = maximum(n, x);
    return (float)((double)shift + log(sum_exp(n, x, shift)));
}

int64_t ald_argmax(int64_t n, const float *x)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i)
        if (x[i] > x[best])
            best = i;
    return best;
}
