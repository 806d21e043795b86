/* The interval that the programs of Arena-Hard give: percentiles of the mean over samples of the
 * battles, drawn with replacement. Draws depend on the seed alone.
 */
#include <math.h>
#include <stdlib.h>

#include "ald/base/rng.h"
#include "pipeline/judged_impl.h"

enum { SAMPLES = 1000 };

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between two of the sorted numbers on a straight line, as NumPy and pandas do. */
static double percentile(const double *sorted, double share)
{
    const double place = share * (SAMPLES - 1);
    const int below = (int)place < SAMPLES - 2 ? (int)place : SAMPLES - 2;
    return sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
}

void ald_judged_interval(const ald_vec_t *scores, int64_t seed, double tail, double out[2])
{
    double means[SAMPLES];
    const double n = (double)scores->count;
    for (int s = 0; s < SAMPLES; ++s) {
        double sum = 0.0;
        for (size_t i = 0; i < scores->count; ++i) {
            const double drawn = ald_rng_uniform((uint64_t)seed, (uint64_t)s, i) * n;
            sum += ALD_VEC_AT(scores, double, (size_t)drawn);
        }
        means[s] = scores->count > 0 ? sum / n : NAN;
    }
    qsort(means, SAMPLES, sizeof *means, by_size);
    out[0] = percentile(means, tail);
    out[1] = percentile(means, 1.0 - tail);
}
