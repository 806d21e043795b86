/* Direct preference optimisation. The loss is a function of summed log-probabilities, so a pair
 * costs a pass for those and, with the slope known, a second vocabulary step for the gradient. */
#include "ald/objective/dpo.h"

#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
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
    COLUMN_CHOSEN, /* beta (log pi - log reference) */
    COLUMN_REJECTED,
    COLUMN_ACCURATE,
    COLUMN_LOGP_CHOSEN,
    COLUMN_LOGP_REJECTED,
    COLUMN_PAIRS,
};

static ald_item_t item(const void *state, int64_t row)
{
    return ald_preferences_item(&((const ald_dpo_t *)state)->reference.preferences, row);
}

/* Adds the loss of pair i of the micro-batch to the columns, and sets the weights [R] of its
 * positions. */
static void pair_loss(ald_dpo_t *dpo, const ald_micro_t *m, const ald_pair_pass_t *pass, int64_t i,
                      float *weights)
{
    const int64_t *start = pass->packed.start + 2 * i;
    double *reference = dpo->reference.values + 2 * m->items->item[m->first + i], slope;
    const double chosen = ald_pair_pass_sum(pass, 2 * i);
    const double rejected = ald_pair_pass_sum(pass, 2 * i + 1);
    if (isnan(reference[0])) {
        reference[0] = chosen;
        reference[1] = rejected;
    }
    const ald_pair_sums_t sums = {chosen, rejected, reference[0], reference[1]};
    m->columns[COLUMN_LOSS] += ald_preference_loss(&dpo->settings, &sums, &slope);
    /* Cross-entropy's weight is -dloss/dlogprob; the loss is the mean over the step's pairs. */
    const float weight = (float)(-slope / (double)m->items->count);
    for (int64_t r = start[0]; r < start[1]; ++r)
        weights[r] = weight;
    for (int64_t r = start[1]; r < start[2]; ++r)
        weights[r] = -weight;
    const double beta = dpo->settings.beta;
    const double rewards[2] = {beta * (chosen - reference[0]), beta * (rejected - reference[1])};
    m->columns[COLUMN_CHOSEN] += rewards[0];
    m->columns[COLUMN_REJECTED] += rewards[1];
    m->columns[COLUMN_ACCURATE] += rewards[0] > rewards[1];
    m->columns[COLUMN_LOGP_CHOSEN] += chosen;
    m->columns[COLUMN_LOGP_REJECTED] += rejected;
    m->columns[COLUMN_PAIRS] += 1.0;
}

typedef struct {
    int64_t V;
    const int32_t *target;
    const float *weight; /* [R] -dloss/dlogprob of its sequence */
} head_t;

static ald_status_t gradient(void *context, int64_t first, int64_t count, float *logits)
{
    const head_t *head = context;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        ald_cross_entropy_row(head->V, head->target[first + i], head->weight[first + i],
                              logits + i * head->V);
    return ALD_STATUS_OK;
}

static ald_status_t micro(void *state, const ald_micro_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_dpo_t *dpo = state;
    ald_model_t model = ald_engine_model(m->engine);
    ald_pair_pass_t pass;
    model.vocabulary = dpo->reference.V;
    ALD_TRY(ald_pair_pass(&model, &dpo->reference.preferences, m->items->item + m->first, m->count,
                          true, m->arena, &pass));
    const ald_packed_t *packed = &pass.packed;
    const size_t states = (size_t)(packed->batch.tokens * m->engine->params.config.hidden_size);
    float *weights = ALD_ARENA_ARRAY(m->arena, float, packed->positions);
    float *d_hidden = ald_arena_calloc(m->arena, states, sizeof(float));
    ALD_CHECK(weights != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < m->count; ++i)
        pair_loss(dpo, m, &pass, i, weights);
    head_t head = {model.vocabulary, packed->target, weights};
    float *gradients = m->engine->optimizer.gradient;
    ALD_TRY(ald_head(&model, pass.hidden, packed->positions, packed->row, m->arena, gradient, &head,
                     d_hidden, gradients));
    ALD_TRY(ald_backward(&model, &packed->batch, pass.kept, m->arena, d_hidden, gradients));
done:
    return status;
}

static ald_status_t metrics(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_dpo_t *dpo = state;
    const double pairs = columns[COLUMN_PAIRS];
    const double chosen = columns[COLUMN_CHOSEN] / pairs;
    const double rejected = columns[COLUMN_REJECTED] / pairs;
    ald_metrics_set(out, "loss", columns[COLUMN_LOSS] / pairs);
    ald_metrics_set(out, "rewards/chosen", chosen);
    ald_metrics_set(out, "rewards/rejected", rejected);
    ald_metrics_set(out, "rewards/accuracies", columns[COLUMN_ACCURATE] / pairs);
    ald_metrics_set(out, "rewards/margins", chosen - rejected);
    ald_metrics_set(out, "logps/chosen", columns[COLUMN_LOGP_CHOSEN] / pairs);
    ald_metrics_set(out, "logps/rejected", columns[COLUMN_LOGP_REJECTED] / pairs);
    if (ald_dpo_reference_fills(&dpo->reference, items))
        ALD_TRY(ald_dpo_reference_share(&dpo->reference, items, dpo->comm));
done:
    return status;
}

const ald_objective_t ald_objective_dpo = {
    .stage = "dpo", .item = item, .micro = micro, .metrics = metrics};
