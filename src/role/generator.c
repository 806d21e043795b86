/* The sampling of responses. A slot that becomes free takes the next request at once, and every
 * product gives a row the same bits whatever its neighbours: a sample depends on its request alone.
 */
#include "ald/role/generator.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/decode.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/sampler.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "ald/par/fault.h"
#include "ald/text/tokenizer.h"

/* Sequences decoded together. Each step reads all weights once for all of them, so the more the
 * faster, until the products take longer than the reading. */
#define SLOTS 48

void ald_generator_init(const ald_config_t *config, const ald_model_t *model,
                        const ald_dataset_t *data, ald_generator_t *out)
{
    *out = (ald_generator_t){
        .model = *model,
        .sampling = {config->sampling.temperature, config->sampling.top_p, config->sampling.top_k},
        .max_new_tokens = config->sampling.max_new_tokens,
        .seed = (uint64_t)config->seed,
        .data = data};
    out->model.gemm = ald_gemm_find("invariant");
    out->model.vocabulary = ald_tokenizer_size(data->tokenizer);
}

void ald_generator_compose(const ald_model_t *contrast, const ald_teacher_t *teacher,
                           ald_generator_t *generator)
{
    generator->contrast = *contrast;
    generator->contrast.gemm = generator->model.gemm;
    generator->contrast.vocabulary = generator->model.vocabulary;
    generator->teacher = *teacher;
}

enum { MODELS = 2 }; /* that are run at most: the model, and its contrast */

static int models_of(const ald_generator_t *g)
{
    return g->contrast.params == NULL ? 1 : MODELS;
}

static const ald_model_t *model_of(const ald_generator_t *g, int which)
{
    return which == 0 ? &g->model : &g->contrast;
}

/* A sequence while it is sampled. */
typedef struct {
    int64_t request; /* -1: the slot is free */
    ald_cache_t cache[MODELS];
    int32_t *ids; /* [max_new_tokens] */
    float *logprobs;
    int64_t count;
    uint64_t stream;
    bool ended, failed; /* failed: its logits are no distribution */
} slot_t;

typedef struct {
    const ald_generator_t *g;
    const ald_pairs_t *pairs;
    const ald_request_t *requests;
    ald_arena_t *arena;
    slot_t slot[SLOTS];
    float *hidden, *logits[MODELS], *work; /* [SLOTS, H], [SLOTS, V], [SLOTS, 3V] */
    int32_t **ids;                         /* [requests] finished responses, from ald_alloc */
    int64_t *counts;
    ald_vec_t *out;
} session_t;

/* An error when a slot's logits gave no token. */
static ald_status_t check_picked(const session_t *s, slot_t *const *active, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = s->g->name;
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(!active[i]->failed, name == NULL ? ALD_STATUS_INTERNAL : ALD_STATUS_INPUT,
                  "%s: its logits aren't finite numbers at token %lld of a response to row %lld%s",
                  name == NULL ? "the policy in training" : name, (long long)active[i]->count,
                  (long long)s->pairs->rows[s->requests[active[i]->request].row].id,
                  name == NULL ? ": it has diverged; lower optimizer.lr" : "");
done:
    return status;
}

/* Picks the next token of each of `count` slots from their rows of logits. */
static ald_status_t pick(session_t *s, slot_t *const *active, int64_t count)
{
    const int64_t V = ald_model_vocabulary(&s->g->model);
    const bool composed = models_of(s->g) > 1;
#pragma omp parallel for schedule(dynamic) if (count * V > ALD_WORTH_WAKING)
    for (int64_t i = 0; i < count; ++i) {
        slot_t *slot = active[i];
        float *logits = s->logits[0] + i * V;
        if (composed)
            ald_teacher_compose_row(&s->g->teacher, V, logits, s->logits[1] + i * V);
        double u = ald_rng_uniform(s->g->seed, slot->stream, (uint64_t)slot->count);
        int32_t id = ald_sample(&s->g->sampling, V, logits, u, s->work + 3 * i * V,
                                &slot->logprobs[slot->count]);
        slot->failed = id < 0;
        slot->ids[slot->count++] = id;
        slot->ended = ald_dataset_stops(s->g->data, id) || slot->count == s->g->max_new_tokens;
    }
    return check_picked(s, active, count);
}

static ald_status_t slot_start(session_t *s, slot_t *slot, int64_t request)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_request_t *r = &s->requests[request];
    const ald_pair_t *pair = &s->pairs->rows[r->row];
    int64_t longest = s->g->max_new_tokens;
    *slot = (slot_t){.request = request};
    slot->stream =
        ald_rng_mix(ald_rng_mix((uint64_t)pair->id, (uint64_t)r->sample), (uint64_t)r->round);
    slot->ids = ald_alloc((sizeof *slot->ids + sizeof *slot->logprobs) * (size_t)longest);
    ALD_CHECK_MEMORY(slot->ids, (size_t)longest * 8);
    slot->logprobs = (float *)(slot->ids + longest);
    for (int k = 0; k < models_of(s->g); ++k) {
        const ald_model_t *model = model_of(s->g, k);
        ALD_TRY(
            ald_cache_init(&model->params->config, pair->prompt.count + longest, &slot->cache[k]));
        ALD_TRY(ald_prefill(model, pair->prompt.ids, pair->prompt.count, s->arena, &slot->cache[k],
                            s->hidden));
        ald_head_logits(model, 1, s->hidden, s->logits[k]);
    }
    ALD_TRY(pick(s, &slot, 1));
done:
    return status;
}

/* Appends the record of a finished response and frees it. */
static ald_status_t write_record(session_t *s, int64_t request)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sampled_t record = {request, s->counts[request]};
    const float *logprobs = (const float *)(s->ids[request] + s->g->max_new_tokens);
    ALD_TRY(ald_vec_append(s->out, &record, sizeof record));
    ALD_TRY(ald_vec_append(s->out, s->ids[request], sizeof(int32_t) * (size_t)record.count));
    ALD_TRY(ald_vec_append(s->out, logprobs, sizeof(float) * (size_t)record.count));
done:
    ald_free(s->ids[request]);
    s->ids[request] = NULL;
    return status;
}

static void slot_finish(session_t *s, slot_t *slot)
{
    if (slot->request >= 0) {
        s->ids[slot->request] = slot->ids;
        s->counts[slot->request] = slot->count;
    }
    for (int k = 0; k < MODELS; ++k)
        ald_cache_reset(&slot->cache[k]);
    slot->request = -1;
}

/* Finishes a slot whose response has ended; with a pause its record is there at once. */
static ald_status_t slot_end(session_t *s, slot_t *slot)
{
    const int64_t request = slot->request;
    slot_finish(s, slot);
    return s->g->pause == NULL ? ALD_STATUS_OK : write_record(s, request);
}

static ald_status_t pause(session_t *s)
{
    return s->g->pause == NULL ? ALD_STATUS_OK : s->g->pause(s->g->context, s->out);
}

/* Samples one more token for every active slot. */
static ald_status_t step(session_t *s, slot_t *const *active, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int32_t ids[SLOTS];
    ald_cache_t *caches[SLOTS];
    for (int64_t i = 0; i < count; ++i)
        ids[i] = active[i]->ids[active[i]->count - 1];
    for (int k = 0; k < models_of(s->g); ++k) {
        for (int64_t i = 0; i < count; ++i)
            caches[i] = &active[i]->cache[k];
        ALD_TRY(ald_decode(model_of(s->g, k), count, ids, caches, s->arena, s->hidden));
        ald_head_logits(model_of(s->g, k), count, s->hidden, s->logits[k]);
    }
    ALD_TRY(pick(s, active, count));
done:
    return status;
}

/* Fills free slots with requests and decodes until none is left. */
static ald_status_t session_run(session_t *s, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t next = 0, running = 0;
    do {
        slot_t *active[SLOTS];
        running = 0;
        for (int i = 0; i < SLOTS; ++i) {
            slot_t *slot = &s->slot[i];
            while (slot->request < 0 && next < count) {
                ALD_TRY(slot_start(s, slot, next++));
                if (slot->ended)
                    ALD_TRY(slot_end(s, slot));
                ALD_TRY(pause(s));
            }
            if (slot->request >= 0)
                active[running++] = slot;
        }
        if (running == 0)
            break;
        ALD_TRY(step(s, active, running));
        for (int64_t i = 0; i < running; ++i)
            if (active[i]->ended)
                ALD_TRY(slot_end(s, active[i]));
        ALD_TRY(pause(s));
    } while (running > 0);
done:
    return status;
}

static ald_status_t session_init(session_t *s, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = ald_model_vocabulary(&s->g->model);
    int64_t H = 0;
    bool made = true;
    for (int i = 0; i < SLOTS; ++i)
        s->slot[i].request = -1;
    for (int k = 0; k < models_of(s->g); ++k) {
        const ald_model_config_t *shape = &model_of(s->g, k)->params->config;
        H = shape->hidden_size > H ? shape->hidden_size : H;
        s->logits[k] = ALD_ARENA_ARRAY(s->arena, float, SLOTS *V);
        made = made && s->logits[k] != NULL;
    }
    s->hidden = ALD_ARENA_ARRAY(s->arena, float, SLOTS *H);
    s->work = ALD_ARENA_ARRAY(s->arena, float, SLOTS * 3 * V);
    s->ids = ald_arena_calloc(s->arena, (size_t)count + 1, sizeof *s->ids);
    s->counts = ald_arena_calloc(s->arena, (size_t)count + 1, sizeof *s->counts);
    ALD_CHECK(made && s->hidden && s->work && s->ids && s->counts, ALD_STATUS_RESOURCE,
              "out of memory: sampling %d sequences at once", SLOTS);
done:
    return status;
}

ald_status_t ald_generator_run(const ald_generator_t *generator, const ald_pairs_t *pairs,
                               const ald_request_t *requests, int64_t count, ald_arena_t *arena,
                               ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_mark_t mark = ald_arena_mark(arena);
    session_t *s = ald_arena_calloc(arena, 1, sizeof *s);
    ALD_CHECK(s != NULL, ALD_STATUS_RESOURCE, "out of memory: sampling");
    ALD_TRY(ald_fail_point("generate"));
    *s = (session_t){
        .g = generator, .pairs = pairs, .requests = requests, .arena = arena, .out = out};
    ALD_TRY(session_init(s, count));
    status = session_run(s, count);
    for (int i = 0; i < SLOTS; ++i)
        slot_finish(s, &s->slot[i]);
    for (int64_t i = 0; i < count; ++i) {
        if (status == ALD_STATUS_OK && s->ids[i] != NULL)
            status = write_record(s, i);
        ald_free(s->ids[i]);
    }
done:
    ald_arena_release(arena, mark);
    return status;
}

ald_status_t ald_sampled_next(const ald_vec_t *records, size_t *at, ald_sampled_t *out,
                              const int32_t **ids, const float **logprobs)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *data = records->data;
    ALD_CHECK(records->count - *at >= sizeof *out, ALD_STATUS_INTERNAL,
              "a record of a sample is cut");
    memcpy(out, data + *at, sizeof *out);
    size_t body = (sizeof(int32_t) + sizeof(float)) * (size_t)out->count;
    ALD_CHECK(records->count - *at - sizeof *out >= body, ALD_STATUS_INTERNAL,
              "a record of a sample is cut");
    *ids = (const int32_t *)(data + *at + sizeof *out);
    *logprobs = (const float *)(*ids + out->count);
    *at += sizeof *out + body;
done:
    return status;
}

ald_status_t ald_sampled_text(const ald_dataset_t *data, const int32_t *ids, int64_t count,
                              bool *ended, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    *out = NULL;
    bool stopped = count > 0 && ald_dataset_stops(data, ids[count - 1]);
    count -= stopped;
    if (ended != NULL)
        *ended = stopped;
    ALD_TRY(ald_tokenizer_decode(data->tokenizer, ids, (size_t)count, false, &text));
    for (size_t i = 0; i < text.count; ++i)
        if (ALD_VEC_AT(&text, char, i) == '\0')
            ALD_VEC_AT(&text, char, i) =
                '\xFF'; /* a byte that UTF-8 never has: ald_json_new_text replaces it */
    *out = ald_json_new_text(text.count == 0 ? "" : text.data, text.count);
    ALD_CHECK(*out != NULL, ALD_STATUS_RESOURCE, "out of memory: %zu bytes of text", text.count);
done:
    ald_vec_reset(&text);
    return status;
}

int64_t ald_generator_bytes(const ald_model_config_t *shape, int64_t prompt, int64_t max_new_tokens,
                            int64_t count)
{
    const int64_t H = shape->hidden_size, I = shape->intermediate_size;
    const int64_t attention = shape->heads * shape->head_dim;
    const int64_t kv = 2 * shape->kv_heads * shape->head_dim;
    const int64_t slots = count < SLOTS ? count : SLOTS;
    const int64_t cache = shape->layers * kv * (prompt + max_new_tokens);
    const int64_t prefill = prompt * (2 * H + 2 * attention + kv + 3 * I);
    return (int64_t)sizeof(float) * (slots * cache + SLOTS * (H + 4 * shape->vocab_size) + prefill +
                                     2 * count * max_new_tokens);
}
