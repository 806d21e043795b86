#include "ald/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/batch.h"
#include "ald/dtype.h"
#include "ald/hf.h"
#include "ald/log.h"
#include "ald/sampled.h"
#include "ald/scorer.h"
#include "ald/support.h"
#include "ald/vocabulary.h"

enum {
    COLUMN_LOSS,
    COLUMN_SEQUENCES,
    COLUMN_POSITIONS,
    COLUMN_KL_TEACHER,
    COLUMN_KL_DPO,
    COLUMN_ALPHA,
    COLUMN_TVD,
    COLUMN_WEIGHT,
    COLUMN_REWARD,
    COLUMN_ON_POLICY,
    COLUMN_WAIT,
    COLUMN_CERTIFIED,
    COLUMN_ERROR,
    COLUMN_ERROR_KL,
};

#define WARN_ABOVE 0.1 /* a bound on the total variation, mean of a step */

ald_status_t ald_trainer_init(const ald_config_t *config, const ald_comm_t *trainers,
                              ald_trainer_t *out)
{
    *out = (ald_trainer_t){.config = config, .policy_step = -1};
    ald_teacher_init(config, &out->teacher);
    ald_vec_init(&out->alphas, sizeof(float));
    return ald_engine_init(config, trainers, "distill", config->distill.policy,
                           config->distill.output, &out->engine);
}

void ald_trainer_reset(ald_trainer_t *trainer)
{
    ald_trainer_ahead_end(trainer);
    for (int which = 0; which < 2; ++which) {
        ald_mapped_close(trainer->heads[which].mapped);
        ald_params_reset(&trainer->heads[which].params);
    }
    ald_vec_reset(&trainer->alphas);
    ald_arena_reset(&trainer->shared);
    ald_engine_reset(&trainer->engine);
    *trainer = (ald_trainer_t){0};
}

/* One teacher. Local. */
static ald_status_t load_head(ald_trainer_t *trainer, int which, const char *directory,
                              const char *key)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape = {0};
    ald_params_t *params = &trainer->heads[which].params;
    ald_mapped_t **mapped = &trainer->heads[which].mapped;
    ALD_CHECK(directory[0] != '\0', ALD_STATUS_USAGE,
              "%s: not set; shards of hidden states need the teachers' model directories", key);
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, params));
    ALD_TRY(ald_mapped_open(directory, params, mapped));
    trainer->heads[which].model = ald_mapped_model(*mapped, params);
    trainer->teacher_hidden = shape.hidden_size;
done:
    return status;
}

/* The matrices are those that the shards' hidden states belong to. Root only. */
static ald_status_t check_heads(const ald_trainer_t *trainer, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *directories[] = {trainer->config->teacher.dpo,
                                 ald_contrast_directory(trainer->config)};
    for (int64_t i = 0; i < set->shard_count; ++i) {
        const ald_shard_header_t *header = ald_shard_header(set->shards[i]);
        const bool third = ald_shard_takes_reference(header, trainer->config->teacher.contrast);
        const ald_head_digest_t *found[] = {&header->head_dpo, third ? &header->head_reference
                                                                     : &header->head_reverse};
        ALD_CHECK(
            header->hidden_size == trainer->teacher_hidden &&
                header->vocab_size <= trainer->heads[0].params.config.vocab_size &&
                header->vocab_size <= trainer->heads[1].params.config.vocab_size,
            ALD_STATUS_INPUT,
            "%s: /teacher/hidden_dpo: hidden states of %lld for %lld tokens, which the output "
            "matrices of %s and %s don't have",
            set->paths[i], (long long)header->hidden_size, (long long)header->vocab_size,
            directories[0], directories[1]);
        for (int which = 0; which < 2; ++which)
            ALD_CHECK(found[which]->sha256[0] == '\0' ||
                          strcmp(found[which]->sha256, trainer->heads[which].digest.sha256) == 0,
                      ALD_STATUS_INPUT,
                      "%s: /teacher/hidden_%s belongs to an output matrix with sha256 %s (%s), but "
                      "that of %s is %s (%s)",
                      set->paths[i],
                      which == 0 ? "dpo"
                      : third    ? "reference"
                                 : "reverse",
                      found[which]->sha256, found[which]->dtype, directories[which],
                      trainer->heads[which].digest.sha256, trainer->heads[which].digest.dtype);
    }
done:
    return status;
}

ald_status_t ald_trainer_heads(ald_trainer_t *trainer, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = trainer->config;
    const ald_comm_t *comm = trainer->engine.comm;
    if (trainer->heads[1].mapped == NULL) {
        status = load_head(trainer, 0, config->teacher.dpo, "teacher.dpo");
        if (status == ALD_STATUS_OK)
            status = load_head(trainer, 1, ald_contrast_directory(config), "teacher.reverse");
        ALD_TRY(ald_comm_agree(comm, status));
        for (int which = 0; which < 2 && comm->rank == 0; ++which)
            strcpy(trainer->heads[which].digest.dtype,
                   ald_mapped_head_sha256(trainer->heads[which].mapped,
                                          &trainer->heads[which].params,
                                          trainer->heads[which].digest.sha256));
    }
    ALD_TRY(ald_comm_agree(comm, comm->rank == 0 ? check_heads(trainer, set) : ALD_STATUS_OK));
done:
    return status;
}

ald_status_t ald_trainer_vocabulary(ald_trainer_t *trainer, const ald_shardset_t *set)
{
    if (trainer->vocabulary > 0)
        return ALD_STATUS_OK;
    return ald_vocabulary_common(
        trainer->config->distill.policy, trainer->engine.params.config.vocab_size, set->paths[0],
        ald_shard_header(set->shards[0])->vocab_size, &trainer->vocabulary);
}

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
    double mean = 0.0, share = t->teacher.length_normalize ? 1.0 / (double)length : 1.0;
    for (int64_t i = 0; i < length; ++i)
        mean += sequence->tvd[i] / (double)length;
    for (int64_t i = 0; i < length; ++i) {
        double alpha =
            ald_teacher_alpha(&t->teacher, t->teacher.by_sequence ? mean : sequence->tvd[i]);
        double weight = ald_teacher_weight(&t->teacher, alpha);
        float kept = (float)alpha;
        m->owner[first + i] = s;
        m->alpha[first + i] = alpha;
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

/* Reads the items [first, first + count) of the step and packs them: nothing here depends on a
 * run's settings. */
static ald_status_t read_sequences(ald_trainer_t *t, int64_t first, int64_t count,
                                   ald_arena_t *arena, ald_reading_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *sequence = ALD_ARENA_ARRAY(arena, ald_scored_t, count);
    ald_item_t *items = ALD_ARENA_ARRAY(arena, ald_item_t, count);
    ALD_CHECK(sequence != NULL && items != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_fail_point("shard_read"));
    const double waited = ald_readahead_waited(t->ahead);
    ald_readahead_release(t->ahead);
    for (int64_t i = 0; i < count; ++i) {
        ALD_TRY(ald_readahead_take(t->ahead, t->entries[first + i], &sequence[i]));
        items[i] = (ald_item_t){.prompt = sequence[i].prompt_ids,
                                .prompt_count = sequence[i].prompt_count,
                                .responses = 1,
                                .response = {sequence[i].response_ids, NULL},
                                .response_count = {sequence[i].response_count, 0}};
    }
    ALD_TRY(ald_pack(items, count, arena, &out->packed));
    out->sequence = sequence;
    out->waited = ald_readahead_waited(t->ahead) - waited;
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
    return ald_shard_takes_reference(ald_shard_header(set->shards[0]), t->config->teacher.contrast);
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

static ald_status_t distill_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
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

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The 95th percentile of all trainers' alphas, on root (0 elsewhere). */
static ald_status_t alpha_p95(ald_trainer_t *t, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = t->engine.comm;
    int counts[comm->size], starts[comm->size], mine = (int)t->alphas.count, total = 0;
    float *all = NULL;
    *out = 0.0;
    MPI_Allgather(&mine, 1, MPI_INT, counts, 1, MPI_INT, comm->mpi);
    for (int r = 0; r < comm->size; ++r) {
        starts[r] = total;
        total += counts[r];
    }
    if (comm->rank == 0) {
        all = ald_alloc(sizeof *all * ((size_t)total + 1));
        if (all == NULL)
            status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %d alphas", total);
    }
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Gatherv(t->alphas.data, mine, MPI_FLOAT, all, counts, starts, MPI_FLOAT, 0, comm->mpi);
    if (comm->rank == 0 && total > 0) {
        qsort(all, (size_t)total, sizeof *all, compare_floats);
        *out = all[(int64_t)(0.95 * (double)(total - 1) + 0.5)];
    }
done:
    ald_free(all);
    return status;
}

static void distill_metrics(const ald_trainer_t *t, const double *columns, double p95,
                            ald_metrics_t *metrics)
{
    double sequences = columns[COLUMN_SEQUENCES], positions = columns[COLUMN_POSITIONS];
    double staleness = t->policy_step < 0 ? 0.0 : (double)(t->engine.step - t->policy_step);
    ald_metrics_set(metrics, "loss", columns[COLUMN_LOSS] / sequences);
    ald_metrics_set(metrics, "kl/teacher", columns[COLUMN_KL_TEACHER] / positions);
    ald_metrics_set(metrics, "kl/dpo", columns[COLUMN_KL_DPO] / positions);
    ald_metrics_set(metrics, "alpha/mean", columns[COLUMN_ALPHA] / positions);
    ald_metrics_set(metrics, "alpha/p95", p95);
    ald_metrics_set(metrics, "tvd/mean", columns[COLUMN_TVD] / positions);
    ald_metrics_set(metrics, "weight/mean", columns[COLUMN_WEIGHT] / positions);
    ald_metrics_set(metrics, "reward/token", columns[COLUMN_REWARD] / positions);
    ald_metrics_set(metrics, "response_length", positions / sequences);
    ald_metrics_set(metrics, "staleness", staleness);
    ald_metrics_set(metrics, "on_policy", columns[COLUMN_ON_POLICY] / sequences);
    ald_metrics_set(metrics, "wait/read", columns[COLUMN_WAIT] / t->engine.comm->size);
}

ald_status_t ald_trainer_ahead_begin(ald_trainer_t *trainer, ald_shardset_t *set)
{
    return ald_readahead_open(set, &trainer->ahead);
}

void ald_trainer_ahead_end(ald_trainer_t *trainer)
{
    ald_readahead_close(trainer->ahead);
    trainer->ahead = NULL;
}

ald_status_t ald_trainer_share(const ald_trainer_t *trainer, const ald_shardset_t *set,
                               const int64_t *entries, int64_t count, int64_t *mine,
                               int64_t *mine_count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &trainer->engine;
    int64_t *tokens = ald_alloc(sizeof *tokens * (size_t)(2 * count + 1));
    ALD_CHECK_MEMORY(tokens, sizeof *tokens * (size_t)(2 * count + 1));
    int64_t *start = tokens + count;
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_entry_tokens(&set->entries[entries[i]]);
    const int64_t micros =
        ald_micro_split(tokens, count, engine->config->optimizer.micro_batch_tokens, start);
    *mine_count = 0;
    for (int64_t m = engine->comm->rank; m < micros; m += engine->comm->size)
        for (int64_t i = start[m]; i < start[m + 1]; ++i)
            mine[(*mine_count)++] = entries[i];
done:
    ald_free(tokens);
    return status;
}

ald_status_t ald_trainer_ahead_plan(ald_trainer_t *trainer, const ald_shardset_t *set,
                                    const int64_t *entries, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t mine_count, *mine = ald_alloc(sizeof *mine * (size_t)(count + 1));
    ALD_CHECK_MEMORY(mine, sizeof *mine * (size_t)(count + 1));
    ALD_TRY(ald_trainer_share(trainer, set, entries, count, mine, &mine_count));
    ALD_TRY(ald_readahead_plan(trainer->ahead, mine, mine_count));
done:
    ald_free(mine);
    return status;
}

/* What `topk` may be off by, where the shards say so; collective, as `worst` is of all trainers. */
static void error_metrics(ald_trainer_t *t, const double *columns, ald_metrics_t *metrics)
{
    const double certified = columns[COLUMN_CERTIFIED], mean = columns[COLUMN_ERROR] / certified;
    MPI_Allreduce(MPI_IN_PLACE, &t->worst, 1, MPI_DOUBLE, MPI_MAX, t->engine.comm->mpi);
    if (certified == 0.0)
        return;
    ald_metrics_set(metrics, "teacher/error", mean);
    ald_metrics_set(metrics, "teacher/error_max", t->worst);
    ald_metrics_set(metrics, "teacher/error_kl", columns[COLUMN_ERROR_KL] / certified);
    if (mean > WARN_ABOVE && t->config->distill.max_teacher_error <= 0.0 && !t->warned) {
        ald_log_warn("distill: the teachers of these topk shards may be off by %.2g in total "
                     "variation on average, %.2g at most; a larger shards.top_k, or \"hidden\", "
                     "lowers that",
                     mean, t->worst);
        t->warned = true;
    }
}

/* Draws from the teacher know what it likes, which is all that the forward divergence asks. */
ald_status_t ald_trainer_fits(const ald_config_t *config, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(ald_shard_header(set->shards[0])->encoding != ALD_ENCODING_SAMPLED ||
                  strcmp(config->distill.divergence, "forward") == 0,
              ALD_STATUS_USAGE,
              "distill.divergence: \"%s\" can't be estimated from %s, whose encoding is "
              "\"sampled\"; expected \"forward\"",
              config->distill.divergence, set->paths[0]);
done:
    return status;
}

/* Makes the trainer ready for the step. */
static ald_status_t step_begin(ald_trainer_t *t, ald_shardset_t *set, const int64_t *entries,
                               int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    t->set = set;
    t->entries = entries;
    t->step_count = count;
    t->alphas.count = 0;
    t->worst = 0.0;
    ALD_TRY(ald_comm_agree(t->engine.comm, ald_trainer_vocabulary(t, set)));
    ALD_TRY(ald_comm_agree(t->engine.comm, ald_trainer_fits(t->config, set)));
    if (ald_encoding_is_hidden(ald_shard_header(set->shards[0])->encoding))
        ALD_TRY(ald_trainer_heads(t, set));
done:
    return status;
}

/* The trainer's share of a micro-batch that has been read, computed in the arena of `host`. */
static ald_status_t micro_of(ald_trainer_t *t, ald_trainer_t *host, const ald_reading_t *reading,
                             ald_step_t *step, int64_t m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t own = t->engine.arena;
    t->reading = *reading;
    t->engine.arena = host->engine.arena;
    status = ald_engine_micro(&t->engine, step, m, distill_micro, t);
    host->engine.arena = t->engine.arena;
    if (t != host)
        t->engine.arena = own;
    return status;
}

/* This rank's micro-batches: each is read once and goes through all trainers. */
static ald_status_t step_micros(ald_trainer_t *const *trainers, int64_t n, ald_step_t *steps)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *host = trainers[0];
    const ald_comm_t *comm = host->engine.comm;
    ald_arena_mark_t mark = ald_arena_mark(&host->shared);
    for (int64_t m = comm->rank; m < steps[0].micros; m += comm->size) {
        ald_reading_t reading;
        const int64_t first = steps[0].start[m], count = steps[0].start[m + 1] - first;
        ALD_TRY(read_sequences(host, first, count, &host->shared, &reading));
        host->sequences_read += count;
        for (int64_t k = 0; k < n; ++k)
            ALD_TRY(micro_of(trainers[k], host, &reading, &steps[k], m));
        ald_arena_release(&host->shared, mark);
    }
done:
    ald_arena_release(&host->shared, mark);
    return status;
}

/* Room for the step: the items' lengths and every trainer's part. */
static ald_status_t steps_init(ald_trainer_t *const *trainers, int64_t n, const ald_shardset_t *set,
                               const int64_t *entries, int64_t count, ald_step_t *steps)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t *tokens = ald_alloc(sizeof *tokens * (size_t)count);
    ALD_CHECK_MEMORY(tokens, sizeof *tokens * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_entry_tokens(&set->entries[entries[i]]);
    for (int64_t k = 0; k < n; ++k)
        ALD_TRY(ald_step_init(&trainers[k]->engine, tokens, count, &steps[k]));
done:
    ald_free(tokens);
    return status;
}

ald_status_t ald_trainer_steps(ald_trainer_t *const *trainers, int64_t n, ald_shardset_t *set,
                               const int64_t *entries, int64_t count, double epoch,
                               ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_trainer_t *host = trainers[0];
    const ald_comm_t *comm = host->engine.comm;
    const bool alone = host->ahead == NULL;
    double columns[ALD_COLUMNS], p95;
    ald_step_t *steps = ald_calloc((size_t)n, sizeof *steps);
    if (steps == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: a step of %lld runs",
                                  (long long)n);
    if (alone && status == ALD_STATUS_OK)
        status = ald_trainer_ahead_begin(host, set);
    if (alone && status == ALD_STATUS_OK)
        status = ald_trainer_ahead_plan(host, set, entries, count);
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t k = 0; k < n; ++k)
        ALD_TRY(step_begin(trainers[k], set, entries, count));
    status = steps_init(trainers, n, set, entries, count, steps);
    if (status == ALD_STATUS_OK)
        status = step_micros(trainers, n, steps);
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t k = 0; k < n; ++k) {
        ALD_TRY(ald_engine_update(&trainers[k]->engine, &steps[k], epoch, columns, &metrics[k]));
        ALD_TRY(alpha_p95(trainers[k], &p95));
        distill_metrics(trainers[k], columns, p95, &metrics[k]);
        error_metrics(trainers[k], columns, &metrics[k]);
    }
done:
    if (alone)
        ald_trainer_ahead_end(host);
    for (int64_t k = 0; k < n && steps != NULL; ++k)
        ald_step_reset(&steps[k]);
    ald_free(steps);
    return status;
}

ald_status_t ald_trainer_step(ald_trainer_t *trainer, ald_shardset_t *set, const int64_t *entries,
                              int64_t count, double epoch, ald_metrics_t *metrics)
{
    return ald_trainer_steps(&trainer, 1, set, entries, count, epoch, metrics);
}
