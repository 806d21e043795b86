/* Private to pipeline: the figures of judged answers. */
#ifndef ALD_PIPELINE_JUDGED_IMPL_H
#define ALD_PIPELINE_JUDGED_IMPL_H

#include <stddef.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

enum { ALD_JUDGED_VALUES = 10 };

/* A model's figures, or those of one of its categories, by the names that the benchmark's own
 * program gives them. */
typedef struct {
    char *name;           /* owned */
    ald_vec_t scores[2];  /* double: of games, or of the first and the second turn */
    ald_vec_t categories; /* ald_judged_t, in order of first use; of Arena-Hard 2.0 */
    int64_t wins, losses, ties;
    struct {
        const char *name;
        double value;
    } values[ALD_JUDGED_VALUES];
    int count;
} ald_judged_t;

typedef struct {
    ald_vec_t models;  /* ald_judged_t, in order of first use */
    ald_vec_t lengths; /* ald_judged_row_t, of AlpacaEval */
    int64_t left_out;  /* rows, or games of Arena-Hard 0.1, that the judge failed at */
    char *baseline;    /* owned; NULL: none */
} ald_judgements_t;

/* What the length-controlled win rate needs of a row of AlpacaEval. */
typedef struct {
    double preference; /* of the model: 0 to 1; NaN: the judge failed */
    double lengths[2]; /* characters of the baseline's output, of the model's */
} ald_judged_row_t;

void ald_judged_put(ald_judged_t *judged, const char *name, double value);

/* The percentiles 100 `tail` and 100 (1 - `tail`) of the mean of 1,000 samples of the scores
 * (double) with replacement; NaN without scores. */
void ald_judged_interval(const ald_vec_t *scores, int64_t seed, double tail, double out[2]);

/* The length-controlled win rate in percent (Dubois et al. 2024, eq. 2, as alpaca_eval 0.6 fits
 * it), with AlpacaEval's file of gamed baselines. INPUT for that file. Local. */
ald_status_t ald_judged_length_controlled(const char *gamed, const ald_judged_row_t *rows,
                                          size_t count, double *out);

#endif
