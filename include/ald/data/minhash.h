/* How alike two texts are: sets of n-grams, their Jaccard similarity, and MinHash, which finds
 * alike ones among many. Layer: data. */
#ifndef ALD_DATA_MINHASH_H
#define ALD_DATA_MINHASH_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Appends a hash (uint64_t) for each n-gram of the words (uint64_t); one for all of them where
 * there are fewer than n, none where there is no word. Local. */
ald_status_t ald_grams_make(const ald_vec_t *words, int64_t n, ald_vec_t *grams);
/* Sorts them and leaves each once. Local. */
void ald_grams_sort(ald_vec_t *grams);
/* Whether the sorted ones have it. Local. */
bool ald_grams_have(const ald_vec_t *grams, uint64_t value);
/* |A and B| / |A or B| of two sets that are sorted; 0 where both are empty. */
double ald_grams_jaccard(const ald_vec_t *a, const ald_vec_t *b);

/* The most hash functions, bands times rows. */
#define ALD_MINHASH_MOST 1024

/* Hash functions in bands of so many rows each. */
typedef struct {
    int64_t bands, rows;
    uint32_t factor[ALD_MINHASH_MOST], mask[ALD_MINHASH_MOST];
} ald_minhash_t;

/* bands * rows is at most ALD_MINHASH_MOST. */
void ald_minhash_init(int64_t bands, int64_t rows, ald_minhash_t *out);
/* Fills signature[bands * rows]: the least value that each function has over the grams. The share
 * of equal values of two signatures estimates the Jaccard similarity. */
void ald_minhash_sign(const ald_minhash_t *minhash, const ald_vec_t *grams, uint32_t *signature);
/* A hash of the values of one band, never 0. */
uint32_t ald_minhash_band(const ald_minhash_t *minhash, const uint32_t *signature, int64_t band);
/* The probability that texts of this similarity have a band in common: 1 - (1 - s^rows)^bands. */
double ald_minhash_probability(double similarity, int64_t bands, int64_t rows);

#endif
