/* Private to pipeline: responses to many prompts, sampled by all ranks. */
#ifndef ALD_PIPELINE_SAMPLING_IMPL_H
#define ALD_PIPELINE_SAMPLING_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/role/generator.h"
#include "pipeline/partial_impl.h"

typedef struct {
    const int32_t *ids;
    const float *logprobs;
    int64_t count;
} ald_response_t;

/* Samples `samples` responses to each of the first `rows` prompts; response i belongs to row
 * i / samples; another `round` has other random numbers. What an earlier run has sampled is taken
 * from `partial`, and what this one samples is kept there; STOPPED after a signal. *out is an array
 * of rows * samples, freed by ald_free with all it points to, on root or everywhere, else NULL.
 * Collective over partial->comm. */
ald_status_t ald_sample_all(const ald_generator_t *generator, const ald_dataset_t *data,
                            int64_t rows, int64_t samples, int64_t round,
                            const ald_partial_t *partial, bool everywhere, ald_response_t **out);
/* The number of tokens of the longest prompt of the first rows. */
int64_t ald_longest_prompt(const ald_dataset_t *data, int64_t rows);
/* A new array of the ids. */
ald_json_t *ald_json_of_ids(const int32_t *ids, int64_t count);

#endif
