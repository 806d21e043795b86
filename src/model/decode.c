/* Decoding with cached keys and values, many sequences at a time. Their rows share each product,
 * which for one row would take as long: reading the weights is the limit. */
#include "ald/model/decode.h"

#include <omp.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/attention.h"
#include "ald/num/kernel.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/layer_impl.h"

ald_status_t ald_cache_init(const ald_model_config_t *config, int64_t capacity, ald_cache_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t row = config->kv_heads * config->head_dim;
    size_t bytes =
        sizeof(float) * (size_t)(config->layers * 2 * capacity * row + ALD_ATTENTION_SLACK);
    *out = (ald_cache_t){.capacity = capacity, .data = ald_alloc(bytes)};
    ALD_CHECK_MEMORY(out->data, bytes);
done:
    return status;
}

void ald_cache_reset(ald_cache_t *cache)
{
    ald_free(cache->data);
    *cache = (ald_cache_t){0};
}

/* A layer's keys [NKV D, capacity] (which = 0), or its values [capacity, NKV D] (1). */
static float *cache_part(const ald_cache_t *cache, const ald_sizes_t *s, int64_t layer, int which)
{
    return cache->data + (2 * layer + which) * cache->capacity * s->NKV * s->D;
}

/* Copies the keys and values of `count` rows of qkv into the cache, from position `at` on. */
static void cache_put(ald_cache_t *cache, const ald_sizes_t *s, int64_t layer, int64_t at,
                      int64_t count, const float *qkv)
{
    const int64_t row = s->NKV * s->D, capacity = cache->capacity;
    float *keys = cache_part(cache, s, layer, 0) + at, *values = cache_part(cache, s, layer, 1);
    for (int64_t t = 0; t < count; ++t) {
        const float *k = qkv + t * s->Q + s->NH * s->D;
        for (int64_t i = 0; i < row; ++i)
            keys[i * capacity + t] = k[i];
        memcpy(values + (at + t) * row, k + row, sizeof(float) * (size_t)row);
    }
}

/* Buffers for T rows of one layer. */
typedef struct {
    float *x, *normed, *qkv, *attention, *gate_up, *act, *scores;
    int64_t longest; /* scores of a thread */
} rows_t;

enum { PRODUCTS = 32 }; /* that take as long as an operation on a number does elsewhere */

static ald_status_t rows_init(const ald_sizes_t *s, int64_t T, int64_t longest, ald_arena_t *arena,
                              rows_t *r)
{
    ald_status_t status = ALD_STATUS_OK;
    *r = (rows_t){ALD_ARENA_ARRAY(arena, float, T * s->H),
                  ALD_ARENA_ARRAY(arena, float, T * s->H),
                  ALD_ARENA_ARRAY(arena, float, T * s->Q),
                  ALD_ARENA_ARRAY(arena, float, T * s->NH * s->D),
                  ALD_ARENA_ARRAY(arena, float, T * 2 * s->I),
                  ALD_ARENA_ARRAY(arena, float, T * s->I),
                  ALD_ARENA_ARRAY(arena, float, omp_get_max_threads() * longest + 1),
                  longest};
    ALD_CHECK(r->x && r->normed && r->qkv && r->attention && r->gate_up && r->act && r->scores,
              ALD_STATUS_RESOURCE, "out of memory: decoding %lld rows", (long long)T);
done:
    return status;
}

ald_status_t ald_prefill(const ald_model_t *model, const int32_t *ids, int64_t count,
                         ald_arena_t *arena, ald_cache_t *cache, float *hidden)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const ald_sizes_t s = ald_sizes(&params->config);
    const ald_segment_t whole = {0, count, -1};
    ald_arena_mark_t mark = ald_arena_mark(arena);
    int32_t *positions = ALD_ARENA_ARRAY(arena, int32_t, count);
    rows_t r;
    ALD_CHECK(count > 0 && count <= cache->capacity, ALD_STATUS_INTERNAL,
              "prefill of %lld tokens into a cache of %lld", (long long)count,
              (long long)cache->capacity);
    ALD_CHECK_MEMORY(positions, sizeof(int32_t) * (size_t)count);
    ALD_TRY(rows_init(&s, count, 0, arena, &r));
    for (int64_t t = 0; t < count; ++t)
        positions[t] = (int32_t)t;
    const ald_pass_t pass = ald_pass(model, count, positions);
    const ald_mlp_buffers_t mlp = {r.normed, r.gate_up, r.act, NULL};
    ALD_TRY(ald_positions_check(&pass));
    ald_embed(model, &pass, ids, r.x);
    for (int64_t l = 0; l < params->config.layers; ++l) {
        const ald_layer_t w = ald_layer(model, l);
        ald_layer_qkv(&pass, &w, r.x, r.normed, NULL, r.qkv);
        cache_put(cache, &s, l, 0, count, r.qkv);
        const ald_attention_t attention = ald_layer_attention(&pass, &w, 1, &whole, r.qkv);
        ALD_TRY(ald_attention(&attention, r.attention, NULL));
        ald_layer_output(&pass, &w, r.x, r.attention, NULL, r.normed);
        memcpy(r.x, r.normed, sizeof(float) * (size_t)(count * s.H));
        ald_layer_mlp(&pass, &w, r.x, &mlp, r.x);
    }
    cache->length = count;
    const float *w = ald_model_vector(model, params->final_norm);
    ald_norm_t last = ald_pass_norm(&pass, w);
    last.rows = 1;
    ald_rmsnorm(last, r.x + (count - 1) * s.H, hidden);
done:
    ald_arena_release(arena, mark);
    return status;
}

/* Attention of each sequence's new row over its own cache, or over the last `window` rows of it; a
 * thread takes some of the sequences' key heads. Its scores have room for the `longest` cache. */
static void decode_attention(const ald_sizes_t *s, const ald_layer_t *w, int64_t layer,
                             int64_t count, ald_cache_t *const *caches, const rows_t *r)
{
    const int64_t group = s->NH / s->NKV, work = count * r->longest * s->NH * s->D;
    for (int64_t i = 0; i < count; ++i)
        cache_put(caches[i], s, layer, caches[i]->length, 1, r->qkv + i * s->Q);
#pragma omp parallel for schedule(dynamic) collapse(2) if (work > PRODUCTS * ALD_WORTH_WAKING)
    for (int64_t i = 0; i < count; ++i)
        for (int64_t kv = 0; kv < s->NKV; ++kv) {
            const int64_t length = caches[i]->length + 1, at = kv * group * s->D;
            const int64_t skipped = w->window > 0 && length > w->window ? length - w->window : 0;
            const float *keys = cache_part(caches[i], s, layer, 0) + skipped;
            const float *values = cache_part(caches[i], s, layer, 1) + skipped * s->NKV * s->D;
            const ald_attention_row_t row = {group,
                                             s->D,
                                             length - skipped,
                                             r->qkv + i * s->Q + at,
                                             keys + kv * s->D * caches[i]->capacity,
                                             values + kv * s->D,
                                             caches[i]->capacity,
                                             s->NKV * s->D,
                                             s->config->attention_scale};
            ald_attention_decode(&row, r->scores + omp_get_thread_num() * r->longest,
                                 r->attention + i * s->NH * s->D + at);
        }
}

ald_status_t ald_decode(const ald_model_t *model, int64_t count, const int32_t *ids,
                        ald_cache_t *const *caches, ald_arena_t *arena, float *hidden)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const ald_sizes_t s = ald_sizes(&params->config);
    ald_arena_mark_t mark = ald_arena_mark(arena);
    int32_t *positions = ALD_ARENA_ARRAY(arena, int32_t, count);
    int64_t longest = 0;
    rows_t r;
    ALD_CHECK(positions != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < count; ++i) {
        ALD_CHECK(caches[i]->length < caches[i]->capacity, ALD_STATUS_INTERNAL,
                  "a cache of %lld tokens is full", (long long)caches[i]->capacity);
        positions[i] = (int32_t)caches[i]->length;
        longest = caches[i]->length + 1 > longest ? caches[i]->length + 1 : longest;
    }
    const ald_pass_t pass = ald_pass(model, count, positions);
    ALD_TRY(ald_positions_check(&pass));
    ALD_TRY(rows_init(&s, count, longest, arena, &r));
    const ald_mlp_buffers_t mlp = {r.normed, r.gate_up, r.act, NULL};
    ald_embed(model, &pass, ids, r.x);
    for (int64_t l = 0; l < params->config.layers; ++l) {
        const ald_layer_t w = ald_layer(model, l);
        ald_layer_qkv(&pass, &w, r.x, r.normed, NULL, r.qkv);
        decode_attention(&s, &w, l, count, caches, &r);
        ald_layer_output(&pass, &w, r.x, r.attention, NULL, r.normed);
        memcpy(r.x, r.normed, sizeof(float) * (size_t)(count * s.H));
        ald_layer_mlp(&pass, &w, r.x, &mlp, r.x);
    }
    for (int64_t i = 0; i < count; ++i)
        caches[i]->length += 1;
    ald_rmsnorm(ald_pass_norm(&pass, ald_model_vector(model, params->final_norm)), r.x, hidden);
done:
    ald_arena_release(arena, mark);
    return status;
}
