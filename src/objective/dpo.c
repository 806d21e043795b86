/* Preference optimisation: DPO and the losses beside it. A loss is a function of sums over a
 * response, so a pair costs a pass for those and, with their slopes known, a second vocabulary step
 * for the gradient. A loss of the reference's whole distribution has the reference run in each
 * micro-batch, too. */
#include "ald/objective/dpo.h"

#include <math.h>
#include <stdbool.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/objective/beside.h"
#include "ald/objective/cross_entropy.h"
#include "ald/objective/dpo_reference.h"
#include "ald/objective/pair_pass.h"
#include "ald/objective/preference.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "objective/objective_impl.h"

enum {
    COLUMN_LOSS,
    COLUMN_REWARD, /* of the preferred response, then of the other: so are all pairs of columns */
    COLUMN_ACCURATE = COLUMN_REWARD + 2,
    COLUMN_LOGP,
    COLUMN_KL = COLUMN_LOGP + 2,
    COLUMN_PAIRS = COLUMN_KL + 2,
};

static ald_item_t item(const void *state, int64_t row)
{
    return ald_preferences_item(&((const ald_dpo_t *)state)->reference.preferences, row);
}

/* A micro-batch. */
typedef struct {
    ald_dpo_t *dpo;
    const ald_micro_t *at;
    ald_pair_pass_t pass;
    int64_t V;
    float *weights; /* [R, 2] -dloss/dlogprob, dloss/dkl of a position */
    /* What follows is of ALD_REFERENCE_ROWS. */
    ald_beside_t reference;
    float *reference_logprob, *kl; /* [R] */
} micro_t;

static bool has_rows(const micro_t *m)
{
    return m->dpo->reference.mapped != NULL;
}

/* --- sums and loss ---------------------------------------------------------------------------- */

/* Compares the policy with the reference at a chunk of positions. */
static ald_status_t compare(void *context, int64_t first, int64_t count, float *logits)
{
    const micro_t *m = context;
    const int32_t *target = m->pass.packed.target + first;
    const float *frozen = m->reference.logits;
    ald_beside_logits(&m->reference, first, count);
    ald_token_logprobs(count, m->V, frozen, target, m->reference_logprob + first);
    ald_token_logprobs(count, m->V, logits, target, m->pass.logprob + first);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        m->kl[first + i] = (float)ald_beside_kl_row(m->V, frozen + i * m->V, logits + i * m->V);
    return ALD_STATUS_OK;
}

/* Runs the policy and the reference over the pairs. */
static ald_status_t run_both(micro_t *m, const ald_model_t *policy)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_micro_t *at = m->at;
    const ald_dpo_reference_t *reference = &m->dpo->reference;
    ALD_TRY(ald_pair_pass_states(policy, &reference->preferences, at->items->item + at->first,
                                 at->count, true, at->arena, &m->pass));
    const ald_packed_t *packed = &m->pass.packed;
    m->reference_logprob = ALD_ARENA_ARRAY(at->arena, float, 2 * packed->positions);
    ALD_CHECK(m->reference_logprob != NULL, ALD_STATUS_RESOURCE, "out of memory");
    m->kl = m->reference_logprob + packed->positions;
    ALD_TRY(ald_beside_run(&reference->model, packed, at->arena, &m->reference));
    ALD_TRY(ald_head(policy, m->pass.hidden, packed->positions, packed->row, at->arena, compare, m,
                     NULL, NULL));
done:
    return status;
}

/* The sums of a sequence, which is the `side`th response of a row. */
static ald_response_t response_of(const micro_t *m, int64_t sequence, int64_t row, int side)
{
    const ald_pair_pass_t *pass = &m->pass;
    double *values = m->dpo->reference.values;
    ald_response_t out = {.logprob = ald_pair_pass_sum(pass, pass->logprob, sequence),
                          .length =
                              pass->packed.start[sequence + 1] - pass->packed.start[sequence]};
    if (has_rows(m)) {
        out.reference = ald_pair_pass_sum(pass, m->reference_logprob, sequence);
        out.kl = ald_pair_pass_sum(pass, m->kl, sequence);
    } else if (values != NULL) {
        if (isnan(values[2 * row + side]))
            values[2 * row + side] = out.logprob;
        out.reference = values[2 * row + side];
    }
    return out;
}

/* Adds the loss of pair i of the micro-batch to the columns, and sets the weights of its positions.
 */
static void pair_loss(micro_t *m, int64_t i)
{
    const int64_t *start = m->pass.packed.start + 2 * i, row = m->at->items->item[m->at->first + i];
    double *columns = m->at->columns;
    ald_response_t pair[2];
    for (int side = 0; side < 2; ++side)
        pair[side] = response_of(m, 2 * i + side, row, side);
    const ald_pair_loss_t loss = ald_preference_loss(&m->dpo->settings, pair);
    for (int side = 0; side < 2; ++side) {
        /* The loss is the mean over the step's pairs. */
        const double pairs = (double)m->at->items->count;
        for (int64_t r = start[side]; r < start[side + 1]; ++r) {
            m->weights[2 * r] = (float)(-loss.d_logprob[side] / pairs);
            m->weights[2 * r + 1] = (float)(loss.d_kl[side] / pairs);
        }
        columns[COLUMN_REWARD + side] += loss.reward[side];
        columns[COLUMN_LOGP + side] += pair[side].logprob;
        columns[COLUMN_KL + side] += pair[side].kl;
    }
    columns[COLUMN_LOSS] += loss.loss;
    columns[COLUMN_ACCURATE] += loss.reward[0] > loss.reward[1];
    columns[COLUMN_PAIRS] += 1.0;
}

/* --- gradient --------------------------------------------------------------------------------- */

static ald_status_t gradient(void *context, int64_t first, int64_t count, float *logits)
{
    const micro_t *m = context;
    const int32_t *target = m->pass.packed.target + first;
    const float *weights = m->weights + 2 * first;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        ald_cross_entropy_row(m->V, target[i], weights[2 * i], logits + i * m->V);
    return ALD_STATUS_OK;
}

static ald_status_t gradient_of_both(void *context, int64_t first, int64_t count, float *logits)
{
    const micro_t *m = context;
    const int32_t *target = m->pass.packed.target + first;
    const float *frozen = m->reference.logits, *weights = m->weights + 2 * first;
    ald_beside_logits(&m->reference, first, count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        ald_beside_gradient_row(m->V, target[i], weights + 2 * i, frozen + i * m->V,
                                logits + i * m->V);
    return ALD_STATUS_OK;
}

static ald_status_t micro(void *state, const ald_micro_t *at)
{
    ald_status_t status = ALD_STATUS_OK;
    micro_t m = {.dpo = state, .at = at, .V = ((const ald_dpo_t *)state)->reference.V};
    ald_model_t model = ald_engine_model(at->engine);
    model.vocabulary = m.V;
    if (has_rows(&m))
        ALD_TRY(run_both(&m, &model));
    else
        ALD_TRY(ald_pair_pass(&model, &m.dpo->reference.preferences, at->items->item + at->first,
                              at->count, true, at->arena, &m.pass));
    const ald_packed_t *packed = &m.pass.packed;
    const size_t states = (size_t)(packed->batch.tokens * at->engine->params.config.hidden_size);
    m.weights = ALD_ARENA_ARRAY(at->arena, float, 2 * packed->positions);
    float *d_hidden = ald_arena_calloc(at->arena, states, sizeof(float));
    ALD_CHECK(m.weights != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < at->count; ++i)
        pair_loss(&m, i);
    ALD_TRY(ald_head(&model, m.pass.hidden, packed->positions, packed->row, at->arena,
                     has_rows(&m) ? gradient_of_both : gradient, &m, d_hidden, at->gradients));
    ALD_TRY(ald_backward(&model, &packed->batch, m.pass.kept, at->arena, d_hidden, at->gradients));
done:
    return status;
}

static ald_status_t metrics(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_dpo_t *dpo = state;
    const double pairs = columns[COLUMN_PAIRS];
    const double chosen = columns[COLUMN_REWARD] / pairs;
    const double rejected = columns[COLUMN_REWARD + 1] / pairs;
    ald_metrics_set(out, "loss", columns[COLUMN_LOSS] / pairs);
    ald_metrics_set(out, "rewards/chosen", chosen);
    ald_metrics_set(out, "rewards/rejected", rejected);
    ald_metrics_set(out, "rewards/accuracies", columns[COLUMN_ACCURATE] / pairs);
    ald_metrics_set(out, "rewards/margins", chosen - rejected);
    ald_metrics_set(out, "logps/chosen", columns[COLUMN_LOGP] / pairs);
    ald_metrics_set(out, "logps/rejected", columns[COLUMN_LOGP + 1] / pairs);
    if (dpo->reference.mapped != NULL) {
        ald_metrics_set(out, "kl/chosen", columns[COLUMN_KL] / pairs);
        ald_metrics_set(out, "kl/rejected", columns[COLUMN_KL + 1] / pairs);
    }
    if (ald_dpo_reference_fills(&dpo->reference, items))
        ALD_TRY(ald_dpo_reference_share(&dpo->reference, items, dpo->comm));
done:
    return status;
}

const ald_objective_t ald_objective_dpo = {
    .stage = "dpo", .item = item, .micro = micro, .metrics = metrics};
