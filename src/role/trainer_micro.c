/* The loss of a micro-batch of scored sequences. */
#include "role/trainer_micro_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/role/trainer.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/loss.h"
#include "ald/teacher/sampled.h"
#include "ald/teacher/support.h"
#include "ald/train/engine.h"

/* A micro-batch: its sequences, and per position what the loss needs and gives. */
typedef struct {
    const ald_trainer_t *trainer;
    const ald_scored_t *sequence;
    const ald_packed_t *packed;
    bool certified;                 /* each sequence says what bounds its error */
    int64_t *owner;                 /* [R] sequence of a position */
    double *alpha, *factor, *scale; /* [R] */
    ald_position_t *position;       /* [R] */
    ald_support_error_t *error;     /* [R]; NULL where the shards don't bound it */
    float *lp, *ratio;              /* [chunk, V] the teacher's rows */
    float *rows;                    /* [chunk, H] hidden states */
} micro_t;

/* A stored hidden state, [H]. */
static void hidden_row(const ald_scored_t *s, int which, int64_t at, int64_t H, float *out)
{
    if (s->hidden32_dpo != NULL) {
        const float *row = (which == 0 ? s->hidden32_dpo : s->hidden32_reverse) + at * H;
        memcpy(out, row, sizeof(float) * (size_t)H);
        return;
    }
    const uint16_t *bits = (which == 0 ? s->hidden_dpo : s->hidden_reverse) + at * H;
    ald_dtype_row_to_f32(ALD_DTYPE_BF16, bits, H, out);
}

/* logits[count, V] of one teacher from stored hidden states. */
static void hidden_logits(micro_t *m, int64_t first, int64_t count, int which, float *logits)
{
    const ald_trainer_t *t = m->trainer;
    const int64_t H = t->teacher_hidden;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) {
        const ald_scored_t *s = &m->sequence[m->owner[first + i]];
        int64_t at = first + i - m->packed->start[m->owner[first + i]];
        hidden_row(s, which, at, H, m->rows + i * H);
    }
    ald_model_t head = t->heads[which].model;
    if (m->sequence[0].hidden32_dpo != NULL) /* as the scorer's for `full` */
        head.gemm = ald_gemm_find("invariant");
    head.vocabulary = t->vocabulary;
    ald_head_logits(&head, count, m->rows, logits);
}

/* The stored numbers of the K tokens of one position. */
static void widen_choice(const ald_scored_t *s, int64_t at, int64_t K, float *logprob, float *ratio)
{
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->topk_logprob_dpo + at * K, K, logprob);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, s->topk_log_ratio + at * K, K, ratio);
}

static void topk_position(micro_t *m, int64_t r, const ald_scored_t *s, int64_t at, float *z)
{
    const ald_teacher_t *teacher = &m->trainer->teacher;
    const int64_t V = m->trainer->vocabulary;
    const ald_shard_header_t *header = ald_shard_header(m->trainer->set->shards[0]);
    const int64_t K = header->top_k;
    float logprob[K], ratio[K], kept[2 * K];
    widen_choice(s, at, K, logprob, ratio);
    ald_support_t support = {.count = K,
                             .id = s->topk_id + at * K,
                             .logprob_dpo = logprob,
                             .log_ratio = ratio,
                             .tail_dpo = (double)s->tail_dpo[at],
                             .tail_reverse = (double)s->tail_reverse[at]};
    int32_t id[K];
    if (m->error != NULL) {
        const ald_tail_t tail = {(double)s->alpha_max[at], s->tail_mass + at * ALD_KNOTS,
                                 s->tail_least + at * ALD_KNOTS, (double)s->tail_ratio_min[at],
                                 (double)s->tail_ratio_max[at]};
        m->error[r] =
            ald_support_error(teacher, m->factor[r], V, header->vocab_size, &support, &tail, z);
    }
    if (V < header->vocab_size)
        ald_support_restrict(V, &support, id, kept);
    m->position[r] = ald_distill_topk_row(teacher, m->factor[r], m->scale[r], V, &support, z);
}

/* The loss of one position; the teacher's rows of `hidden` are logits until now. */
static void distill_position(micro_t *m, int64_t r, float *lp, float *ratio, float *z)
{
    const ald_teacher_t *teacher = &m->trainer->teacher;
    const int64_t V = m->trainer->vocabulary;
    const ald_shard_header_t *header = ald_shard_header(m->trainer->set->shards[0]);
    const ald_scored_t *s = &m->sequence[m->owner[r]];
    int64_t at = r - m->packed->start[m->owner[r]];
    if (s->proposal_factor != NULL) {
        const int64_t K = header->top_k;
        float logprob[K], log_ratio[K];
        widen_choice(s, at, K, logprob, log_ratio);
        const ald_draws_t draws = {K,
                                   s->topk_id + at * K,
                                   logprob,
                                   log_ratio,
                                   (double)s->proposal_factor[at],
                                   (double)s->proposal_temperature[at],
                                   (double)s->proposal_logz[at]};
        m->position[r] = ald_distill_sampled_row(teacher, m->factor[r], m->scale[r], V, &draws, z);
        return;
    }
    if (s->topk_id != NULL) {
        topk_position(m, r, s, at, z);
        return;
    }
    if (s->full_logprob_dpo != NULL) {
        memcpy(lp, s->full_logprob_dpo + at * header->vocab_size, sizeof(float) * (size_t)V);
        memcpy(ratio, s->full_log_ratio + at * header->vocab_size, sizeof(float) * (size_t)V);
        if (V < header->vocab_size)
            ald_teacher_restrict_row(V, lp, ratio);
    } else {
        ald_teacher_logits_row(V, lp, ratio);
    }
    m->position[r] = ald_distill_row(teacher, m->factor[r], m->scale[r], V, lp, ratio, z);
}

static ald_status_t distill_head(void *context, int64_t first, int64_t count, float *logits)
{
    micro_t *m = context;
    const int64_t V = m->trainer->vocabulary;
    if (m->sequence[0].hidden_dpo != NULL || m->sequence[0].hidden32_dpo != NULL) {
        hidden_logits(m, first, count, 0, m->lp);
        hidden_logits(m, first, count, 1, m->ratio);
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        distill_position(m, first + i, m->lp + i * V, m->ratio + i * V, logits + i * V);
    return ALD_STATUS_OK;
}

/* alpha, weight and scale of a sequence's positions. */
static ald_status_t weigh_sequence(micro_t *m, ald_trainer_t *t, int64_t s, double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_scored_t *sequence = &m->sequence[s];
    int64_t first = m->packed->start[s], length = sequence->response_count;
    double share = t->teacher.length_normalize ? 1.0 / (double)length : 1.0;
    ald_teacher_alphas(&t->teacher, length, sequence->tvd, m->alpha + first);
    for (int64_t i = 0; i < length; ++i) {
        double alpha = m->alpha[first + i];
        double weight = ald_teacher_weight(&t->teacher, alpha);
        float kept = (float)alpha;
        m->owner[first + i] = s;
        m->factor[first + i] = ald_teacher_factor(&t->teacher, alpha);
        m->scale[first + i] = weight * share / (double)t->step_count;
        columns[COLUMN_ALPHA] += alpha;
        columns[COLUMN_WEIGHT] += weight;
        columns[COLUMN_TVD] += sequence->tvd[i];
        ALD_TRY(ald_vec_push(&t->alphas, &kept));
    }
    columns[COLUMN_SEQUENCES] += 1.0;
    columns[COLUMN_POSITIONS] += (double)length;
    columns[COLUMN_ON_POLICY] += sequence->source == ALD_SOURCE_POLICY;
done:
    return status;
}

static ald_status_t micro_alloc(micro_t *m, ald_trainer_t *t, int64_t R)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &t->engine.arena;
    const int64_t V = t->vocabulary;
    int64_t chunk = ald_head_chunk(V) < R ? ald_head_chunk(V) : R;
    bool wide = m->sequence[0].topk_id == NULL;
    m->certified = true;
    for (int64_t i = 0; i < m->packed->sequences; ++i)
        m->certified = m->certified && m->sequence[i].tail_mass != NULL;
    m->owner = ALD_ARENA_ARRAY(arena, int64_t, R);
    m->alpha = ALD_ARENA_ARRAY(arena, double, R);
    m->factor = ALD_ARENA_ARRAY(arena, double, R);
    m->scale = ALD_ARENA_ARRAY(arena, double, R);
    m->position = ALD_ARENA_ARRAY(arena, ald_position_t, R);
    m->error = m->certified ? ALD_ARENA_ARRAY(arena, ald_support_error_t, R) : NULL;
    m->lp = ALD_ARENA_ARRAY(arena, float, wide ? chunk *V : 1);
    m->ratio = ALD_ARENA_ARRAY(arena, float, wide ? chunk *V : 1);
    m->rows = ALD_ARENA_ARRAY(arena, float, chunk * t->teacher_hidden + 1);
    ALD_CHECK(m->owner && m->alpha && m->factor && m->scale && m->position && m->lp && m->ratio &&
                  m->rows && (!m->certified || m->error),
              ALD_STATUS_RESOURCE, "out of memory: distilling %lld positions", (long long)R);
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
    for (int64_t r = 0; r < m->packed->positions; ++r) {
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
    const double limit = t->config->distill.max_teacher_error;
    const ald_entry_t *entry = &t->set->entries[t->entries[first]];
    ALD_CHECK(m->certified || m->sequence[0].tail_dpo == NULL || limit <= 0.0, ALD_STATUS_INPUT,
              "%s: says nothing of its error; distill.max_teacher_error = %g needs shards that "
              "this version has scored",
              t->set->paths[entry->shard], limit);
    for (int64_t r = 0; m->certified && r < m->packed->positions; ++r) {
        const double error = m->error[r].variation;
        const int64_t s = m->owner[r];
        entry = &t->set->entries[t->entries[first + s]];
        ALD_CHECK(limit <= 0.0 || error <= limit, ALD_STATUS_INPUT,
                  "%s: sequence %lld (row %lld), response position %lld: the teacher may be off by "
                  "%.3g in total variation, above distill.max_teacher_error = %g; score with a "
                  "larger shards.top_k",
                  t->set->paths[entry->shard], (long long)entry->index, (long long)entry->id,
                  (long long)(r - m->packed->start[s]), error, limit);
        columns[COLUMN_CERTIFIED] += 1.0;
        columns[COLUMN_ERROR] += error;
        columns[COLUMN_ERROR_KL] +=
            ald_teacher_weight(&t->teacher, m->alpha[r]) * m->error[r].reverse_kl;
        t->worst = error > t->worst ? error : t->worst;
    }
done:
    return status;
}

static bool takes_reference(const ald_trainer_t *t, const ald_shardset_t *set)
{
    return ald_shard_takes_reference(
        ald_shard_header(set->shards[0]),
        ald_choice_name(ALD_CHOICES_CONTRASTS, t->config->teacher.contrast));
}

/* The sequences of the reading, seen with this run's contrast. */
static ald_status_t take_contrast(const ald_trainer_t *t, int64_t count, ald_arena_t *arena,
                                  const ald_scored_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *copy = NULL;
    *out = t->reading.sequence;
    if (!takes_reference(t, t->set))
        return status;
    copy = ALD_ARENA_ARRAY(arena, ald_scored_t, count);
    ALD_CHECK(copy != NULL, ALD_STATUS_RESOURCE, "out of memory");
    memcpy(copy, t->reading.sequence, sizeof *copy * (size_t)count);
    for (int64_t s = 0; s < count; ++s)
        ald_scored_take_reference(&copy[s]);
    *out = copy;
done:
    return status;
}

ald_status_t ald_trainer_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
                               double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *t = context;
    ald_arena_t *arena = &engine->arena;
    ald_model_t model = ald_engine_model(engine);
    const int64_t H = engine->params.config.hidden_size;
    const ald_scored_t *sequence = NULL;
    const ald_packed_t packed = t->reading.packed;
    ald_activations_t *kept = NULL;
    ALD_TRY(take_contrast(t, count, arena, &sequence));
    micro_t m = {.trainer = t, .sequence = sequence, .packed = &packed};
    model.vocabulary = t->vocabulary;
    columns[COLUMN_WAIT] += t->reading.waited;
    for (int64_t s = 0; s < count; ++s)
        ALD_TRY(check_ids(t, t->entries[first + s], &sequence[s]));
    ALD_TRY(micro_alloc(&m, t, packed.positions));
    for (int64_t s = 0; s < count; ++s)
        ALD_TRY(weigh_sequence(&m, t, s, columns));
    float *hidden = ALD_ARENA_ARRAY(arena, float, packed.batch.tokens *H);
    float *d_hidden = ald_arena_calloc(arena, (size_t)(packed.batch.tokens * H), sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&model, &packed.batch, arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, packed.positions, packed.row, arena, distill_head, &m,
                     d_hidden, engine->optimizer.gradient));
    ALD_TRY(sum_errors(&m, t, first, columns));
    ALD_TRY(ald_backward(&model, &packed.batch, kept, arena, d_hidden, engine->optimizer.gradient));
    sum_positions(&m, t->step_count, columns);
done:
    return status;
}
