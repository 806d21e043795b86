/* Random numbers by Philox4x32-10, each computed from a key and a counter. So a sample depends on
 * seed, row, step and position alone, on any number of ranks and in any order. */
#include "ald/base/rng.h"

#include <math.h>

/* One round: two 32 x 32 -> 64 products, crossed, with the key mixed in. */
static void philox_round(uint32_t c[4], const uint32_t key[2])
{
    uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
    uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ key[0], (uint32_t)p1,
                        (uint32_t)(p0 >> 32) ^ c[3] ^ key[1], (uint32_t)p0};
    for (int i = 0; i < 4; ++i)
        c[i] = next[i];
}

void ald_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4])
{
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    out[0] = (uint32_t)counter_low;
    out[1] = (uint32_t)(counter_low >> 32);
    out[2] = (uint32_t)counter_high;
    out[3] = (uint32_t)(counter_high >> 32);
    for (int round = 0; round < 10; ++round) {
        philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

double ald_rng_uniform(uint64_t key, uint64_t stream, uint64_t index)
{
    uint32_t out[4];
    ald_philox(key, stream, index, out);
    uint64_t bits = ((uint64_t)out[1] << 32 | out[0]) >> 11;
    return (double)bits * 0x1.0p-53;
}

double ald_rng_normal(uint64_t key, uint64_t stream, uint64_t index)
{
    uint32_t out[4];
    ald_philox(key, stream, index, out);
    double u = ((double)out[0] + 1.0) * 0x1.0p-32; /* (0, 1] */
    double v = (double)out[1] * 0x1.0p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void ald_rng_permutation(uint64_t key, uint64_t stream, int64_t count, int64_t *out)
{
    for (int64_t i = 0; i < count; ++i)
        out[i] = i;
    for (int64_t i = count - 1; i > 0; --i) {
        int64_t j = (int64_t)(ald_rng_uniform(key, stream, (uint64_t)i) * (double)(i + 1));
        int64_t swap = out[i];
        out[i] = out[j];
        out[j] = swap;
    }
}

uint64_t ald_rng_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a + 0x9E3779B97F4A7C15u * (b + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
