/* Labels of pairs that may be the wrong way round: the parts that a data file is cut into, a model
 * of the noise, and the exchange of a row's answers. All functions are local. Layer: data. */
#ifndef ALD_DATA_LABELS_H
#define ALD_DATA_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/data/pairs.h"

/* The part, from 0 to folds - 1, that rows of this prompt are in: by its tokens and the seed alone,
 * so that rows of one prompt stay together. */
int64_t ald_labels_fold(const ald_text_t *prompt, uint64_t seed, int64_t folds);

/* Labels are flipped with the rate e. A margin of m prefers, of the two answers, the one that is
 * better with the probability p = 1 / (1 + exp(-s |m|)). A label then agrees with the margin with
 * the probability (1 - e) p + e (1 - p), as of class-conditional noise (Angluin and Laird 1988). */
typedef struct {
    double scale;        /* s, in 1 / (unit of the margins) */
    ald_interval_t rate; /* e, from 0 to 0.5, with the 95% interval of its profile likelihood */
} ald_noise_t;

/* Fits s and e to margins, those of chosen less those of rejected, by maximum likelihood. INPUT
 * where all of them are 0; RESOURCE without memory. */
ald_status_t ald_noise_fit(const double *margins, int64_t count, ald_noise_t *out);
/* The probability that a pair of this margin is labelled the wrong way round, by Bayes' rule. */
double ald_noise_flipped(const ald_noise_t *noise, double margin);

/* Whether rows of the layout have members that can be exchanged. */
bool ald_labels_can_exchange(ald_layout_t layout);
/* Makes the row with its answers exchanged: each member whose name has "chosen" changes its value
 * with that which has "rejected" there, such as scores, and so do the two texts of "output". *out
 * is NULL for a row that has its answers otherwise. */
ald_status_t ald_labels_exchange(const ald_json_t *row, ald_json_t **out);

#endif
