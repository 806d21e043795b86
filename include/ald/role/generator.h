/* The generator: samples responses. Layer: role. */
#ifndef ALD_ROLE_GENERATOR_H
#define ALD_ROLE_GENERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/sampler.h"
#include "ald/teacher/teacher.h"

typedef struct {
    ald_model_t model;    /* over the tokenizer's ids, with the invariant products: a sample doesn't
                             depend on its batch */
    ald_model_t contrast; /* params NULL: `model` alone is sampled from. Else the teacher that
                             `teacher` composes of both, from each token's own distance */
    ald_teacher_t teacher;
    ald_sampling_t sampling;
    int64_t max_new_tokens;
    uint64_t seed;
    const ald_dataset_t *data; /* for the stop tokens */
    const char *name;          /* of what is sampled from, for messages: a directory. NULL: the
                                  policy in training */
    /* NULL, or called between two tokens with the records of `out` so far, in the order in which
     * responses ended; it may take them out. A failure ends the sampling. */
    ald_status_t (*pause)(void *context, ald_vec_t *out);
    void *context;
} ald_generator_t;

/* Settings from the configuration; `model` and `data` stay the caller's. Local. */
void ald_generator_init(const ald_config_t *config, const ald_model_t *model,
                        const ald_dataset_t *data, ald_generator_t *out);

/* Makes it sample from the teacher composed of its model, pi_dpo, and a contrast. Local. */
void ald_generator_compose(const ald_model_t *contrast, const ald_teacher_t *teacher,
                           ald_generator_t *generator);

/* A response to sample to the prompt of a row. Other numbers `sample` and `round` give other
 * streams of random numbers. */
typedef struct {
    int64_t row, sample, round;
} ald_request_t;

/* One response in a vec of bytes: this header, then count ids (int32_t), then count
 * log-probabilities (float) under what is sampled from, untempered. `request` is its place in the
 * list of requests. */
typedef struct {
    int64_t request, count;
} ald_sampled_t;

/* Appends a record per request, in the order of the requests unless there is a pause, to `out`.
 * Responses end with a stop token unless cut at max_new_tokens. They are the same in any batch and
 * on any number of threads and ranks. Where the logits are no distribution: INPUT that names the
 * model, INTERNAL for a policy in training. Local. */
ald_status_t ald_generator_run(const ald_generator_t *generator, const ald_pairs_t *pairs,
                               const ald_request_t *requests, int64_t count, ald_arena_t *arena,
                               ald_vec_t *out);
/* The text of a response without its stop token, as a JSON string (freed by ald_json_free). What
 * data files and HDF5 don't take, invalid bytes and NUL, becomes U+FFFD. `ended` (may be NULL) says
 * whether there was a stop token. Local. */
ald_status_t ald_sampled_text(const ald_dataset_t *data, const int32_t *ids, int64_t count,
                              bool *ended, ald_json_t **out);
/* The record at *at, and the pointers to its arrays; moves *at behind it. INTERNAL past the end. */
ald_status_t ald_sampled_next(const ald_vec_t *records, size_t *at, ald_sampled_t *out,
                              const int32_t **ids, const float **logprobs);

/* Bytes that ald_generator_run takes at most for `count` requests with prompts of up to `prompt`
 * tokens, of a model alone. A contrast takes as much again for its own shape. */
int64_t ald_generator_bytes(const ald_model_config_t *shape, int64_t prompt, int64_t max_new_tokens,
                            int64_t count);

#endif
