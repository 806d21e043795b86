/* MinHash over hashed n-grams (Broder 1997). The functions are (x ^ mask) * factor on 32 bits,
 * which vectorise; grams are mixed before, so that sets that people write look random to them. */
#include "ald/data/minhash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/num/kernel.h"

ald_status_t ald_grams_make(const ald_vec_t *words, int64_t n, ald_vec_t *grams)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint64_t *word = words->data;
    const size_t length = words->count < (size_t)n ? words->count : (size_t)n;
    for (size_t i = 0; length > 0 && i + length <= words->count; ++i) {
        uint64_t hash = length;
        for (size_t k = 0; k < length; ++k)
            hash = ald_rng_mix(hash, word[i + k]);
        ALD_TRY(ald_vec_push(grams, &hash));
    }
done:
    return status;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void ald_grams_sort(ald_vec_t *grams)
{
    uint64_t *value = grams->data;
    size_t kept = 0;
    if (grams->count == 0)
        return;
    qsort(value, grams->count, sizeof *value, by_value);
    for (size_t i = 0; i < grams->count; ++i)
        if (i == 0 || value[i] != value[kept - 1])
            value[kept++] = value[i];
    grams->count = kept;
}

bool ald_grams_have(const ald_vec_t *grams, uint64_t value)
{
    return grams->count > 0 &&
           bsearch(&value, grams->data, grams->count, sizeof value, by_value) != NULL;
}

double ald_grams_jaccard(const ald_vec_t *a, const ald_vec_t *b)
{
    size_t i = 0, j = 0, both = 0;
    while (i < a->count && j < b->count) {
        const uint64_t x = ALD_VEC_AT(a, uint64_t, i), y = ALD_VEC_AT(b, uint64_t, j);
        both += x == y;
        i += x <= y;
        j += y <= x;
    }
    const size_t any = a->count + b->count - both;
    return any == 0 ? 0.0 : (double)both / (double)any;
}

void ald_minhash_init(int64_t bands, int64_t rows, ald_minhash_t *out)
{
    out->bands = bands;
    out->rows = rows;
    for (int64_t i = 0; i < bands * rows; ++i) {
        const uint64_t random = ald_rng_mix(0x6D696E68617368u, (uint64_t)i);
        out->factor[i] = (uint32_t)random | 1u;
        out->mask[i] = (uint32_t)(random >> 32);
    }
}

/* least[i] = min(least[i], (x ^ mask[i]) * factor[i]) for every gram x. */
ALD_KERNEL(void, take_least,
           (const uint64_t *grams, size_t count, const ald_minhash_t *minhash, uint32_t *least),
           (grams, count, minhash, least))
{
    const size_t functions = (size_t)(minhash->bands * minhash->rows);
    const uint32_t *factor = minhash->factor, *mask = minhash->mask;
    for (size_t k = 0; k < count; ++k) {
        const uint32_t x = (uint32_t)grams[k];
        for (size_t i = 0; i < functions; ++i) {
            const uint32_t value = (x ^ mask[i]) * factor[i];
            least[i] = value < least[i] ? value : least[i];
        }
    }
}

void ald_minhash_sign(const ald_minhash_t *minhash, const ald_vec_t *grams, uint32_t *signature)
{
    memset(signature, 0xFF, (size_t)(minhash->bands * minhash->rows) * sizeof *signature);
    take_least(grams->data, grams->count, minhash, signature);
}

uint32_t ald_minhash_band(const ald_minhash_t *minhash, const uint32_t *signature, int64_t band)
{
    uint64_t hash = (uint64_t)band;
    for (int64_t i = 0; i < minhash->rows; ++i)
        hash = ald_rng_mix(hash, signature[band * minhash->rows + i]);
    const uint32_t folded = (uint32_t)(hash >> 32);
    return folded == 0 ? 1 : folded;
}

double ald_minhash_probability(double similarity, int64_t bands, int64_t rows)
{
    return 1.0 - pow(1.0 - pow(similarity, (double)rows), (double)bands);
}
