/* Picking a token from logits. Layer: model. */
#ifndef ALD_MODEL_SAMPLER_H
#define ALD_MODEL_SAMPLER_H

#include <stdint.h>

/* The settings sampling.* of the configuration. */
typedef struct {
    double temperature; /* 0: the most likely token */
    double top_p;       /* smallest set of most likely tokens with at least this mass; 1: all */
    int64_t top_k;      /* at most so many tokens; 0: all */
} ald_sampling_t;

/* Picks the token for a uniform number u in [0, 1). Temperature first, then top-k, then top-p, as
 * transformers does. `work` is [3 V] floats. *logprob becomes the token's log-probability under
 * softmax(logits), untempered and unfiltered. -1 for logits that are no distribution: with a NaN, a
 * positive infinity, or nothing but negative ones. Depends on its arguments only. */
int32_t ald_sample(const ald_sampling_t *sampling, int64_t V, const float *logits, double u,
                   float *work, float *logprob);

#endif
