/* A model's pass over preference pairs: the log-probability of every response position. R
 * positions. Layer: objective. */
#ifndef ALD_OBJECTIVE_PAIR_PASS_H
#define ALD_OBJECTIVE_PAIR_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/model.h"

/* Which response a loss prefers. */
typedef struct {
    const ald_pairs_t *pairs;
    bool reverse; /* it prefers the rejected one */
} ald_preferences_t;
/* A row as an item: the preferred response, then the dispreferred one. Local. */
ald_item_t ald_preferences_item(const ald_preferences_t *preferences, int64_t row);

/* A pass; everything is in the arena. */
typedef struct {
    ald_packed_t packed; /* sequences 2 i and 2 i + 1 are of row i */
    ald_activations_t *kept;
    float *hidden;  /* [T, H] */
    float *logprob; /* [R] */
} ald_pair_pass_t;
/* Packs the rows and runs the model; with `keep` a backward can follow. Local. */
ald_status_t ald_pair_pass(const ald_model_t *model, const ald_preferences_t *preferences,
                           const int64_t *rows, int64_t count, bool keep, ald_arena_t *arena,
                           ald_pair_pass_t *out);
/* The same, but for `logprob`, which the caller fills in. Local. */
ald_status_t ald_pair_pass_states(const ald_model_t *model, const ald_preferences_t *preferences,
                                  const int64_t *rows, int64_t count, bool keep, ald_arena_t *arena,
                                  ald_pair_pass_t *out);
/* The sum of values [R], such as `logprob`, over the positions of a sequence. */
double ald_pair_pass_sum(const ald_pair_pass_t *pass, const float *values, int64_t sequence);

#endif
