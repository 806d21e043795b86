/* What kernels share: clones for several instruction sets, and an exp and a log that vectorise.
 * Layer: num. */
#ifndef ALD_NUM_KERNEL_H
#define ALD_NUM_KERNEL_H

#include <stdint.h>
#include <string.h>

/* A function with clones is compiled for several instruction sets, and the loader picks one: one
 * binary serves the unlike nodes of a cluster. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ALD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ALD_CLONES
#endif

/* exp(x) to 2 ulp for x in [-87, 88]; smaller x give 0, larger 88's value. Written so that gcc
 * vectorises loops over it: no call, ternary clamps, the rounding by a magic constant.
 * exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 in [-0.35, 0.35], Taylor to r^7. */
static inline float ald_expf(float x)
{
    float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float shifted = clamped * 1.44269504f + 12582912.0f; /* 1.5 2^23: rounds to an integer */
    float n = shifted - 12582912.0f;
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        float f;
        int32_t i;
    } scale = {.i = ((int32_t)n + 127) * (1 << 23)};
    return x < -87.0f ? 0.0f : p * scale.f;
}

/* log(x) to 2 ulp for normal x > 0; anything finite for other x. x = 2^n m, m in [0.71, 1.41], and
 * a polynomial in m - 1 (Cephes' logf). Vectorises like ald_expf. */
static inline float ald_logf(float x)
{
    union {
        float f;
        int32_t i;
    } bits = {.f = x}, mantissa;
    int32_t above = bits.i - 0x3F3504F3; /* sqrt(1/2) */
    float n = (float)(above >> 23);
    mantissa.i = (above & 0x7FFFFF) + 0x3F3504F3;
    float r = mantissa.f - 1.0f, square = r * r;
    float p = 7.0376836292e-2f;
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    p = p * r * square - n * 2.12194440e-4f - 0.5f * square;
    return r + p + n * 0.693359375f;
}

#endif
