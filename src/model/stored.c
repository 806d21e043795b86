/* Element types of stored tensors, and their conversion. The loops are shared by OpenMP threads;
 * stored elements may lie at any address, hence the copies by memcpy. */
#include "ald/safetensors.h"

#include <string.h>

enum { PARALLEL_FROM = 1 << 15 };

int ald_dtype_size(ald_dtype_t dtype)
{
    return dtype == ALD_DTYPE_F32 ? 4 : 2;
}

const char *ald_dtype_name(ald_dtype_t dtype)
{
    static const char *const names[] = {"F32", "BF16", "F16"};
    return names[dtype];
}

static inline float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, m = half & 0x3FF;
    if (exponent == 31)
        return of_bits(sign | 0x7F800000 | m << 13);
    if (exponent == 0) { /* m times 2^-24, exact in float */
        float value = (float)m * 0x1p-24f;
        return sign ? -value : value;
    }
    return of_bits(sign | (exponent + 112) << 23 | m << 13);
}

static inline uint16_t f32_to_f16(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFF;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7F800000)
        return sign | 0x7E00;
    if (magnitude >= 0x477FF000) /* 65520 and above round to infinity */
        return sign | 0x7C00;
    if (magnitude < 0x38800000) /* below 2^-14: the sum's last place is 2^-24, one f16 subnormal */
        return sign | (uint16_t)(bits_of(of_bits(magnitude) + 0.5f) - bits_of(0.5f));
    magnitude += 0xC8000FFF + (magnitude >> 13 & 1); /* new exponent bias, half up, ties to even */
    return sign | (uint16_t)(magnitude >> 13);
}

static inline uint16_t f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void bf16_to_f32(const uint8_t *from, int64_t count, float *out)
{
#pragma omp parallel for simd schedule(static) if (count > PARALLEL_FROM)
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

static void halves_to_f32(const uint8_t *from, int64_t count, float *out)
{
#pragma omp parallel for schedule(static) if (count > PARALLEL_FROM)
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        out[i] = f16_to_f32(half);
    }
}

static void floats_to_f32(const uint8_t *from, int64_t count, float *out)
{
    const int64_t step = 1 << 20;
#pragma omp parallel for schedule(static) if (count > PARALLEL_FROM)
    for (int64_t i = 0; i < count; i += step) {
        int64_t some = count - i < step ? count - i : step;
        memcpy(out + i, from + 4 * i, (size_t)some * 4);
    }
}

void ald_stored_to_f32(const ald_stored_t *tensor, int64_t first, int64_t count, float *out)
{
    const uint8_t *from = (const uint8_t *)tensor->data + first * ald_dtype_size(tensor->dtype);
    switch (tensor->dtype) {
    case ALD_DTYPE_F32:
        floats_to_f32(from, count, out);
        break;
    case ALD_DTYPE_BF16:
        bf16_to_f32(from, count, out);
        break;
    case ALD_DTYPE_F16:
        halves_to_f32(from, count, out);
        break;
    }
}

void ald_f32_to_stored(const float *values, int64_t count, ald_dtype_t dtype, void *out)
{
    uint16_t *halves = out;
    switch (dtype) {
    case ALD_DTYPE_F32:
        memcpy(out, values, (size_t)count * sizeof *values);
        break;
    case ALD_DTYPE_BF16:
#pragma omp parallel for simd schedule(static) if (count > PARALLEL_FROM)
        for (int64_t i = 0; i < count; ++i)
            halves[i] = f32_to_bf16(values[i]);
        break;
    case ALD_DTYPE_F16:
#pragma omp parallel for schedule(static) if (count > PARALLEL_FROM)
        for (int64_t i = 0; i < count; ++i)
            halves[i] = f32_to_f16(values[i]);
        break;
    }
}
