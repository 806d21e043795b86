/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). A number depends on key and counter only, never on what was drawn before.
 * Layer: base. */
#ifndef ALD_BASE_RNG_H
#define ALD_BASE_RNG_H

#include <stdint.h>

/* The 10-round Philox block of a 128-bit counter under a 64-bit key. */
void ald_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4]);

/* Uniform in [0, 1), 53 bits; `stream` and `index` are the counter. */
double ald_rng_uniform(uint64_t key, uint64_t stream, uint64_t index);
/* Standard normal (Box-Muller). */
double ald_rng_normal(uint64_t key, uint64_t stream, uint64_t index);
/* A permutation of 0..count-1 (Fisher-Yates), the same for the same key and stream. */
void ald_rng_permutation(uint64_t key, uint64_t stream, int64_t count, int64_t *out);
/* Mixes two numbers into a key (splitmix64 finaliser). */
uint64_t ald_rng_mix(uint64_t a, uint64_t b);

#endif
