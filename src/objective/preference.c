/* Losses of preference pairs. They are functions of four numbers a pair, in double precision, since
 * sums over a response are large and their differences small. */
#include "ald/objective/preference.h"

#include <math.h>

/* log sigmoid(x) without overflow. */
static double log_sigmoid(double x)
{
    return x > 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

double ald_dpo_loss(double beta, double smoothing, double chosen, double rejected,
                    double ref_chosen, double ref_rejected, double *d_margin)
{
    double x = beta * ((chosen - ref_chosen) - (rejected - ref_rejected));
    double wrong = exp(log_sigmoid(-x)); /* sigmoid(-x) */
    *d_margin = beta * (-(1.0 - smoothing) * wrong + smoothing * (1.0 - wrong));
    return -(1.0 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x);
}
