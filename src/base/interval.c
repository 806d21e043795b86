/* 95% intervals of shares and of ratios. The reports are of a few hundred answers, so a number
 * without its interval would be taken for more than it is. */
#include "ald/base/interval.h"

#include <math.h>
#include <stddef.h>

#define Z95 1.959963984540054 /* the normal distribution's 97.5% point */

ald_interval_t ald_interval_share(int64_t successes, int64_t count)
{
    double n = (double)count, p = (double)successes / n;
    double scale = 1.0 / (1.0 + Z95 * Z95 / n), middle = scale * (p + Z95 * Z95 / (2.0 * n));
    double half = scale * Z95 * sqrt(p * (1.0 - p) / n + Z95 * Z95 / (4.0 * n * n));
    if (count == 0)
        return (ald_interval_t){NAN, NAN, NAN, 0};
    return (ald_interval_t){p, successes == 0 ? 0.0 : middle - half,
                            successes == count ? 1.0 : middle + half, count};
}

ald_interval_t ald_interval_ratio(int64_t count, const double *numerator, const double *denominator)
{
    double top = 0.0, bottom = 0.0, squares = 0.0;
    for (int64_t i = 0; i < count; ++i) {
        top += numerator[i];
        bottom += denominator == NULL ? 1.0 : denominator[i];
    }
    double ratio = top / bottom;
    for (int64_t i = 0; i < count; ++i) {
        double residual = numerator[i] - ratio * (denominator == NULL ? 1.0 : denominator[i]);
        squares += residual * residual;
    }
    double n = (double)count, half = Z95 * sqrt(squares * n / (n - 1.0)) / bottom;
    if (count == 0)
        return (ald_interval_t){NAN, NAN, NAN, 0};
    return (ald_interval_t){ratio, ratio - half, ratio + half, count}; /* NaN bounds for one unit */
}
