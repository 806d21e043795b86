/* Decoding with cached keys and values: one more token for many sequences. Layer: model. */
#ifndef ALD_MODEL_DECODE_H
#define ALD_MODEL_DECODE_H

#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"

/* Keys and values of one sequence, all layers; grows with the sequence up to `capacity` tokens. */
typedef struct {
    int64_t length, capacity;
    float *data; /* [L], keys [NKV D][capacity], values [capacity][NKV D]; owned */
} ald_cache_t;
ald_status_t ald_cache_init(const ald_model_config_t *config, int64_t capacity, ald_cache_t *out);
void ald_cache_reset(ald_cache_t *cache); /* takes a zeroed one */
/* Runs one prompt, fills the cache, and gives the normed hidden state [H] of its last position. */
ald_status_t ald_prefill(const ald_model_t *model, const int32_t *ids, int64_t count,
                         ald_arena_t *arena, ald_cache_t *cache, float *hidden);
/* One more token for each of `count` sequences of unequal lengths: hidden [count, H]. */
ald_status_t ald_decode(const ald_model_t *model, int64_t count, const int32_t *ids,
                        ald_cache_t *const *caches, ald_arena_t *arena, float *hidden);

#endif
