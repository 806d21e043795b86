/* The scoring of sequences. */
#include "ald/role/scorer_run.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/par/fault.h"
#include "ald/role/frozen.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"
#include "ald/teacher/loss.h"
#include "ald/teacher/sampled.h"
#include "ald/teacher/support.h"

/* What a micro-batch's positions get; arrays of R, or R rows. */
typedef struct {
    ald_scorer_t *scorer;
    const ald_packed_t *packed;
    ald_teacher_t teacher;    /* the configured one: for the choice of a support */
    const float *hidden_c;    /* [T, H] of the second teacher */
    float *logits_c, *rows_c; /* [chunk, V], [chunk, H] */
    float *logprob_dpo, *logprob_c, *tvd, *full_logprob, *full_ratio;
    uint16_t *bits_dpo, *bits_c;
    float *hidden32_dpo, *hidden32_c;
    int32_t *topk_id;
    uint16_t *topk_logprob, *topk_ratio;
    float *tail_dpo;
    ald_tail_rows_t tail_c;
    float *factor, *temperature, *logz; /* of sampled */
    uint64_t *seed, *stream;            /* of a position's draws */
    /* with a reference: as above; its logits, and those of the first teacher once more */
    const float *hidden_r;
    float *logits_r, *logits_d;
    float *logprob_r, *tvd_r, *full_ratio_r, *hidden32_r;
    ald_tail_rows_t tail_r;
    uint16_t *bits_r, *topk_ratio_r;
} scoring_t;

/* Row `first` of an array of rows of `width`, or NULL. */
#define ROWS(array, first, width) ((array) == NULL ? NULL : (array) + (first) * (width))

/* A thread's scratch memory for the choice of K tokens, in one block. */
typedef struct {
    double *uniforms;       /* [K] */
    float *logprob, *ratio; /* [K] of the chosen ones */
    float *key;             /* [V] */
    int32_t *id;            /* [V] */
} choice_t;

static ald_status_t choice_alloc(int64_t V, int64_t K, choice_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t bytes = sizeof(double) * (size_t)K + sizeof(float) * 2 * (size_t)(V + K);
    *out = (choice_t){.uniforms = ald_alloc(bytes)};
    ALD_CHECK_MEMORY(out->uniforms, bytes);
    out->logprob = (float *)(out->uniforms + K);
    out->ratio = out->logprob + K;
    out->key = out->ratio + K;
    out->id = (int32_t *)(out->key + V);
done:
    return status;
}

/* Where a position's part of arrays over all positions is. */
static ald_tail_rows_t tail_at(const ald_tail_rows_t *all, int64_t r)
{
    return (ald_tail_rows_t){all->tail_c + r,           all->alpha_max + r,
                             all->mass + r * ALD_KNOTS, all->least + r * ALD_KNOTS,
                             all->ratio_least + r,      all->ratio_most + r};
}

static bool tail_alloc(ald_arena_t *arena, int64_t R, ald_tail_rows_t *out)
{
    *out = (ald_tail_rows_t){ALD_ARENA_ARRAY(arena, float, R),
                             ALD_ARENA_ARRAY(arena, float, R),
                             ALD_ARENA_ARRAY(arena, float, R *ALD_KNOTS),
                             ALD_ARENA_ARRAY(arena, float, R *ALD_KNOTS),
                             ALD_ARENA_ARRAY(arena, float, R),
                             ALD_ARENA_ARRAY(arena, float, R)};
    return out->tail_c && out->alpha_max && out->mass && out->least && out->ratio_least &&
           out->ratio_most;
}

static void score_position(scoring_t *s, int64_t r, int64_t V, float *logprob, float *ratio,
                           const choice_t *choice)
{
    const int64_t K = s->scorer->header.top_k;
    int32_t target = s->packed->target[r];
    ald_teacher_logits_row(V, logprob, ratio);
    s->logprob_dpo[r] = logprob[target];
    s->logprob_c[r] = logprob[target] - ratio[target];
    s->tvd[r] = ald_tvd_row(V, logprob, ratio);
    if (s->full_logprob != NULL) {
        memcpy(s->full_logprob + r * V, logprob, sizeof(float) * (size_t)V);
        memcpy(s->full_ratio + r * V, ratio, sizeof(float) * (size_t)V);
    }
    if (s->factor != NULL) {
        const ald_draw_rows_t rows = {s->topk_id + r * K, choice->logprob,    choice->ratio,
                                      s->factor + r,      s->temperature + r, s->logz + r};
        ald_draws_make(&s->teacher, s->tvd[r], s->seed[r], s->stream[r], V, K, logprob, ratio,
                       choice->key, choice->uniforms, &rows);
    } else if (s->topk_id != NULL) {
        const ald_support_rows_t rows = {s->topk_id + r * K, choice->logprob, choice->ratio,
                                         s->tail_dpo + r, tail_at(&s->tail_c, r)};
        ald_support_make(&s->teacher, s->tvd[r], V, K, logprob, ratio, choice->key, choice->id,
                         &rows);
    }
    if (s->topk_id != NULL) {
        ald_dtype_row_from_f32(choice->logprob, K, ALD_DTYPE_F16, s->topk_logprob + r * K);
        ald_dtype_row_from_f32(choice->ratio, K, ALD_DTYPE_F16, s->topk_ratio + r * K);
    }
}

/* What the reference says of position r, on the support that is there. */
static void score_reference(scoring_t *s, int64_t r, int64_t V, float *logprob, float *ratio,
                            const choice_t *choice)
{
    const int64_t K = s->scorer->header.top_k;
    const int32_t target = s->packed->target[r];
    ald_teacher_logits_row(V, logprob, ratio);
    s->logprob_r[r] = logprob[target] - ratio[target];
    s->tvd_r[r] = ald_tvd_row(V, logprob, ratio);
    if (s->full_ratio_r != NULL)
        memcpy(s->full_ratio_r + r * V, ratio, sizeof(float) * (size_t)V);
    if (s->topk_ratio_r == NULL)
        return;
    const int32_t *id = s->topk_id + r * K;
    const ald_tail_rows_t tail = tail_at(&s->tail_r, r);
    for (int64_t k = 0; k < K; ++k)
        choice->ratio[k] = ratio[id[k]];
    ald_dtype_row_from_f32(choice->ratio, K, ALD_DTYPE_F16, s->topk_ratio_r + r * K);
    ald_support_describe(&s->teacher, s->tvd_r[r], V, K, id, logprob, ratio, choice->key, &tail);
}

typedef void score_t(scoring_t *s, int64_t r, int64_t V, float *logprob, float *ratio,
                     const choice_t *choice);

/* Threads share `count` positions from `first` on; rows [count, V] are spoiled. */
static ald_status_t score_positions(scoring_t *s, score_t *score, int64_t first, int64_t count,
                                    float *logprob, float *ratio)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = s->scorer->header.vocab_size, K = s->scorer->header.top_k;
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        choice_t choice = {0};
        const bool able = s->topk_id == NULL || choice_alloc(V, K, &choice) == ALD_STATUS_OK;
        failed += !able;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; ++i)
            if (able)
                score(s, first + i, V, logprob + i * V, ratio + i * V, &choice);
        ald_free(choice.uniforms);
    }
    ALD_CHECK(failed == 0, ALD_STATUS_RESOURCE, "out of memory: the top %lld of %lld tokens",
              (long long)K, (long long)V);
done:
    return status;
}

/* A teacher for its output matrix. `full` and `hidden32` get products whose rows don't depend on
 * their neighbours, as the trainer's products of the latter have others: the same bits for both. */
static ald_model_t head_of(const ald_scorer_t *scorer, const ald_model_t *model)
{
    const ald_encoding_t encoding = scorer->header.encoding;
    ald_model_t head = *model;
    if (encoding == ALD_ENCODING_FULL || encoding == ALD_ENCODING_HIDDEN32)
        head.gemm = ald_gemm_find("invariant");
    return head;
}

/* logits[count, V] of another teacher from its hidden states [T, H]. */
static void other_logits(const scoring_t *s, const ald_frozen_t *teacher, const float *hidden,
                         int64_t first, int64_t count, float *logits)
{
    const ald_model_t model = head_of(s->scorer, &teacher->model);
    const int64_t H = model.params->config.hidden_size;
    for (int64_t i = 0; i < count; ++i)
        memcpy(s->rows_c + i * H, hidden + s->packed->row[first + i] * H,
               sizeof(float) * (size_t)H);
    ald_head_logits(&model, count, s->rows_c, logits);
}

/* The vocabulary step of all models on a chunk of positions. */
static ald_status_t scoring_chunk(void *context, int64_t first, int64_t count, float *logits)
{
    ald_status_t status = ALD_STATUS_OK;
    scoring_t *s = context;
    const ald_scorer_t *scorer = s->scorer;
    const bool with_reference = s->hidden_r != NULL;
    if (with_reference)
        memcpy(s->logits_d, logits, sizeof(float) * (size_t)(count * scorer->header.vocab_size));
    other_logits(s, &scorer->contrast, s->hidden_c, first, count, s->logits_c);
    ALD_TRY(score_positions(s, score_position, first, count, logits, s->logits_c));
    if (with_reference) {
        other_logits(s, &scorer->reference, s->hidden_r, first, count, s->logits_r);
        ALD_TRY(score_positions(s, score_reference, first, count, s->logits_d, s->logits_r));
    }
done:
    return status;
}

static void keep_hidden(const ald_packed_t *packed, int64_t H, const float *hidden, uint16_t *bits)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < packed->positions; ++r)
        ald_dtype_row_from_f32(hidden + packed->row[r] * H, H, ALD_DTYPE_BF16, bits + r * H);
}

static void keep_hidden32(const ald_packed_t *packed, int64_t H, const float *hidden, float *out)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < packed->positions; ++r)
        memcpy(out + r * H, hidden + packed->row[r] * H, sizeof(float) * (size_t)H);
}

static ald_status_t scoring_alloc(scoring_t *s, int64_t R, int64_t chunk)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &s->scorer->arena;
    const ald_shard_header_t *h = &s->scorer->header;
    const int64_t V = h->vocab_size, H = h->hidden_size, K = h->top_k;
    bool full = h->encoding == ALD_ENCODING_FULL, topk = h->encoding == ALD_ENCODING_TOPK;
    bool sampled = h->encoding == ALD_ENCODING_SAMPLED, has_k = topk || sampled;
    bool hidden = h->encoding == ALD_ENCODING_HIDDEN;
    bool hidden32 = h->encoding == ALD_ENCODING_HIDDEN32;
    int64_t H_c = s->scorer->contrast.params.config.hidden_size;
    s->logits_c = ALD_ARENA_ARRAY(arena, float, chunk *V);
    s->rows_c = ALD_ARENA_ARRAY(arena, float, chunk *H_c);
    s->logprob_dpo = ALD_ARENA_ARRAY(arena, float, R);
    s->logprob_c = ALD_ARENA_ARRAY(arena, float, R);
    s->tvd = ALD_ARENA_ARRAY(arena, float, R);
    s->full_logprob = full ? ALD_ARENA_ARRAY(arena, float, R *V) : NULL;
    s->full_ratio = full ? ALD_ARENA_ARRAY(arena, float, R *V) : NULL;
    s->bits_dpo = hidden ? ALD_ARENA_ARRAY(arena, uint16_t, R * H) : NULL;
    s->bits_c = hidden ? ALD_ARENA_ARRAY(arena, uint16_t, R * H) : NULL;
    s->hidden32_dpo = hidden32 ? ALD_ARENA_ARRAY(arena, float, R *H) : NULL;
    s->hidden32_c = hidden32 ? ALD_ARENA_ARRAY(arena, float, R *H) : NULL;
    s->topk_id = has_k ? ALD_ARENA_ARRAY(arena, int32_t, R * K) : NULL;
    s->topk_logprob = has_k ? ALD_ARENA_ARRAY(arena, uint16_t, R * K) : NULL;
    s->topk_ratio = has_k ? ALD_ARENA_ARRAY(arena, uint16_t, R * K) : NULL;
    s->factor = sampled ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    s->temperature = sampled ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    s->logz = sampled ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    s->seed = sampled ? ALD_ARENA_ARRAY(arena, uint64_t, R) : NULL;
    s->stream = sampled ? ALD_ARENA_ARRAY(arena, uint64_t, R) : NULL;
    s->tail_dpo = topk ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    ALD_CHECK(s->logits_c && s->rows_c && s->logprob_dpo && s->logprob_c && s->tvd &&
                  (!full || (s->full_logprob && s->full_ratio)) &&
                  (!hidden || (s->bits_dpo && s->bits_c)) &&
                  (!hidden32 || (s->hidden32_dpo && s->hidden32_c)) &&
                  (!has_k || (s->topk_id && s->topk_logprob && s->topk_ratio)) &&
                  (!sampled || (s->factor && s->temperature && s->logz && s->seed && s->stream)) &&
                  (!topk || (s->tail_dpo && tail_alloc(arena, R, &s->tail_c))),
              ALD_STATUS_RESOURCE,
              "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens",
              (long long)R);
done:
    return status;
}

/* Room for the reference, where there is one. */
static ald_status_t reference_alloc(scoring_t *s, int64_t R, int64_t chunk)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &s->scorer->arena;
    const ald_shard_header_t *h = &s->scorer->header;
    const int64_t V = h->vocab_size, H = h->hidden_size, K = h->top_k;
    const bool full = h->encoding == ALD_ENCODING_FULL, topk = h->encoding == ALD_ENCODING_TOPK;
    const bool hidden = h->encoding == ALD_ENCODING_HIDDEN;
    const bool hidden32 = h->encoding == ALD_ENCODING_HIDDEN32;
    const int64_t H_r = s->scorer->reference.params.config.hidden_size;
    const int64_t H_c = s->scorer->contrast.params.config.hidden_size;
    s->rows_c = ALD_ARENA_ARRAY(arena, float, chunk *(H_r > H_c ? H_r : H_c));
    s->logits_d = ALD_ARENA_ARRAY(arena, float, chunk *V);
    s->logits_r = ALD_ARENA_ARRAY(arena, float, chunk *V);
    s->logprob_r = ALD_ARENA_ARRAY(arena, float, R);
    s->tvd_r = ALD_ARENA_ARRAY(arena, float, R);
    s->full_ratio_r = full ? ALD_ARENA_ARRAY(arena, float, R *V) : NULL;
    s->bits_r = hidden ? ALD_ARENA_ARRAY(arena, uint16_t, R * H) : NULL;
    s->hidden32_r = hidden32 ? ALD_ARENA_ARRAY(arena, float, R *H) : NULL;
    s->topk_ratio_r = topk ? ALD_ARENA_ARRAY(arena, uint16_t, R * K) : NULL;
    ALD_CHECK(
        s->rows_c && s->logits_d && s->logits_r && s->logprob_r && s->tvd_r &&
            (!full || s->full_ratio_r) && (!hidden || s->bits_r) && (!hidden32 || s->hidden32_r) &&
            (!topk || (s->topk_ratio_r && tail_alloc(arena, R, &s->tail_r))),
        ALD_STATUS_RESOURCE,
        "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens", (long long)R);
done:
    return status;
}

/* The reference's forward pass and its hidden states. */
static ald_status_t run_reference(scoring_t *s, int64_t chunk)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scorer_t *scorer = s->scorer;
    const int64_t H = scorer->reference.params.config.hidden_size;
    float *hidden = ALD_ARENA_ARRAY(&scorer->arena, float, s->packed->batch.tokens *H);
    ALD_CHECK(hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(reference_alloc(s, s->packed->positions, chunk));
    ALD_TRY(ald_forward(&scorer->reference.model, &s->packed->batch, &scorer->arena, NULL, hidden));
    if (s->bits_r != NULL)
        keep_hidden(s->packed, H, hidden, s->bits_r);
    if (s->hidden32_r != NULL)
        keep_hidden32(s->packed, H, hidden, s->hidden32_r);
    s->hidden_r = hidden;
done:
    return status;
}

static void fill_sequence(const scoring_t *s, int64_t first, ald_scored_t *out)
{
    const ald_shard_header_t *h = &s->scorer->header;
    out->logprob_dpo = s->logprob_dpo + first;
    out->logprob_reverse = s->logprob_c + first;
    out->tvd = s->tvd + first;
    out->full_logprob_dpo = ROWS(s->full_logprob, first, h->vocab_size);
    out->full_log_ratio = ROWS(s->full_ratio, first, h->vocab_size);
    out->hidden_dpo = ROWS(s->bits_dpo, first, h->hidden_size);
    out->hidden_reverse = ROWS(s->bits_c, first, h->hidden_size);
    out->hidden32_dpo = ROWS(s->hidden32_dpo, first, h->hidden_size);
    out->hidden32_reverse = ROWS(s->hidden32_c, first, h->hidden_size);
    out->topk_id = ROWS(s->topk_id, first, h->top_k);
    out->topk_logprob_dpo = ROWS(s->topk_logprob, first, h->top_k);
    out->topk_log_ratio = ROWS(s->topk_ratio, first, h->top_k);
    out->proposal_factor = ROWS(s->factor, first, 1);
    out->proposal_temperature = ROWS(s->temperature, first, 1);
    out->proposal_logz = ROWS(s->logz, first, 1);
    out->tail_dpo = ROWS(s->tail_dpo, first, 1);
    out->tail_reverse = ROWS(s->tail_c.tail_c, first, 1);
    out->alpha_max = ROWS(s->tail_c.alpha_max, first, 1);
    out->tail_mass = ROWS(s->tail_c.mass, first, ALD_KNOTS);
    out->tail_least = ROWS(s->tail_c.least, first, ALD_KNOTS);
    out->tail_ratio_min = ROWS(s->tail_c.ratio_least, first, 1);
    out->tail_ratio_max = ROWS(s->tail_c.ratio_most, first, 1);
    out->logprob_reference = ROWS(s->logprob_r, first, 1);
    out->tvd_reference = ROWS(s->tvd_r, first, 1);
    out->full_log_ratio_reference = ROWS(s->full_ratio_r, first, h->vocab_size);
    out->hidden_reference = ROWS(s->bits_r, first, h->hidden_size);
    out->hidden32_reference = ROWS(s->hidden32_r, first, h->hidden_size);
    out->topk_log_ratio_reference = ROWS(s->topk_ratio_r, first, h->top_k);
    out->tail_reference = ROWS(s->tail_r.tail_c, first, 1);
    out->alpha_max_reference = ROWS(s->tail_r.alpha_max, first, 1);
    out->tail_mass_reference = ROWS(s->tail_r.mass, first, ALD_KNOTS);
    out->tail_least_reference = ROWS(s->tail_r.least, first, ALD_KNOTS);
    out->tail_ratio_min_reference = ROWS(s->tail_r.ratio_least, first, 1);
    out->tail_ratio_max_reference = ROWS(s->tail_r.ratio_most, first, 1);
}

/* A position's draws depend on seed, policy's step, row, source and place in the response alone. */
static void seed_draws(scoring_t *s, const ald_scored_t *sequences)
{
    const ald_shard_header_t *h = &s->scorer->header;
    const uint64_t run = ald_rng_mix((uint64_t)h->seed, (uint64_t)(h->policy_step + 1));
    for (int64_t i = 0; i < s->packed->sequences; ++i) {
        const uint64_t row = ald_rng_mix((uint64_t)sequences[i].id, (uint64_t)sequences[i].source);
        for (int64_t r = s->packed->start[i]; r < s->packed->start[i + 1]; ++r) {
            s->seed[r] = ald_rng_mix(run, row);
            s->stream[r] = (uint64_t)(r - s->packed->start[i]);
        }
    }
}

/* Both forward passes, the vocabulary step of both, everything stored. */
static ald_status_t score_packed(ald_scorer_t *scorer, const ald_packed_t *packed,
                                 ald_scored_t *sequences, ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &scorer->arena;
    const int64_t T = packed->batch.tokens, R = packed->positions;
    const int64_t H = scorer->header.hidden_size, V = scorer->header.vocab_size;
    scoring_t s = {.scorer = scorer, .packed = packed};
    ald_teacher_init(scorer->config, &s.teacher);
    float *hidden = ALD_ARENA_ARRAY(arena, float, T *H);
    float *hidden_c = ALD_ARENA_ARRAY(arena, float, T * scorer->contrast.params.config.hidden_size);
    ALD_CHECK(hidden != NULL && hidden_c != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(scoring_alloc(&s, R, ald_head_chunk(V) < R ? ald_head_chunk(V) : R));
    s.hidden_c = hidden_c;
    if (s.seed != NULL)
        seed_draws(&s, sequences);
    ALD_TRY(ald_forward(&scorer->dpo.model, &packed->batch, arena, NULL, hidden));
    ALD_TRY(ald_forward(&scorer->contrast.model, &packed->batch, arena, NULL, hidden_c));
    if (s.bits_dpo != NULL) {
        keep_hidden(packed, H, hidden, s.bits_dpo);
        keep_hidden(packed, H, hidden_c, s.bits_c);
    }
    if (s.hidden32_dpo != NULL) {
        keep_hidden32(packed, H, hidden, s.hidden32_dpo);
        keep_hidden32(packed, H, hidden_c, s.hidden32_c);
    }
    if (scorer->header.sha256_reference[0] != '\0')
        ALD_TRY(run_reference(&s, ald_head_chunk(V) < R ? ald_head_chunk(V) : R));
    const ald_model_t head = head_of(scorer, &scorer->dpo.model);
    ALD_TRY(ald_head(&head, hidden, R, packed->row, arena, scoring_chunk, &s, NULL, NULL));
    for (int64_t i = 0; i < packed->sequences; ++i) {
        fill_sequence(&s, packed->start[i], &sequences[i]);
        ALD_TRY(ald_fail_point("shard_write"));
        ALD_TRY(ald_shard_writer_append(writer, &sequences[i]));
    }
done:
    return status;
}

/* Sequences to items: neighbours of one prompt become one item of two responses. */
static int64_t make_items(const ald_scored_t *sequences, int64_t count, ald_item_t *items,
                          int64_t *tokens)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; ++i) {
        const ald_scored_t *s = &sequences[i];
        bool joins =
            used > 0 && items[used - 1].responses == 1 && items[used - 1].prompt == s->prompt_ids;
        ald_item_t *item = &items[joins ? used - 1 : used++];
        if (!joins)
            *item = (ald_item_t){.prompt = s->prompt_ids, .prompt_count = s->prompt_count};
        item->response[item->responses] = s->response_ids;
        item->response_count[item->responses++] = s->response_count;
        tokens[used - 1] = ald_item_tokens(item);
    }
    return used;
}

ald_status_t ald_scorer_run(ald_scorer_t *scorer, ald_scored_t *sequences, int64_t count,
                            ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_mark_t mark = ald_arena_mark(&scorer->arena);
    ald_item_t *items = ALD_ARENA_ARRAY(&scorer->arena, ald_item_t, count + 1);
    int64_t *tokens = ALD_ARENA_ARRAY(&scorer->arena, int64_t, 2 * count + 2);
    ALD_CHECK(items != NULL && tokens != NULL, ALD_STATUS_RESOURCE, "out of memory");
    int64_t *start = tokens + count + 1, done = 0;
    int64_t used = make_items(sequences, count, items, tokens);
    int64_t micros =
        ald_micro_split(tokens, used, scorer->config->optimizer.micro_batch_tokens, start);
    for (int64_t m = 0; m < micros && used > 0; ++m) {
        ald_packed_t packed;
        ald_arena_mark_t inner = ald_arena_mark(&scorer->arena);
        ALD_TRY(ald_pack(items + start[m], start[m + 1] - start[m], &scorer->arena, &packed));
        ALD_TRY(score_packed(scorer, &packed, sequences + done, writer));
        done += packed.sequences;
        ald_arena_release(&scorer->arena, inner);
    }
done:
    ald_arena_release(&scorer->arena, mark);
    return status;
}

ald_status_t ald_scorer_write(ald_scorer_t *scorer, const char *path, ald_scored_t *sequences,
                              int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_writer_t *writer = NULL;
    ALD_TRY(ald_shard_writer_open(path, &scorer->header, &writer));
    ALD_TRY(ald_scorer_run(scorer, sequences, count, writer));
    ALD_TRY(ald_fail_point("shard_commit"));
    status = ald_shard_writer_commit(writer);
    writer = NULL;
done:
    ald_shard_writer_discard(writer);
    return status;
}
