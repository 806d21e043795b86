/* The decoder: forward and backward over packed batches, the vocabulary-wide step, and decoding
 * with a key/value cache. T tokens, H hidden size, V vocabulary. All local. Layer: model. */
#ifndef ALD_MODEL_H
#define ALD_MODEL_H

#include <stdint.h>

#include "ald/arena.h"
#include "ald/gemm.h"
#include "ald/ops.h"
#include "ald/params.h"
#include "ald/status.h"

/* A model is its list of tensors and their values; nothing is owned. */
typedef struct ald_mapped ald_mapped_t; /* see ald/mapped.h */
typedef struct {
    const ald_params_t *params;
    const float *values; /* [params->total]; NULL with `mapped` */
    const ald_gemm_t *gemm;
    const ald_mapped_t *mapped; /* NULL, or where the values lie instead: no gradients then */
    int64_t vocabulary;         /* 0, or how many tokens count: the others have no logits, and
                                   their rows of the output matrix get no gradient from there */
} ald_model_t;

/* The tokens that have logits. */
static inline int64_t ald_model_vocabulary(const ald_model_t *model)
{
    return model->vocabulary > 0 ? model->vocabulary : model->params->config.vocab_size;
}

/* A packed batch: tokens back to back, no padding (see ald_segment_t). */
typedef struct {
    int64_t tokens;           /* T */
    const int32_t *ids;       /* [T], within the vocabulary */
    const int32_t *positions; /* [T], for the rotation */
    int64_t segments;
    const ald_segment_t *segment;
} ald_batch_t;

/* What the backward needs of the forward, in the arena it was given. Opaque. */
typedef struct ald_activations ald_activations_t;

/* Final normed hidden states [T, H]. `keep` NULL: nothing is kept, memory for one layer only. With
 * `keep`, activations stay in the arena until the caller releases it. RESOURCE without memory. */
ald_status_t ald_forward(const ald_model_t *model, const ald_batch_t *batch, ald_arena_t *arena,
                         ald_activations_t **keep, float *hidden);
/* gradients[params->total] += from d_hidden [T, H], which is overwritten. */
ald_status_t ald_backward(const ald_model_t *model, const ald_batch_t *batch,
                          ald_activations_t *activations, ald_arena_t *arena, float *d_hidden,
                          float *gradients);
/* Bytes that passes over T tokens take from the arena: what ald_forward keeps, what it needs
 * besides until it returns, what ald_backward needs, and what ald_forward needs when nothing is
 * kept. */
typedef struct {
    int64_t kept, forward, backward, alone;
} ald_model_bytes_t;
ald_model_bytes_t ald_model_bytes(const ald_model_config_t *config, int64_t T);

/* The vocabulary-wide step, chunked over positions so that no [R, V] array exists.
 * V is ald_model_vocabulary. Positions r in [0, R) predict from hidden[row[r]]; the callback sees
 * `count` rows of logits, [count, V], for positions first.. and, when gradients are wanted, leaves
 * dloss/dlogits in their place. */
typedef ald_status_t (*ald_head_fn)(void *context, int64_t first, int64_t count, float *logits);
/* d_hidden (NULL: no gradients; else [T, H], added to) and gradients (of the output matrix). */
ald_status_t ald_head(const ald_model_t *model, const float *hidden, int64_t R, const int64_t *row,
                      ald_arena_t *arena, ald_head_fn callback, void *context, float *d_hidden,
                      float *gradients);
/* Positions that one chunk holds. */
int64_t ald_head_chunk(int64_t vocab_size);
/* logits[count, V] = h[count, H] W^T with the model's output matrix, V = ald_model_vocabulary. */
void ald_head_logits(const ald_model_t *model, int64_t count, const float *h, float *logits);

/* log softmax(logits)[target[i]] of each row; the rows are left as they are. */
void ald_token_logprobs(int64_t rows, int64_t V, const float *logits, const int32_t *target,
                        float *logprob);

/* Keys and values of one sequence, all layers; grows with the sequence up to `capacity` tokens. */
typedef struct {
    int64_t length, capacity;
    float *data; /* [L][2][capacity][NKV D], owned */
} ald_cache_t;
ald_status_t ald_cache_init(const ald_model_config_t *config, int64_t capacity, ald_cache_t *out);
void ald_cache_reset(ald_cache_t *cache); /* takes a zeroed one */
/* Runs a prompt alone, fills the cache, gives the last position's normed hidden state [H]. */
ald_status_t ald_prefill(const ald_model_t *model, const int32_t *ids, int64_t count,
                         ald_arena_t *arena, ald_cache_t *cache, float *hidden);
/* One more token for each of `count` sequences of unequal lengths: hidden [count, H]. */
ald_status_t ald_decode(const ald_model_t *model, int64_t count, const int32_t *ids,
                        ald_cache_t *const *caches, ald_arena_t *arena, float *hidden);

#endif
