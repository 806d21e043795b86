/* Conversion between float32 and what files hold. Stored elements may lie at any address, hence
 * the copies by memcpy; nothing branches, so that the loops become vector code. */
#include "ald/num/dtype.h"

#include <stdbool.h>
#include <string.h>

#include "ald/num/kernel.h"

enum { PIECE = 1 << 15 }; /* elements of a task: enough to be worth waking a thread */

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

/* A half's exponent and fraction, moved to their places in a float, give a number that is 2^-112
 * times too small, also for subnormals. Infinities and NaNs need the largest exponent besides. */
static inline float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = (uint32_t)(half & 0x7FFF) << 13;
    uint32_t bits = bits_of(of_bits(magnitude) * 0x1p112f);
    bits = magnitude >= 0x0F800000 ? magnitude | 0x7F800000 : bits;
    return of_bits(sign | bits);
}

/* All cases are computed and one is selected, so that loops over it become vector code. */
static inline uint32_t f32_to_f16(float value)
{
    const uint32_t bits = bits_of(value);
    const int32_t magnitude = bits & 0x7FFFFFFF; /* signed: AVX2 compares no other integers */
    const uint32_t kept = bits >> 13 & 0x3FF;
    const uint32_t nan = 0x7C00 | (kept != 0 ? kept : 0x200);
    /* for magnitudes below 2^-14 the last place of the sum with 0.5 is 2^-24, one f16 subnormal */
    const uint32_t subnormal = bits_of(of_bits((uint32_t)magnitude) + 0.5f) - bits_of(0.5f);
    /* the exponent's bias is changed, and the fraction rounded to nearest, ties to even */
    const uint32_t normal = ((uint32_t)magnitude + 0xC8000FFF + (bits >> 13 & 1)) >> 13;
    uint32_t half = magnitude < 0x38800000 ? subnormal : normal;
    half = magnitude >= 0x477FF000 ? 0x7C00 : half; /* 65520 and above round to infinity */
    half = magnitude > 0x7F800000 ? nan : half;
    return (bits >> 16 & 0x8000) | half;
}

/* A NaN whose payload lies in the bits that are cut off stays a NaN. */
static inline uint32_t f32_to_bf16(float value)
{
    const uint32_t bits = bits_of(value), upper = bits >> 16;
    const uint32_t nan = upper | ((upper & 0x7F) == 0 ? 0x40 : 0);
    const uint32_t rounded = (bits + 0x7FFF + (upper & 1)) >> 16;
    return (int32_t)(bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded;
}

ALD_KERNEL(void, bf16_to_f32, (const uint8_t *from, int64_t count, float *out), (from, count, out))
{
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

ALD_KERNEL(void, halves_to_f32, (const uint8_t *from, int64_t count, float *out),
           (from, count, out))
{
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        out[i] = f16_to_f32(half);
    }
}

void ald_dtype_row_to_f32(ald_dtype_t dtype, const void *from, int64_t count, float *out)
{
    switch (dtype) {
    case ALD_DTYPE_F32:
        memcpy(out, from, (size_t)count * sizeof *out);
        break;
    case ALD_DTYPE_BF16:
        bf16_to_f32(from, count, out);
        break;
    case ALD_DTYPE_F16:
        halves_to_f32(from, count, out);
        break;
    }
}

void ald_dtype_to_f32(ald_dtype_t dtype, const void *from, int64_t count, float *out)
{
    const uint8_t *bytes = from;
    const int64_t size = ald_dtype_size(dtype);
#pragma omp parallel for schedule(static) if (count > PIECE)
    for (int64_t i = 0; i < count; i += PIECE)
        ald_dtype_row_to_f32(dtype, bytes + i * size, count - i < PIECE ? count - i : PIECE,
                             out + i);
}

/* Whether all exponents are below the largest, which infinities and NaNs have. */
ALD_KERNEL(bool, words_finite, (const uint8_t *from, int64_t count), (from, count))
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; ++i) {
        uint32_t bits;
        memcpy(&bits, from + 4 * i, sizeof bits);
        bad |= (bits & 0x7F800000) == 0x7F800000;
    }
    return bad == 0;
}

ALD_KERNEL(bool, halves_finite, (uint16_t exponent, const uint8_t *from, int64_t count),
           (exponent, from, count))
{
    uint16_t bad = 0;
    for (int64_t i = 0; i < count; ++i) {
        uint16_t bits;
        memcpy(&bits, from + 2 * i, sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return bad == 0;
}

static bool row_finite(ald_dtype_t dtype, const uint8_t *from, int64_t count)
{
    return dtype == ALD_DTYPE_F32
               ? words_finite(from, count)
               : halves_finite(dtype == ALD_DTYPE_F16 ? 0x7C00 : 0x7F80, from, count);
}

int64_t ald_dtype_find_nonfinite(ald_dtype_t dtype, const void *from, int64_t count)
{
    const uint8_t *bytes = from;
    const int64_t size = ald_dtype_size(dtype);
    int64_t first = count; /* the first piece with one */
#pragma omp parallel for schedule(static) reduction(min : first) if (count > PIECE)
    for (int64_t i = 0; i < count; i += PIECE)
        if (i < first &&
            !row_finite(dtype, bytes + i * size, count - i < PIECE ? count - i : PIECE))
            first = i;
    while (first < count && row_finite(dtype, bytes + first * size, 1))
        ++first;
    return first < count ? first : -1;
}

/* Words of 32 bits are made narrow in a loop of their own: in one loop, gcc narrows what each
 * selects from as well. */
enum { NARROWED = 256 };

static inline void narrow(const uint32_t *words, int64_t count, uint16_t *out)
{
    for (int64_t i = 0; i < count; ++i)
        out[i] = (uint16_t)words[i];
}

ALD_KERNEL(void, f32_to_bf16s, (const float *values, int64_t count, uint16_t *out),
           (values, count, out))
{
    uint32_t words[NARROWED];
    for (int64_t at = 0; at < count; at += NARROWED) {
        const int64_t some = count - at < NARROWED ? count - at : NARROWED;
        for (int64_t i = 0; i < some; ++i)
            words[i] = f32_to_bf16(values[at + i]);
        narrow(words, some, out + at);
    }
}

ALD_KERNEL(void, f32_to_halves, (const float *values, int64_t count, uint16_t *out),
           (values, count, out))
{
    uint32_t words[NARROWED];
    for (int64_t at = 0; at < count; at += NARROWED) {
        const int64_t some = count - at < NARROWED ? count - at : NARROWED;
        for (int64_t i = 0; i < some; ++i)
            words[i] = f32_to_f16(values[at + i]);
        narrow(words, some, out + at);
    }
}

void ald_dtype_row_from_f32(const float *values, int64_t count, ald_dtype_t dtype, void *out)
{
    uint16_t *halves = out;
    switch (dtype) {
    case ALD_DTYPE_F32:
        memcpy(out, values, (size_t)count * sizeof *values);
        break;
    case ALD_DTYPE_BF16:
        f32_to_bf16s(values, count, halves);
        break;
    case ALD_DTYPE_F16:
        f32_to_halves(values, count, halves);
        break;
    }
}

void ald_f32_to_dtype(const float *values, int64_t count, ald_dtype_t dtype, void *out)
{
    uint8_t *bytes = out;
    const int64_t size = ald_dtype_size(dtype);
#pragma omp parallel for schedule(static) if (count > PIECE)
    for (int64_t i = 0; i < count; i += PIECE)
        ald_dtype_row_from_f32(values + i, count - i < PIECE ? count - i : PIECE, dtype,
                               bytes + i * size);
}
