/* Logistic regression with an L1 penalty, for a handful of features. Layer: base. */
#ifndef ALD_BASE_LOGISTIC_H
#define ALD_BASE_LOGISTIC_H

#include <stddef.h>

#include "ald/base/status.h"

enum { ALD_LOGISTIC_FEATURES = 4 }; /* at most */

/* An observation: features, the probability that it is of class 1, its weight. */
typedef struct {
    double x[ALD_LOGISTIC_FEATURES];
    double y, weight;
    int fold; /* observations of one fold are held out together */
} ald_logistic_row_t;

/* Finds the w that minimises sum |w| + C sum_i weight_i (-y_i log p_i - (1 - y_i) log(1 - p_i)),
 * where p_i = 1 / (1 + exp(-w x_i)): LIBLINEAR's L1-regularised logistic regression without an
 * intercept (Fan et al. 2008, eq. 2), by coordinate descent with Newton steps. Rows of `without` (a
 * fold; -1: none) are left out. */
void ald_logistic_fit(const ald_logistic_row_t *rows, size_t count, int features, double c,
                      int without, double *w);
/* The C of the ten 10^-4 ... 10^4 (evenly spaced by their logarithm) whose fits have the lowest
 * mean loss on the folds 0 ... folds - 1 that they haven't seen: scikit-learn's
 * LogisticRegressionCV, the first where several are equal. A fold's loss is the mean of weight
 * times cross entropy. */
double ald_logistic_choose(const ald_logistic_row_t *rows, size_t count, int features, int folds);

#endif
