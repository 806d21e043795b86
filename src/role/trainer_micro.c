/* The loss of a micro-batch of scored sequences. */
#include "role/trainer_micro_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/role/trainer.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"

/* A micro-batch: what it learns from, and per position what the loss gives. */
typedef struct {
    const ald_trainer_t *trainer;
    const ald_encoding_row_t *encoding;
    const ald_shard_header_t *header; /* of the shards */
    ald_lesson_t lesson;
    int64_t *owner;                 /* [R] the lesson's, to be filled */
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

/* alpha, weight and scale of a sequence's positions. */
static ald_status_t weigh_sequence(micro_t *m, ald_trainer_t *t, int64_t s, double *columns)
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
        m->scale[first + i] = weight * share / (double)t->step_count;
        columns[COLUMN_ALPHA] += alpha;
        columns[COLUMN_WEIGHT] += weight;
        columns[COLUMN_TVD] += tvd[i];
        ALD_TRY(ald_vec_push(&t->alphas, &kept));
    }
    columns[COLUMN_SEQUENCES] += 1.0;
    columns[COLUMN_POSITIONS] += (double)length;
    columns[COLUMN_ON_POLICY] += sequence->source == ALD_SOURCE_POLICY;
done:
    return status;
}

/* Whether each sequence says what bounds its error. */
static bool is_certified(const ald_lesson_t *lesson)
{
    bool certified = true;
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

/* Shards may know more tokens than the policy. */
static ald_status_t check_ids(const ald_trainer_t *t, int64_t entry, const ald_scored_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_entry_t *e = &t->set->entries[entry];
    for (int64_t i = 0; i < s->prompt_count + s->response_count; ++i) /* one after the other */
        ALD_CHECK(s->prompt_ids[i] < t->vocabulary, ALD_STATUS_INPUT,
                  "%s: sequence %lld: token %d, but the policy %s has %lld",
                  t->set->paths[e->shard], (long long)e->index, s->prompt_ids[i],
                  t->config->distill.policy, (long long)t->vocabulary);
done:
    return status;
}

static void sum_positions(const micro_t *m, int64_t step_count, double *columns)
{
    for (int64_t r = 0; r < m->lesson.packed->positions; ++r) {
        const ald_position_t *p = &m->position[r];
        columns[COLUMN_LOSS] += m->scale[r] * (double)step_count * p->divergence;
        columns[COLUMN_KL_TEACHER] += p->kl_teacher;
        columns[COLUMN_KL_DPO] += p->kl_dpo;
        columns[COLUMN_REWARD] += p->reward;
    }
}

/* Sums the bounds on the teacher's error; one above the limit is refused. */
static ald_status_t sum_errors(const micro_t *m, ald_trainer_t *t, int64_t first, double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_lesson_t *lesson = &m->lesson;
    const double limit = t->config->distill.max_teacher_error;
    const ald_entry_t *entry = &t->set->entries[t->entries[first]];
    ALD_CHECK(lesson->error != NULL || lesson->sequence[0].tail_dpo == NULL || limit <= 0.0,
              ALD_STATUS_INPUT,
              "%s: says nothing of its error; distill.max_teacher_error = %g needs shards that "
              "this version has scored",
              t->set->paths[entry->shard], limit);
    for (int64_t r = 0; lesson->error != NULL && r < lesson->packed->positions; ++r) {
        const double error = lesson->error[r].variation;
        const int64_t s = m->owner[r];
        entry = &t->set->entries[t->entries[first + s]];
        ALD_CHECK(limit <= 0.0 || error <= limit, ALD_STATUS_INPUT,
                  "%s: sequence %lld (row %lld), response position %lld: the teacher may be off by "
                  "%.3g in total variation, above distill.max_teacher_error = %g; score with a "
                  "larger shards.top_k",
                  t->set->paths[entry->shard], (long long)entry->index, (long long)entry->id,
                  (long long)(r - lesson->packed->start[s]), error, limit);
        columns[COLUMN_CERTIFIED] += 1.0;
        columns[COLUMN_ERROR] += error;
        columns[COLUMN_ERROR_KL] +=
            ald_teacher_weight(&t->teacher, m->alpha[r]) * lesson->error[r].reverse_kl;
        t->worst = error > t->worst ? error : t->worst;
    }
done:
    return status;
}

/* The micro-batch of the reading, before its positions are looked at. */
static micro_t micro_of(const ald_trainer_t *t)
{
    const ald_shard_header_t *header = ald_shard_header(t->set->shards[0]);
    return (micro_t){.trainer = t,
                     .encoding = ald_encoding_row(header->encoding),
                     .header = header,
                     .lesson = {.header = header,
                                .teacher = &t->teacher,
                                .vocabulary = t->vocabulary,
                                .heads = {&t->heads[0].model, &t->heads[1].model},
                                .sequence = t->reading.sequence,
                                .packed = &t->reading.packed}};
}

ald_status_t ald_trainer_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
                               double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *t = context;
    ald_arena_t *arena = &engine->arena;
    ald_model_t model = ald_engine_model(engine);
    const int64_t H = engine->params.config.hidden_size;
    const ald_packed_t *packed = &t->reading.packed;
    ald_activations_t *kept = NULL;
    micro_t m = micro_of(t);
    model.vocabulary = t->vocabulary;
    columns[COLUMN_WAIT] += t->reading.waited;
    for (int64_t s = 0; s < count; ++s)
        ALD_TRY(check_ids(t, t->entries[first + s], &m.lesson.sequence[s]));
    ALD_TRY(micro_alloc(&m, arena));
    for (int64_t s = 0; s < count; ++s)
        ALD_TRY(weigh_sequence(&m, t, s, columns));
    float *hidden = ALD_ARENA_ARRAY(arena, float, packed->batch.tokens *H);
    float *d_hidden = ald_arena_calloc(arena, (size_t)(packed->batch.tokens * H), sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&model, &packed->batch, arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, packed->positions, packed->row, arena, distill_head, &m,
                     d_hidden, engine->optimizer.gradient));
    ALD_TRY(sum_errors(&m, t, first, columns));
    ALD_TRY(
        ald_backward(&model, &packed->batch, kept, arena, d_hidden, engine->optimizer.gradient));
    sum_positions(&m, t->step_count, columns);
done:
    return status;
}
