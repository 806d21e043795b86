/* A frozen model beside the one in training. Its hidden states are kept for a micro-batch, and its
 * output matrix is applied anew for every chunk, so that no array of positions x vocabulary exists.
 */
#include "ald/objective/beside.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"
#include "ald/teacher/divergence.h"

ald_status_t ald_beside_run(const ald_model_t *model, const ald_packed_t *packed,
                            ald_arena_t *arena, ald_beside_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t V = ald_model_vocabulary(model), H = model->params->config.hidden_size;
    const int64_t most = ald_head_chunk(V), R = packed->positions, chunk = most < R ? most : R;
    *out = (ald_beside_t){.model = model, .packed = packed};
    out->hidden = ALD_ARENA_ARRAY(arena, float, packed->batch.tokens *H);
    out->rows = ALD_ARENA_ARRAY(arena, float, chunk *H);
    out->logits = ALD_ARENA_ARRAY(arena, float, chunk *V);
    ALD_CHECK(out->hidden && out->rows && out->logits, ALD_STATUS_RESOURCE,
              "out of memory: logits of %lld positions", (long long)chunk);
    ALD_TRY(ald_forward(model, &packed->batch, arena, NULL, out->hidden));
done:
    return status;
}

void ald_beside_logits(const ald_beside_t *beside, int64_t first, int64_t count)
{
    const int64_t H = beside->model->params->config.hidden_size;
    const int64_t *row = beside->packed->row + first;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        memcpy(beside->rows + i * H, beside->hidden + row[i] * H, sizeof(float) * (size_t)H);
    ald_head_logits(beside->model, count, beside->rows, beside->logits);
}

ALD_KERNEL(void, subtract, (int64_t V, float shift, float *z), (V, shift, z))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        z[v] -= shift;
}

double ald_beside_kl_row(int64_t V, const float *frozen, float *z)
{
    ald_sums_t sums = {0};
    subtract(V, ald_logsumexp(V, z), z);
    ald_divergence_row(ALD_DIVERGENCE_FORWARD)->sum(V, z, frozen, ald_logsumexp(V, frozen), &sums);
    return sums.forward;
}

ALD_KERNEL(void, difference,
           (int64_t V, const float scale[2], const float lse[2], const float *frozen, float *z),
           (V, scale, lse, frozen, z))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        z[v] = scale[0] * ald_expf(z[v] - lse[0]) - scale[1] * ald_expf(frozen[v] - lse[1]);
}

void ald_beside_gradient_row(int64_t V, int32_t target, const float weights[2], const float *frozen,
                             float *z)
{
    const float lse[2] = {ald_logsumexp(V, z), ald_logsumexp(V, frozen)};
    const float scale[2] = {weights[0] + weights[1], weights[1]};
    difference(V, scale, lse, frozen, z);
    z[target] -= weights[0];
}
