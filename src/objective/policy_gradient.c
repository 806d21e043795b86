/* Policy gradients. The numbers that they are made of are in any shard: log-probabilities of the
 * sampled token under the models and under the policy that sampled it. The baseline is of the whole
 * step, so these are looked at before the step's first micro-batch. */
#include "ald/objective/policy_gradient.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/objective/cross_entropy.h"
#include "ald/objective/distill.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/teacher.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "objective/distill_impl.h"

/* --- settings --------------------------------------------------------------------------------- */

static ald_status_t check_settings(const ald_config_t *config, const ald_config_t *defaults)
{
    ald_status_t status = ALD_STATUS_OK;
    const struct {
        const char *key;
        bool set;
    } keys[] = {
        {"distill.divergence", config->distill.divergence != defaults->distill.divergence},
        {"distill.token_weight", config->distill.token_weight != defaults->distill.token_weight},
        {"distill.max_teacher_error",
         config->distill.max_teacher_error != defaults->distill.max_teacher_error},
        {"distill.granularity", config->distill.penalty == ALD_PENALTY_BETA0 &&
                                    config->distill.granularity != defaults->distill.granularity},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i)
        ALD_CHECK(!keys[i].set, ALD_STATUS_USAGE,
                  "%s: distill.signal = \"%s\" doesn't use it; expected it not set", keys[i].key,
                  ald_choice_name(ALD_CHOICES_SIGNALS, config->distill.signal));
done:
    return status;
}

ald_status_t ald_policy_gradient_check(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t defaults = {0};
    const char *signal = ald_choice_name(ALD_CHOICES_SIGNALS, config->distill.signal);
    ALD_TRY(ald_config_load(NULL, NULL, 0, &defaults));
    if (config->distill.signal == ALD_SIGNAL_DISTRIBUTION) {
        ALD_CHECK(config->distill.penalty == defaults.distill.penalty, ALD_STATUS_USAGE,
                  "distill.penalty: distill.signal = \"%s\" doesn't use it; expected it not set",
                  signal);
        goto done;
    }
    ALD_CHECK(config->distill.mode == ALD_MODE_ON_POLICY, ALD_STATUS_USAGE,
              "distill.signal: \"%s\" learns from what the policy at hand has sampled, which "
              "distill.mode = \"%s\" has not; expected \"on-policy\"",
              signal, ald_choice_name(ALD_CHOICES_MODES, config->distill.mode));
    ALD_CHECK(config->sampling.temperature == 1.0 && config->sampling.top_p == 1.0 &&
                  config->sampling.top_k == 0,
              ALD_STATUS_USAGE,
              "distill.signal: \"%s\" needs samples of the policy's own distribution; expected "
              "sampling.temperature = 1.0, sampling.top_p = 1.0, sampling.top_k = 0",
              signal);
    ALD_TRY(check_settings(config, &defaults));
done:
    ald_config_reset(&defaults);
    return status;
}

/* --- returns ---------------------------------------------------------------------------------- */

static void return_to_go(int64_t R, double *values)
{
    for (int64_t t = R - 2; t >= 0; --t)
        values[t] += values[t + 1];
}

static void one_return(int64_t R, double *values)
{
    return_to_go(R, values);
    for (int64_t t = 1; t < R; ++t)
        values[t] = values[0];
}

static double token_reward(const ald_teacher_t *teacher, const ald_scored_t *response, int64_t t)
{
    return teacher->beta * ((double)response->logprob_dpo[t] -
                            (double)response->contrast[teacher->contrast].logprob[t]);
}

void ald_policy_gradient_returns(const ald_config_t *config, const ald_teacher_t *teacher,
                                 const ald_scored_t *response, double *out)
{
    static void (*const sums[])(int64_t, double *) = {
        [ALD_SIGNAL_TOKEN] = return_to_go, [ALD_SIGNAL_SEQUENCE] = one_return};
    const int64_t R = response->response_count;
    const bool by_alpha = config->distill.penalty == ALD_PENALTY_BETA;
    if (by_alpha)
        ald_teacher_alphas(teacher, R, response->contrast[teacher->contrast].tvd, out);
    for (int64_t t = 0; t < R; ++t) {
        const double penalty = by_alpha ? ald_teacher_weight(teacher, out[t]) : teacher->beta;
        out[t] = token_reward(teacher, response, t) -
                 penalty * ((double)response->logprob_policy[t] - (double)response->logprob_dpo[t]);
    }
    sums[config->distill.signal](R, out);
}

double ald_policy_gradient_baseline(double sum, double own, int64_t count)
{
    return count > 1 ? (sum - own) / (double)(count - 1) : 0.0;
}

/* --- before a step ---------------------------------------------------------------------------- */

/* INPUT unless the policy sampled every token of the response. */
static ald_status_t check_sampled(const ald_shardset_t *set, const ald_entry_t *entry,
                                  const ald_scored_t *response)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t t = 0; t < response->response_count; ++t)
        ALD_CHECK(isfinite(response->logprob_policy[t]), ALD_STATUS_INPUT,
                  "%s: /response/logprob_policy: sequence %lld, response position %lld: %g; "
                  "distill.signal expects what the policy has sampled",
                  set->paths[entry->shard], (long long)entry->index, (long long)t,
                  (double)response->logprob_policy[t]);
done:
    return status;
}

static ald_status_t look_at(ald_distiller_t *d, int64_t index, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_entry_t *entry = &d->set->entries[index];
    ald_scored_t response;
    double mean = 0.0;
    ALD_TRY(ald_shard_read(d->set->shards[entry->shard], entry->index, false, arena, &response));
    ALD_TRY(check_sampled(d->set, entry, &response));
    double *returns = ALD_ARENA_ARRAY(arena, double, response.response_count);
    ALD_CHECK(returns != NULL, ALD_STATUS_RESOURCE, "out of memory: the returns of a response");
    ald_policy_gradient_returns(d->config, &d->teacher, &response, returns);
    for (int64_t t = 0; t < response.response_count; ++t)
        mean += returns[t];
    ALD_VEC_AT(&d->returns, double, index) = mean / (double)response.response_count;
done:
    return status;
}

ald_status_t ald_policy_gradient_look(ald_distiller_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_arena_init(&arena);
    d->returns.count = 0;
    ALD_TRY(ald_vec_append(&d->returns, NULL, (size_t)d->set->count));
    for (int64_t i = d->engine->comm->rank; i < d->set->count; i += d->engine->comm->size) {
        const ald_arena_mark_t mark = ald_arena_mark(&arena);
        ALD_TRY(look_at(d, i, &arena));
        ald_arena_release(&arena, mark);
    }
done:
    ald_arena_reset(&arena);
    return status;
}

/* Each mean was computed by one trainer and is 0 on the others, so the sum is exact. */
ald_status_t ald_policy_gradient_ready(ald_distiller_t *d)
{
    ald_collect_reduce(d->engine->comm, d->returns.data, (int64_t)d->returns.count, MPI_DOUBLE,
                       MPI_SUM);
    return ALD_STATUS_OK;
}

/* --- a micro-batch ---------------------------------------------------------------------------- */

typedef struct {
    const ald_distiller_t *distiller;
    const ald_micro_t *at;
    const ald_scored_t *sequence;
    const ald_packed_t *packed;
    double sum;      /* of the step's mean returns */
    double *returns; /* [R] */
    float *weight;   /* [R] -dloss/dlogprob */
    float *logprob;  /* [R] */
} micro_t;

/* Sets the weights of a response's positions, and adds what is of the response to the columns. */
static void weigh(micro_t *m, int64_t s)
{
    const ald_distiller_t *d = m->distiller;
    const ald_scored_t *response = &m->sequence[s];
    const ald_contrasted_t *contrast = &response->contrast[d->teacher.contrast];
    const int64_t first = m->packed->start[s], R = response->response_count;
    const int64_t count = m->at->items->count, index = m->at->items->item[m->at->first + s];
    const double share = d->teacher.length_normalize ? 1.0 / (double)R : 1.0;
    const double baseline =
        ald_policy_gradient_baseline(m->sum, ALD_VEC_AT(&d->returns, double, index), count);
    double *columns = m->at->columns, *advantage = m->returns + first;
    ald_policy_gradient_returns(d->config, &d->teacher, response, advantage);
    for (int64_t t = 0; t < R; ++t) {
        advantage[t] -= baseline;
        m->weight[first + t] = (float)(advantage[t] * share / (double)count);
        columns[ALD_SUM_ADVANTAGE] += advantage[t];
        columns[ALD_SUM_SQUARE] += advantage[t] * advantage[t];
        columns[ALD_SUM_REWARD] += token_reward(&d->teacher, response, t);
        columns[ALD_SUM_TVD] += contrast->tvd[t];
    }
    columns[ALD_SUM_SEQUENCES] += 1.0;
    columns[ALD_SUM_POSITIONS] += (double)R;
    columns[ALD_SUM_ON_POLICY] += response->source == ALD_SOURCE_POLICY;
}

/* Adds what the forward gave. */
static void sum_logprobs(const micro_t *m)
{
    double *columns = m->at->columns;
    for (int64_t s = 0; s < m->at->count; ++s)
        for (int64_t t = 0, r = m->packed->start[s]; r < m->packed->start[s + 1]; ++t, ++r) {
            columns[ALD_SUM_LOSS] -=
                (double)m->weight[r] * (double)m->at->items->count * m->logprob[r];
            columns[ALD_SUM_KL_DPO] += (double)m->logprob[r] - m->sequence[s].logprob_dpo[t];
        }
}

static ald_status_t gradient(void *context, int64_t first, int64_t count, float *logits)
{
    const micro_t *m = context;
    const int64_t V = m->distiller->vocabulary;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        m->logprob[first + i] = ald_cross_entropy_row(V, m->packed->target[first + i],
                                                      m->weight[first + i], logits + i * V);
    return ALD_STATUS_OK;
}

/* Checks what the micro-batch learns from, and weighs its positions. */
static ald_status_t prepare(micro_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_micro_t *at = m->at;
    const int64_t R = m->packed->positions;
    m->returns = ALD_ARENA_ARRAY(at->arena, double, R);
    m->weight = ALD_ARENA_ARRAY(at->arena, float, R);
    m->logprob = ALD_ARENA_ARRAY(at->arena, float, R);
    ALD_CHECK(m->returns && m->weight && m->logprob, ALD_STATUS_RESOURCE,
              "out of memory: returns of %lld positions", (long long)R);
    for (int64_t i = 0; i < at->items->count; ++i)
        m->sum += ALD_VEC_AT(&m->distiller->returns, double, at->items->item[i]);
    for (int64_t s = 0; s < at->count; ++s) {
        ALD_TRY(
            ald_distill_check_ids(m->distiller, at->items->item[at->first + s], &m->sequence[s]));
        weigh(m, s);
    }
done:
    return status;
}

ald_status_t ald_policy_gradient_micro(void *state, const ald_micro_t *at)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_reading_t *reading = at->reading;
    ald_model_t model = ald_engine_model(at->engine);
    ald_activations_t *kept = NULL;
    micro_t m = {
        .distiller = state, .at = at, .sequence = reading->sequence, .packed = &reading->packed};
    const int64_t states = m.packed->batch.tokens * at->engine->params.config.hidden_size;
    model.vocabulary = m.distiller->vocabulary;
    at->columns[ALD_SUM_WAIT] += reading->waited;
    ALD_TRY(prepare(&m));
    float *hidden = ALD_ARENA_ARRAY(at->arena, float, states);
    float *d_hidden = ald_arena_calloc(at->arena, (size_t)states, sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(&model, &m.packed->batch, at->arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, m.packed->positions, m.packed->row, at->arena, gradient, &m,
                     d_hidden, at->gradients));
    ALD_TRY(ald_backward(&model, &m.packed->batch, kept, at->arena, d_hidden, at->gradients));
    sum_logprobs(&m);
done:
    return status;
}

ald_status_t ald_policy_gradient_metrics(void *state, const ald_items_t *items,
                                         const double *columns, ald_metrics_t *metrics)
{
    const ald_distiller_t *d = state;
    const double sequences = columns[ALD_SUM_SEQUENCES], positions = columns[ALD_SUM_POSITIONS];
    const double mean = columns[ALD_SUM_ADVANTAGE] / positions;
    const double variance = columns[ALD_SUM_SQUARE] / positions - mean * mean;
    (void)items;
    ald_metrics_set(metrics, "loss", columns[ALD_SUM_LOSS] / sequences);
    ald_metrics_set(metrics, "kl/dpo", columns[ALD_SUM_KL_DPO] / positions);
    ald_metrics_set(metrics, "tvd/mean", columns[ALD_SUM_TVD] / positions);
    ald_metrics_set(metrics, "reward/token", columns[ALD_SUM_REWARD] / positions);
    ald_metrics_set(metrics, "reward/sequence", columns[ALD_SUM_REWARD] / sequences);
    ald_metrics_set(metrics, "advantage/mean", mean);
    ald_metrics_set(metrics, "advantage/std", sqrt(variance > 0.0 ? variance : 0.0));
    ald_metrics_set(metrics, "response_length", positions / sequences);
    ald_metrics_set(metrics, "staleness", (double)(d->engine->step - d->policy_step));
    ald_metrics_set(metrics, "on_policy", columns[ALD_SUM_ON_POLICY] / sequences);
    ald_metrics_set(metrics, "wait/read", columns[ALD_SUM_WAIT] / d->engine->comm->size);
    return ALD_STATUS_OK;
}
