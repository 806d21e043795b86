/* The vocabulary-wide step: logits of a chunk of positions, a callback that turns them into
 * gradients, and the products back. No array of all positions by the vocabulary ever exists. */
#include "ald/model/head.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/gradients.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "model/layer_impl.h"

#define CHUNK_BYTES ((int64_t)256 << 20) /* of logits; large enough for full-speed products */

int64_t ald_head_chunk(int64_t vocab_size)
{
    int64_t rows = CHUNK_BYTES / ((int64_t)sizeof(float) * vocab_size);
    return rows < 16 ? 16 : rows > 1024 ? 1024 : rows;
}

void ald_head_logits(const ald_model_t *model, int64_t count, const float *h, float *logits)
{
    const ald_params_t *params = model->params;
    const ald_matrix_t w = ald_model_matrix(model, params->lm_head, params->config.vocab_size);
    const ald_linear_t sizes = {count, ald_model_vocabulary(model), params->config.hidden_size};
    ald_matrix_linear(model->gemm, sizes, h, &w, 0.0f, logits);
}

static void gather_rows(int64_t count, int64_t H, const int64_t *row, const float *from, float *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        memcpy(to + i * H, from + row[i] * H, sizeof(float) * (size_t)H);
}

/* Rows may repeat, since the last position of a shared prompt predicts both responses. So a thread
 * takes a block of columns and adds all rows in order. */
static void scatter_add_rows(int64_t count, int64_t H, const int64_t *row, const float *from,
                             float *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t h0 = 0; h0 < H; h0 += 64)
        for (int64_t i = 0; i < count; ++i)
            for (int64_t h = h0; h < h0 + 64 && h < H; ++h)
                to[row[i] * H + h] += from[i * H + h];
}

ald_status_t ald_head(const ald_model_t *model, const float *hidden, int64_t R, const int64_t *row,
                      ald_arena_t *arena, ald_head_fn callback, void *context, float *d_hidden,
                      const ald_gradients_t *gradients)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_params_t *params = model->params;
    const int64_t V = ald_model_vocabulary(model), H = params->config.hidden_size;
    int64_t chunk = ald_head_chunk(V) < R ? ald_head_chunk(V) : R;
    ald_arena_mark_t mark = ald_arena_mark(arena);
    float *logits = ALD_ARENA_ARRAY(arena, float, chunk *V);
    float *h = ALD_ARENA_ARRAY(arena, float, chunk *H);
    ALD_CHECK(logits != NULL && h != NULL, ALD_STATUS_RESOURCE,
              "out of memory: logits of %lld positions", (long long)chunk);
    for (int64_t first = 0; first < R; first += chunk) {
        int64_t count = R - first < chunk ? R - first : chunk;
        gather_rows(count, H, row + first, hidden, h);
        ald_head_logits(model, count, h, logits);
        ALD_TRY(callback(context, first, count, logits));
        if (d_hidden == NULL)
            continue;
        const ald_linear_t sizes = {count, V, H};
        ald_linear_backward_weight(model->gemm, sizes, logits, h, gradients->vocabulary);
        ald_linear_backward_input(model->gemm, sizes, logits, model->values + params->lm_head, 0.0f,
                                  h);
        scatter_add_rows(count, H, row + first, h, d_hidden);
    }
    if (d_hidden != NULL && params->lm_head != params->embedding)
        ALD_TRY(ald_gradients_take_vocabulary(gradients, params->lm_head));
done:
    ald_arena_release(arena, mark);
    return status;
}

void ald_token_logprobs(int64_t rows, int64_t V, const float *logits, const int32_t *target,
                        float *logprob)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; ++i)
        logprob[i] = logits[i * V + target[i]] - ald_logsumexp(V, logits + i * V);
}
