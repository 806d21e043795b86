/* What kernels share: a version for each instruction level, and an exp and a log that vectorise.
 * Layer: num. */
#ifndef ALD_NUM_KERNEL_H
#define ALD_NUM_KERNEL_H

#include <stdint.h>
#include <string.h>

#include "ald/base/status.h"

/* The levels of the x86-64 psABI that kernels are compiled for: SSE2; AVX2, FMA and F16C; AVX-512.
 * One binary serves the unlike nodes of a cluster. V3 and V4 don't give the same bits everywhere,
 * as sums in lanes have as many lanes as a register: ALIGNDISTIL_ISA sets one level for all nodes.
 * Elsewhere ALD_ISA_BASE is what there is. */
typedef enum {
    ALD_ISA_BASE,
    ALD_ISA_V3,
    ALD_ISA_V4,
    ALD_ISA_COUNT,
} ald_isa_t;

/* The level that kernels run at: before main it is the CPU's highest. */
extern ald_isa_t ald_isa;
ald_isa_t ald_isa_highest(void);         /* that this CPU has */
const char *ald_isa_name(ald_isa_t isa); /* "x86-64", "x86-64-v3", "x86-64-v4" */
/* Sets the level, before threads run kernels; NULL: the CPU's highest. USAGE for an unknown name or
 * a level that this CPU lacks. Local. */
ald_status_t ald_isa_set(const char *name);

/* ALD_KERNEL(type, name, (parameters), (their names)) { body } defines a static function that runs
 * its body as compiled for the level `ald_isa`. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ALD_LEVELS 1
#define ALD_VERSION_OF(target_, type, name, version, params, args)                                 \
    target_ static type name##_##version params                                                    \
    {                                                                                              \
        return name##_body args;                                                                   \
    }
#define ALD_KERNEL(type, name, params, args)                                                       \
    static inline __attribute__((always_inline)) type name##_body params;                          \
    ALD_VERSION_OF(__attribute__((target("arch=x86-64-v4"))), type, name, v4, params, args)        \
    ALD_VERSION_OF(__attribute__((target("arch=x86-64-v3"))), type, name, v3, params, args)        \
    ALD_VERSION_OF(, type, name, base, params, args)                                               \
    static type name params                                                                        \
    {                                                                                              \
        return ald_isa == ALD_ISA_V4   ? name##_v4 args                                            \
               : ald_isa == ALD_ISA_V3 ? name##_v3 args                                            \
                                       : name##_base args;                                         \
    }                                                                                              \
    static inline __attribute__((always_inline)) type name##_body params
#else
#define ALD_LEVELS                           0
#define ALD_KERNEL(type, name, params, args) static type name params
#endif

/* Numbers, each taken through an operation or two, from which waking other threads pays: some
 * microseconds of one thread's time. A loop over fewer stays on its thread. */
enum { ALD_WORTH_WAKING = 1 << 15 };

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
        uint32_t u;
    } scale = {.u = ((uint32_t)(int32_t)n + 127u) << 23}; /* NaN, too, stays one through p */
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
