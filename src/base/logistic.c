/* A logistic regression as small as the length-controlled win rate needs: three features, hundreds
 * of rows, so a coordinate at a time is fast enough and easy to see through. */
#include "ald/base/logistic.h"

#include <math.h>
#include <string.h>

enum { MOST_ROUNDS = 100000, MOST_HALVINGS = 60 };
static const double TOLERANCE = 1e-11; /* of the largest step of a round */

/* log(1 + exp(z)), without overflow. */
static double softplus(double z)
{
    return z > 0.0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

static double margin(const ald_logistic_row_t *row, int features, const double *w)
{
    double z = 0.0;
    for (int k = 0; k < features; ++k)
        z += w[k] * row->x[k];
    return z;
}

/* Cross entropy of a row. */
static double loss_of(const ald_logistic_row_t *row, int features, const double *w)
{
    const double z = margin(row, features, w);
    return softplus(z) - row->y * z;
}

static double objective(const ald_logistic_row_t *rows, size_t count, int features, double c,
                        int without, const double *w)
{
    double sum = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; ++i)
        if (rows[i].fold != without)
            sum += rows[i].weight * loss_of(&rows[i], features, w);
    for (int k = 0; k < features; ++k)
        norm += fabs(w[k]);
    return norm + c * sum;
}

/* The Newton step of one coordinate, soft-thresholded (Yuan et al. 2010, eq. 20). */
static double step_of(const ald_logistic_row_t *rows, size_t count, int features, double c,
                      int without, const double *w, int k)
{
    double first = 0.0, second = 1e-12;
    for (size_t i = 0; i < count; ++i) {
        if (rows[i].fold == without)
            continue;
        const double p = 1.0 / (1.0 + exp(-margin(&rows[i], features, w))), x = rows[i].x[k];
        first += c * rows[i].weight * (p - rows[i].y) * x;
        second += c * rows[i].weight * p * (1.0 - p) * x * x;
    }
    if (first + 1.0 <= second * w[k])
        return -(first + 1.0) / second;
    if (first - 1.0 >= second * w[k])
        return -(first - 1.0) / second;
    return -w[k];
}

void ald_logistic_fit(const ald_logistic_row_t *rows, size_t count, int features, double c,
                      int without, double *w)
{
    memset(w, 0, (size_t)features * sizeof *w);
    double now = objective(rows, count, features, c, without, w);
    for (int round = 0, moved = 1; round < MOST_ROUNDS && moved; ++round) {
        moved = 0;
        for (int k = 0; k < features; ++k) {
            const double before = w[k];
            double step = step_of(rows, count, features, c, without, w, k), then = now;
            for (int i = 0; i < MOST_HALVINGS; ++i, step /= 2.0) {
                w[k] = before + step;
                then = objective(rows, count, features, c, without, w);
                if (then <= now)
                    break;
            }
            if (then > now)
                w[k] = before;
            else
                now = then;
            moved |= fabs(w[k] - before) > TOLERANCE * fmax(1.0, fabs(before));
        }
    }
}

/* The mean over folds of a fold's loss under the fit to the others. */
static double loss_of_folds(const ald_logistic_row_t *rows, size_t count, int features, int folds,
                            double c)
{
    double sum = 0.0;
    for (int fold = 0; fold < folds; ++fold) {
        double w[ALD_LOGISTIC_FEATURES], loss = 0.0;
        size_t held = 0;
        ald_logistic_fit(rows, count, features, c, fold, w);
        for (size_t i = 0; i < count; ++i) {
            if (rows[i].fold != fold)
                continue;
            loss += rows[i].weight * loss_of(&rows[i], features, w);
            ++held;
        }
        sum += held > 0 ? loss / (double)held : 0.0;
    }
    return sum / folds;
}

double ald_logistic_choose(const ald_logistic_row_t *rows, size_t count, int features, int folds)
{
    double best = 0.0, least = INFINITY;
    for (int i = 0; i < 10; ++i) {
        const double c = pow(10.0, -4.0 + 8.0 * i / 9.0);
        const double loss = loss_of_folds(rows, count, features, folds, c);
        if (loss < least) {
            least = loss;
            best = c;
        }
    }
    return best;
}
