/* The loss of a micro-batch of scored sequences. How a position is learnt from is in the file
 * of its encoding (ald/teacher/encoding.h), so strength, weight and sums are here once for all. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/objective/distill.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "objective/distill_impl.h"

/* A micro-batch: what it learns from, and what the loss gives at each position. */
typedef struct {
    const ald_encoding_row_t *encoding;
    const ald_shard_header_t *header; /* of the shards */
    ald_lesson_t lesson;
    const ald_micro_t *at;
    int64_t *owner;                 /* [R] that of the lesson, filled in here */
    double *alpha, *factor, *scale; /* [R] */
    ald_position_t *position;       /* [R] */
} micro_t;

static ald_status_t distill_head(void *context, int64_t first, int64_t count, float *logits)
{
    micro_t *m = context;
    const ald_lesson_t *lesson = &m->lesson;
    const int64_t V = lesson->vocabulary, wide = m->encoding->wide > 0 ? V : 0;
    if (m->encoding->ready != NULL)
        m->encoding->ready(lesson, first, count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        m->position[first + i] = m->encoding->learn(lesson, first + i, lesson->logprob + i * wide,
                                                    lesson->ratio + i * wide, logits + i * V);
    return ALD_STATUS_OK;
}

/* Sets alpha, factor and scale of a sequence's positions, and adds them to the columns. */
static ald_status_t weigh_sequence(micro_t *m, ald_distiller_t *t, int64_t s, double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_scored_t *sequence = &m->lesson.sequence[s];
    const float *tvd = ald_lesson_contrast(&m->lesson, sequence)->tvd;
    int64_t first = m->lesson.packed->start[s], length = sequence->response_count;
    const double share = t->teacher.length_normalize ? 1.0 / (double)length : 1.0;
    ald_teacher_alphas(&t->teacher, length, tvd, m->alpha + first);
    for (int64_t i = 0; i < length; ++i) {
        double alpha = m->alpha[first + i];
        double weight = ald_teacher_weight(&t->teacher, alpha);
        float kept = (float)alpha;
        m->owner[first + i] = s;
        m->factor[first + i] = ald_teacher_factor(&t->teacher, alpha);
        m->scale[first + i] = weight * share / (double)m->at->items->count;
        columns[ALD_SUM_ALPHA] += alpha;
        columns[ALD_SUM_WEIGHT] += weight;
        columns[ALD_SUM_TVD] += tvd[i];
        ALD_TRY(ald_vec_push(&t->alphas, &kept));
        ALD_TRY(ald_vec_push(&t->tvds, &tvd[i]));
    }
    if (t->teacher.granularity == ALD_GRANULARITY_AUTO) {
        const double choice[] = {(double)sequence->id, ald_teacher_spread(length, tvd)};
        for (int i = 0; i < 2; ++i)
            ALD_TRY(ald_vec_push(&t->choices, &choice[i]));
    }
    columns[ALD_SUM_SEQUENCES] += 1.0;
    columns[ALD_SUM_BY_TOKEN] += ald_teacher_by_token(&t->teacher, length, tvd);
    columns[ALD_SUM_POSITIONS] += (double)length;
    columns[ALD_SUM_ON_POLICY] += sequence->source == ALD_SOURCE_POLICY;
done:
    return status;
}

/* Whether each sequence has the data that bounds its error. It says nothing of implausible tokens.
 */
static bool is_certified(const ald_lesson_t *lesson)
{
    bool certified = lesson->teacher->plausibility <= 0.0;
    for (int64_t i = 0; i < lesson->packed->sequences; ++i)
        certified =
            certified && ald_lesson_contrast(lesson, &lesson->sequence[i])->tail_mass != NULL;
    return certified;
}

static ald_status_t micro_alloc(micro_t *m, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_lesson_t *lesson = &m->lesson;
    const int64_t R = lesson->packed->positions, V = lesson->vocabulary;
    const int64_t H = ald_encoding_is_hidden(m->header->encoding) ? m->header->hidden_size : 0;
    const int64_t chunk = ald_head_chunk(V) < R ? ald_head_chunk(V) : R;
    const int64_t wide = m->encoding->wide > 0 ? chunk * V : 1;
    const bool certified = is_certified(lesson);
    m->owner = ALD_ARENA_ARRAY(arena, int64_t, R);
    m->alpha = ALD_ARENA_ARRAY(arena, double, R);
    m->factor = ALD_ARENA_ARRAY(arena, double, R);
    m->scale = ALD_ARENA_ARRAY(arena, double, R);
    m->position = ALD_ARENA_ARRAY(arena, ald_position_t, R);
    lesson->error = certified ? ALD_ARENA_ARRAY(arena, ald_support_error_t, R) : NULL;
    lesson->logprob = ALD_ARENA_ARRAY(arena, float, wide);
    lesson->ratio = ALD_ARENA_ARRAY(arena, float, wide);
    lesson->rows = ALD_ARENA_ARRAY(arena, float, chunk *H + 1);
    ALD_CHECK(m->owner && m->alpha && m->factor && m->scale && m->position && lesson->logprob &&
                  lesson->ratio && lesson->rows && (!certified || lesson->error),
              ALD_STATUS_RESOURCE, "out of memory: distilling %lld positions", (long long)R);
    lesson->owner = m->owner;
    lesson->factor = m->factor;
    lesson->scale = m->scale;
done:
    return status;
}

ald_status_t ald_distill_check_ids(const ald_distiller_t *t, int64_t entry, const ald_scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_entry_t *e = &t->set->entries[entry];
    for (int64_t i = 0; i < s->prompt_count + s->response_count;
         ++i) /* the response is behind the prompt */
        ALD_CHECK(s->prompt_ids[i] < t->vocabulary, ALD_STATUS_INPUT,
                  "%s: sequence %lld: token %d, but the policy %s has %lld",
                  t->set->paths[e->shard], (long long)e->index, s->prompt_ids[i],
                  t->config->distill.policy, (long long)t->vocabulary);
done:
    return status;
}

static void sum_positions(const micro_t *m, double *columns)
{
    for (int64_t r = 0; r < m->lesson.packed->positions; ++r) {
        const ald_position_t *p = &m->position[r];
        columns[ALD_SUM_LOSS] += m->scale[r] * (double)m->at->items->count * p->divergence;
        columns[ALD_SUM_KL_TEACHER] += p->kl_teacher;
        columns[ALD_SUM_KL_DPO] += p->kl_dpo;
        columns[ALD_SUM_REWARD] += p->reward;
    }
}

/* Sums the bounds on the teacher's error. INPUT for one above distill.max_teacher_error. */
static ald_status_t sum_errors(const micro_t *m, ald_distiller_t *t, double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_lesson_t *lesson = &m->lesson;
    const double limit = t->config->distill.max_teacher_error;
    const ald_entry_t *entry = &t->set->entries[m->at->items->item[m->at->first]];
    ALD_CHECK(lesson->error != NULL || lesson->sequence[0].tail_dpo == NULL || limit <= 0.0,
              ALD_STATUS_INPUT,
              "%s: says nothing of its error; distill.max_teacher_error = %g needs shards that "
              "this version has scored",
              t->set->paths[entry->shard], limit);
    for (int64_t r = 0; lesson->error != NULL && r < lesson->packed->positions; ++r) {
        const double error = lesson->error[r].variation;
        const int64_t s = m->owner[r];
        entry = &t->set->entries[m->at->items->item[m->at->first + s]];
        ALD_CHECK(limit <= 0.0 || error <= limit, ALD_STATUS_INPUT,
                  "%s: sequence %lld (row %lld), response position %lld: the teacher may be off by "
                  "%.3g in total variation, above distill.max_teacher_error = %g; score with a "
                  "larger shards.top_k",
                  t->set->paths[entry->shard], (long long)entry->index, (long long)entry->id,
                  (long long)(r - lesson->packed->start[s]), error, limit);
        columns[ALD_SUM_CERTIFIED] += 1.0;
        columns[ALD_SUM_ERROR] += error;
        columns[ALD_SUM_ERROR_KL] +=
            ald_teacher_weight(&t->teacher, m->alpha[r]) * lesson->error[r].reverse_kl;
        t->worst = error > t->worst ? error : t->worst;
    }
done:
    return status;
}

/* The micro-batch of what the feed has read; its arrays aren't allocated yet. */
static micro_t micro_of(const ald_distiller_t *d, const ald_micro_t *at)
{
    const ald_shard_header_t *header = ald_shard_header(d->set->shards[0]);
    const ald_reading_t *reading = at->reading;
    return (micro_t){.at = at,
                     .encoding = ald_encoding_row(header->encoding),
                     .header = header,
                     .lesson = {.header = header,
                                .teacher = &d->teacher,
                                .vocabulary = d->vocabulary,
                                .heads = {&d->heads[0].model, &d->heads[1].model},
                                .sequence = reading->sequence,
                                .packed = &reading->packed}};
}

/* Checks what the micro-batch learns from, and weighs its positions. */
static ald_status_t prepare(micro_t *m, ald_distiller_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_micro_t *at = m->at;
    at->columns[ALD_SUM_WAIT] += ((const ald_reading_t *)at->reading)->waited;
    for (int64_t s = 0; s < at->count; ++s)
        ALD_TRY(ald_distill_check_ids(d, at->items->item[at->first + s], &m->lesson.sequence[s]));
    ALD_TRY(micro_alloc(m, at->arena));
    for (int64_t s = 0; s < at->count; ++s)
        ALD_TRY(weigh_sequence(m, d, s, at->columns));
done:
    return status;
}

ald_status_t ald_distill_micro(void *state, const ald_micro_t *at)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_distiller_t *d = state;
    ald_arena_t *arena = at->arena;
    ald_model_t model = ald_engine_model(at->engine);
    ald_activations_t *kept = NULL;
    micro_t m = micro_of(d, at);
    const ald_packed_t *packed = m.lesson.packed;
    const int64_t states = packed->batch.tokens * at->engine->params.config.hidden_size;
    model.vocabulary = d->vocabulary;
    ALD_TRY(prepare(&m, d));
    float *hidden = ALD_ARENA_ARRAY(arena, float, states);
    float *d_hidden = ald_arena_calloc(arena, (size_t)states, sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&model, &packed->batch, arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, packed->positions, packed->row, arena, distill_head, &m,
                     d_hidden, at->gradients));
    ALD_TRY(sum_errors(&m, d, at->columns));
    ALD_TRY(ald_backward(&model, &packed->batch, kept, arena, d_hidden, at->gradients));
    sum_positions(&m, at->columns);
done:
    return status;
}
