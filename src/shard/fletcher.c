/* HDF5's Fletcher-32 by vector instructions. Every byte of a shard is summed when it is written
 * and when it is read, and with HDF5's own filter writing would have half the speed. */
#include "ald/shard/fletcher.h"

#include <endian.h>
#include <string.h>

#include "ald/num/kernel.h"

/* With words w_0 ... w_{n-1} the checksum is Σ w_i and Σ (n - i) w_i, both modulo 65535, where a
 * sum that isn't zero is 1 to 65535. Swapping a word's bytes multiplies it by 256 modulo 65535, so
 * words may be summed in the machine's order and the two sums be swapped at the end.
 *
 * Lane l of L takes the words kL + l. With A_l = Σ_k w and B_l = Σ_k (m - k) w over m steps,
 * Σ (n - i) w_i = Σ_l (L B_l - l A_l); 32 bits hold B_l for up to 361 steps. Lanes come in pairs,
 * the halves of one little-endian integer. */
enum {
    LANES = 32,  /* words at a time: four registers of AVX2 hold their sums, each in 32 bits */
    STEPS = 360, /* after which the sums are reduced; up to 361 don't overflow */
    MODULUS = 65535,
};

typedef uint32_t eight_t __attribute__((vector_size(32), aligned(1), may_alias));

/* Both sums over steps * LANES words. */
ALD_KERNEL(void, sum_block, (const uint8_t *data, int64_t steps, uint64_t out[2]),
           (data, steps, out))
{
    eight_t a[4] = {{0}}, b[4] = {{0}}; /* of the low words of all pairs, then of the high ones */
    for (int64_t k = 0; k < steps; ++k) {
        const eight_t first = *(const eight_t *)(data + k * (int64_t)sizeof(eight_t) * 2);
        const eight_t second = *(const eight_t *)(data + k * (int64_t)sizeof(eight_t) * 2 + 32);
        a[0] += first & 0xFFFF;
        a[1] += second & 0xFFFF;
        a[2] += first >> 16;
        a[3] += second >> 16;
        b[0] += a[0];
        b[1] += a[1];
        b[2] += a[2];
        b[3] += a[3];
    }
    out[0] = out[1] = 0;
    for (int l = 0; l < LANES; ++l) {
        const int half = l % 2 * 2 + l / 16, at = l / 2 % 8;
        const uint64_t one = a[half][at], two = b[half][at];
        out[0] += one;
        out[1] += LANES * two - (uint64_t)l * one;
    }
}

typedef struct {
    uint64_t one, two; /* below 65535 */
    uint64_t any;      /* not zero when some word isn't */
} sums_t;

/* Adds the sums of the `words` words that come next. */
static void sums_add(sums_t *sums, uint64_t words, uint64_t one, uint64_t two)
{
    sums->two = (sums->two + words % MODULUS * sums->one + two) % MODULUS;
    sums->one = (sums->one + one) % MODULUS;
    sums->any |= one;
}

/* Half of the checksum: 1 to 65535 unless all words are zero, with the bytes in HDF5's order. */
static uint32_t half(const sums_t *sums, uint64_t sum)
{
    uint32_t word = sums->any != 0 && sum == 0 ? MODULUS : (uint32_t)sum;
    return htobe16((uint16_t)word);
}

uint32_t ald_fletcher32(const void *data, size_t size)
{
    const uint8_t *at = data;
    const size_t line = LANES * sizeof(uint16_t);
    sums_t sums = {0};
    while (size >= line) {
        const size_t left = size / line, steps = left < STEPS ? left : STEPS;
        uint64_t block[2];
        sum_block(at, (int64_t)steps, block);
        sums_add(&sums, steps * LANES, block[0], block[1]);
        at += steps * line;
        size -= steps * line;
    }
    while (size > 0) {
        uint16_t word = 0;
        const size_t some = size < sizeof word ? size : sizeof word;
        memcpy(&word, at, some);
        sums_add(&sums, 1, word, word);
        at += some;
        size -= some;
    }
    return half(&sums, sums.two) << 16 | half(&sums, sums.one);
}

void ald_fletcher32_put(void *to, uint32_t sum)
{
    sum = htole32(sum);
    memcpy(to, &sum, sizeof sum);
}

uint32_t ald_fletcher32_get(const void *from)
{
    uint32_t sum;
    memcpy(&sum, from, sizeof sum);
    return le32toh(sum);
}
