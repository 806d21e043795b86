/* Estimates with their 95% intervals. Layer: base. */
#ifndef ALD_BASE_INTERVAL_H
#define ALD_BASE_INTERVAL_H

#include <stdint.h>

typedef struct {
    double value, low, high; /* NaN when there is nothing to estimate from */
    int64_t count;           /* observations */
} ald_interval_t;

/* A share of successes: the score interval (Wilson 1927). */
ald_interval_t ald_interval_share(int64_t successes, int64_t count);
/* sum(numerator) / sum(denominator) over `count` independent units, such as nats per token over
 * sequences: the ratio estimator with its linearised variance (Cochran 1977, chapter 6). With
 * `denominator` NULL (all 1) it is the mean with the normal interval. */
ald_interval_t ald_interval_ratio(int64_t count, const double *numerator,
                                  const double *denominator);

#endif
