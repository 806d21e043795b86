/* Supervised fine-tuning: cross-entropy on the chosen responses, averaged over a step's response
 * tokens. Items are rows of a data file. Layer: objective. */
#ifndef ALD_OBJECTIVE_SFT_H
#define ALD_OBJECTIVE_SFT_H

#include "ald/data/pairs.h"

/* The state of ALD_OBJECTIVE_SFT. */
typedef struct {
    const ald_pairs_t *pairs; /* the caller's */
    int64_t vocabulary;       /* ids of the tokenizer, which the loss is over */
    float weight;             /* 1 / response tokens of the step at hand */
} ald_sft_t;

#endif
