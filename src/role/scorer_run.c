/* The scoring of sequences. A micro-batch goes through all models before its vocabulary step, in
 * which every position is scored and forgotten: no array over all positions and tokens exists. */
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
#include "ald/num/gemm.h"
#include "ald/par/fault.h"
#include "ald/role/frozen.h"
#include "ald/role/scorer.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"

/* A micro-batch while it is scored. */
typedef struct {
    ald_scorer_t *scorer;
    const ald_packed_t *packed;
    const ald_encoding_row_t *encoding;
    ald_scoring_t scoring;
    const float *hidden[ALD_CONTRAST_COUNT]; /* [T, H] of each contrast; NULL: it isn't scored */
    float *logits, *copy,
        *rows; /* [chunk, V] of a contrast; [chunk, V] of pi_dpo, for the reference; [chunk, H] */
} micro_t;

/* Stores what all encodings keep of a position, then what this one keeps. The rows [V] of logits
 * are overwritten. */
static void score_position(const micro_t *m, ald_contrast_t contrast, int64_t r, float *logprob,
                           float *ratio, ald_choice_t *choice)
{
    const int64_t V = m->scoring.header->vocab_size;
    const ald_scored_t *all = &m->scoring.all;
    const ald_contrasted_t *c = &all->contrast[contrast];
    const int32_t target = m->packed->target[r];
    ald_teacher_logits_row(V, logprob, ratio);
    if (contrast == m->scoring.header->contrast)
        ((float *)all->logprob_dpo)[r] = logprob[target];
    ((float *)c->logprob)[r] = logprob[target] - ratio[target];
    ((float *)c->tvd)[r] = ald_tvd_row(V, logprob, ratio);
    if (m->encoding->fill != NULL)
        m->encoding->fill(&m->scoring, contrast, r, logprob, ratio, choice);
}

/* Scores `count` positions from `first` on, shared among the threads; rows [count, V] are
 * overwritten. */
static ald_status_t score_positions(const micro_t *m, ald_contrast_t contrast, int64_t first,
                                    int64_t count, float *logprob)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = m->scoring.header->vocab_size, K = m->scoring.header->top_k;
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        ald_choice_t choice = {0};
        const bool able = K == 0 || ald_choice_init(V, K, &choice) == ALD_STATUS_OK;
        failed += !able;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; ++i)
            if (able)
                score_position(m, contrast, first + i, logprob + i * V, m->logits + i * V, &choice);
        ald_choice_reset(&choice);
    }
    ALD_CHECK(failed == 0, ALD_STATUS_RESOURCE, "out of memory: the top %lld of %lld tokens",
              (long long)K, (long long)V);
done:
    return status;
}

/* The model, for its output matrix. Encodings whose losses are to have the same bits get products
 * whose rows don't depend on their neighbours. */
static ald_model_t head_of(const micro_t *m, const ald_frozen_t *frozen)
{
    ald_model_t head = frozen->model;
    if (m->encoding->exact)
        head.gemm = ald_gemm_find("invariant");
    return head;
}

/* Computes m->logits[count, V] of a contrast from its hidden states. */
static void contrast_logits(const micro_t *m, ald_contrast_t contrast, int64_t first, int64_t count)
{
    const ald_model_t model = head_of(m, &m->scorer->contrasts[contrast]);
    const int64_t H = model.params->config.hidden_size;
    for (int64_t i = 0; i < count; ++i)
        memcpy(m->rows + i * H, m->hidden[contrast] + m->packed->row[first + i] * H,
               sizeof(float) * (size_t)H);
    ald_head_logits(&model, count, m->rows, m->logits);
}

/* The vocabulary step of all models on a chunk of positions. The contrast of the shard comes first,
 * since what is kept for the reference beside it may be of the tokens that were chosen by it. */
static ald_status_t scoring_chunk(void *context, int64_t first, int64_t count, float *logits)
{
    ald_status_t status = ALD_STATUS_OK;
    const micro_t *m = context;
    const ald_contrast_t own = m->scoring.header->contrast;
    const size_t bytes = sizeof *logits * (size_t)(count * m->scoring.header->vocab_size);
    if (m->copy != NULL)
        memcpy(m->copy, logits, bytes);
    contrast_logits(m, own, first, count);
    ALD_TRY(score_positions(m, own, first, count, logits));
    if (m->copy != NULL) {
        contrast_logits(m, ALD_CONTRAST_REFERENCE, first, count);
        ALD_TRY(score_positions(m, ALD_CONTRAST_REFERENCE, first, count, m->copy));
    }
done:
    return status;
}

/* Computes a model's hidden states, of which the encoding stores what it keeps. `contrast` is NULL
 * for pi_dpo. */
static ald_status_t run_model(micro_t *m, const ald_frozen_t *frozen,
                              const ald_contrasted_t *contrast, const float **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &m->scorer->arena;
    const int64_t H = frozen->params.config.hidden_size;
    float *hidden = ALD_ARENA_ARRAY(arena, float, m->packed->batch.tokens *H);
    ALD_CHECK(hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&frozen->model, &m->packed->batch, arena, NULL, hidden));
    if (m->encoding->keep != NULL)
        m->encoding->keep(&m->scoring, contrast, m->packed, hidden);
    *out = hidden;
done:
    return status;
}

/* Sets the random numbers of each position's draws. They depend on seed, step of the policy, row,
 * source and place in the response alone, so any rank draws the same. */
static ald_status_t seed_draws(micro_t *m, const ald_scored_t *sequences)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *h = m->scoring.header;
    const int64_t R = m->packed->positions;
    uint64_t *seed = ALD_ARENA_ARRAY(&m->scorer->arena, uint64_t, 2 * R), *stream = seed + R;
    const uint64_t run = ald_rng_mix((uint64_t)h->seed, (uint64_t)(h->policy_step + 1));
    ALD_CHECK(seed != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < m->packed->sequences; ++i) {
        const uint64_t row = ald_rng_mix((uint64_t)sequences[i].id, (uint64_t)sequences[i].source);
        for (int64_t r = m->packed->start[i]; r < m->packed->start[i + 1]; ++r) {
            seed[r] = ald_rng_mix(run, row);
            stream[r] = (uint64_t)(r - m->packed->start[i]);
        }
    }
    m->scoring.seed = seed;
    m->scoring.stream = stream;
done:
    return status;
}

/* Allocates columns for all positions, and rows for a chunk of them. */
static ald_status_t micro_alloc(micro_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &m->scorer->arena;
    const ald_shard_header_t *header = m->scoring.header;
    const int64_t R = m->packed->positions, V = header->vocab_size, all = ald_head_chunk(V);
    const int64_t chunk = all < R ? all : R;
    int64_t H = 0;
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c) {
        const int64_t wanted = m->scorer->contrasts[c].params.config.hidden_size;
        H = wanted > H ? wanted : H;
    }
    ALD_TRY(ald_scored_alloc(header, R, arena, &m->scoring.all));
    m->logits = ALD_ARENA_ARRAY(arena, float, chunk *V);
    m->rows = ALD_ARENA_ARRAY(arena, float, chunk *H);
    ALD_CHECK(m->logits != NULL && m->rows != NULL, ALD_STATUS_RESOURCE,
              "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens",
              (long long)R);
    if (ald_shard_reference(header)[0] == '\0')
        goto done;
    m->copy = ALD_ARENA_ARRAY(arena, float, chunk *V);
    ALD_CHECK(m->copy != NULL, ALD_STATUS_RESOURCE,
              "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens",
              (long long)R);
done:
    return status;
}

static ald_status_t run_models(micro_t *m, const float **hidden)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(run_model(m, &m->scorer->dpo, NULL, hidden));
    for (ald_contrast_t c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (m->scorer->contrasts[c].model.params != NULL)
            ALD_TRY(
                run_model(m, &m->scorer->contrasts[c], &m->scoring.all.contrast[c], &m->hidden[c]));
done:
    return status;
}

/* Scores a micro-batch and appends its sequences to the shard. */
static ald_status_t score_packed(ald_scorer_t *scorer, const ald_packed_t *packed,
                                 ald_scored_t *sequences, ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *header = &scorer->header;
    const float *hidden = NULL;
    micro_t m = {.scorer = scorer,
                 .packed = packed,
                 .encoding = ald_encoding_row(header->encoding),
                 .scoring = {.header = header}};
    ald_teacher_init(scorer->config, &m.scoring.teacher);
    ALD_TRY(micro_alloc(&m));
    if (m.encoding->draws)
        ALD_TRY(seed_draws(&m, sequences));
    ALD_TRY(run_models(&m, &hidden));
    const ald_model_t head = head_of(&m, &scorer->dpo);
    ALD_TRY(ald_head(&head, hidden, packed->positions, packed->row, &scorer->arena, scoring_chunk,
                     &m, NULL, NULL));
    for (int64_t i = 0; i < packed->sequences; ++i) {
        ald_scored_slice(header, &m.scoring.all, packed->start[i], &sequences[i]);
        ALD_TRY(ald_fail_point("shard_write"));
        ALD_TRY(ald_shard_writer_append(writer, &sequences[i]));
    }
done:
    return status;
}

/* Makes items of sequences; two neighbours of one prompt become one item of two responses. */
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
