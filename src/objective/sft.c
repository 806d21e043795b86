/* Supervised fine-tuning. The weight of a token is one over the step's response tokens, all
 * trainers together, so a step's loss doesn't depend on how it is cut. */
#include "ald/objective/sft.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/objective/cross_entropy.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "objective/objective_impl.h"

enum { COLUMN_LOSS, COLUMN_TOKENS };

static ald_item_t item(const void *state, int64_t row)
{
    const ald_pair_t *pair = &((const ald_sft_t *)state)->pairs->rows[row];
    return ald_item_of(pair, &pair->chosen, NULL);
}

static ald_status_t ready(void *state, const ald_items_t *items)
{
    ald_sft_t *sft = state;
    int64_t positions = 0;
    for (int64_t i = 0; i < items->count; ++i)
        positions += sft->pairs->rows[items->item[i]].chosen.count;
    sft->weight = 1.0f / (float)positions;
    return ALD_STATUS_OK;
}

typedef struct {
    const int32_t *target;
    float weight;
    int64_t V;
    double loss; /* sum in nats, unweighted */
} head_t;

static ald_status_t cross_entropy(void *context, int64_t first, int64_t count, float *logits)
{
    head_t *head = context;
    const int64_t V = head->V;
    double loss = 0.0;
    float logprob[count];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        logprob[i] =
            ald_cross_entropy_row(V, head->target[first + i], head->weight, logits + i * V);
    for (int64_t i = 0; i < count; ++i)
        loss -= logprob[i];
    head->loss += loss;
    return ALD_STATUS_OK;
}

/* Forward, cross-entropy and backward of one packed micro-batch. */
static ald_status_t add_gradient(const ald_micro_t *m, const ald_packed_t *packed,
                                 const ald_sft_t *sft, double *loss)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_t model = ald_engine_model(m->engine);
    const int64_t H = m->engine->params.config.hidden_size, T = packed->batch.tokens;
    ald_activations_t *kept = NULL;
    head_t head = {packed->target, sft->weight, sft->vocabulary, 0.0};
    float *hidden = ALD_ARENA_ARRAY(m->arena, float, T *H);
    float *d_hidden = ald_arena_calloc(m->arena, (size_t)(T * H), sizeof(float));
    ALD_CHECK(hidden != NULL && d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    model.vocabulary = sft->vocabulary;
    ALD_TRY(ald_forward(&model, &packed->batch, m->arena, &kept, hidden));
    ALD_TRY(ald_head(&model, hidden, packed->positions, packed->row, m->arena, cross_entropy, &head,
                     d_hidden, m->gradients));
    ALD_TRY(ald_backward(&model, &packed->batch, kept, m->arena, d_hidden, m->gradients));
    *loss = head.loss;
done:
    return status;
}

static ald_status_t micro(void *state, const ald_micro_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_sft_t *sft = state;
    ald_item_t *items = ALD_ARENA_ARRAY(m->arena, ald_item_t, m->count);
    ald_packed_t packed;
    ALD_CHECK_MEMORY(items, sizeof *items * (size_t)m->count);
    for (int64_t i = 0; i < m->count; ++i)
        items[i] = item(sft, m->items->item[m->first + i]);
    ALD_TRY(ald_pack(items, m->count, m->arena, &packed));
    ALD_TRY(add_gradient(m, &packed, sft, &m->columns[COLUMN_LOSS]));
    m->columns[COLUMN_TOKENS] = (double)packed.positions;
done:
    return status;
}

static ald_status_t metrics(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *out)
{
    (void)state, (void)items;
    ald_metrics_set(out, "loss", columns[COLUMN_LOSS] / columns[COLUMN_TOKENS]);
    return ALD_STATUS_OK;
}

const ald_objective_t ald_objective_sft = {
    .stage = "sft", .item = item, .ready = ready, .micro = micro, .metrics = metrics};
