/* Losses of preference pairs. They are functions of four numbers a pair, in double precision, since
 * sums over a response are large and their differences small. */
#include "ald/objective/preference.h"

#include <math.h>

#include "ald/config/choices.h"

/* log sigmoid(x) without overflow. */
static double log_sigmoid(double x)
{
    return x > 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static double sigmoid_loss(const ald_preference_t *settings, const ald_pair_sums_t *sums,
                           double *slope)
{
    const double s = settings->smoothing, beta = settings->beta;
    const double x = beta * ((sums->chosen - sums->reference_chosen) -
                             (sums->rejected - sums->reference_rejected));
    const double wrong = exp(log_sigmoid(-x)); /* sigmoid(-x) */
    *slope = beta * (-(1.0 - s) * wrong + s * (1.0 - wrong));
    return -(1.0 - s) * log_sigmoid(x) - s * log_sigmoid(-x);
}

double ald_preference_loss(const ald_preference_t *settings, const ald_pair_sums_t *sums,
                           double *slope)
{
    static double (*const losses[])(const ald_preference_t *, const ald_pair_sums_t *,
                                    double *) = {[ALD_PREFERENCE_SIGMOID] = sigmoid_loss};
    return losses[settings->loss](settings, sums, slope);
}
