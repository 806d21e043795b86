/* A pass over preference pairs. Both responses of a pair share their prompt's computation, for the
 * policy and for its reference alike, so that equal models give equal bits. */
#include "ald/objective/pair_pass.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"

ald_item_t ald_preferences_item(const ald_preferences_t *preferences, int64_t row)
{
    const ald_pair_t *pair = &preferences->pairs->rows[row];
    return preferences->reverse ? ald_item_of(pair, &pair->rejected, &pair->chosen)
                                : ald_item_of(pair, &pair->chosen, &pair->rejected);
}

typedef struct {
    int64_t V;
    const int32_t *target;
    float *logprob;
} head_t;

static ald_status_t logprobs(void *context, int64_t first, int64_t count, float *logits)
{
    const head_t *head = context;
    ald_token_logprobs(count, head->V, logits, head->target + first, head->logprob + first);
    return ALD_STATUS_OK;
}

ald_status_t ald_pair_pass_states(const ald_model_t *model, const ald_preferences_t *preferences,
                                  const int64_t *rows, int64_t count, bool keep, ald_arena_t *arena,
                                  ald_pair_pass_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_packed_t *packed = &out->packed;
    ald_item_t *items = ALD_ARENA_ARRAY(arena, ald_item_t, count);
    *out = (ald_pair_pass_t){0};
    ALD_CHECK_MEMORY(items, sizeof *items * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        items[i] = ald_preferences_item(preferences, rows[i]);
    ALD_TRY(ald_pack(items, count, arena, packed));
    out->hidden =
        ALD_ARENA_ARRAY(arena, float, packed->batch.tokens * model->params->config.hidden_size);
    out->logprob = ALD_ARENA_ARRAY(arena, float, packed->positions);
    ALD_CHECK(out->hidden && out->logprob, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_forward(model, &packed->batch, arena, keep ? &out->kept : NULL, out->hidden));
done:
    return status;
}

ald_status_t ald_pair_pass(const ald_model_t *model, const ald_preferences_t *preferences,
                           const int64_t *rows, int64_t count, bool keep, ald_arena_t *arena,
                           ald_pair_pass_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_pair_pass_states(model, preferences, rows, count, keep, arena, out));
    head_t head = {ald_model_vocabulary(model), out->packed.target, out->logprob};
    ALD_TRY(ald_head(model, out->hidden, out->packed.positions, out->packed.row, arena, logprobs,
                     &head, NULL, NULL));
done:
    return status;
}

double ald_pair_pass_sum(const ald_pair_pass_t *pass, const float *values, int64_t sequence)
{
    double sum = 0.0;
    for (int64_t r = pass->packed.start[sequence]; r < pass->packed.start[sequence + 1]; ++r)
        sum += values[r];
    return sum;
}
