/* Tokens as models see them. Two passes over chunks of positions: alpha may be that of the whole
 * response, so that all distances come before the first teacher is composed. */
#include "ald/tokens/models.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/ops.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/rows.h"
#include "ald/tokens/table.h"

enum { POLICY, DPO, CONTRAST, REFERENCE, VIEWS };

typedef struct {
    const ald_tokens_models_t *models;
    const ald_model_t *view[VIEWS]; /* NULL: none */
    ald_packed_t packed;
    int64_t V, chunk;
    float *hidden[VIEWS]; /* [T, H] */
    float *rows;          /* [chunk, the largest H] */
    float *logits[VIEWS]; /* [chunk, V] */
    float *teacher;       /* [chunk, V] */
    float *tvd;           /* [positions] */
} views_t;

static ald_status_t views_init(views_t *views, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t T = views->packed.batch.tokens, R = views->packed.positions;
    int64_t widest = 0;
    views->V = ald_model_vocabulary(views->view[DPO]);
    views->chunk = ald_head_chunk(views->V) < R ? ald_head_chunk(views->V) : R;
    for (int k = 0; k < VIEWS; ++k) {
        if (views->view[k] == NULL)
            continue;
        const int64_t H = views->view[k]->params->config.hidden_size;
        widest = H > widest ? H : widest;
        views->hidden[k] = ALD_ARENA_ARRAY(arena, float, T *H);
        views->logits[k] = ALD_ARENA_ARRAY(arena, float, views->chunk * views->V);
        ALD_CHECK(views->hidden[k] != NULL && views->logits[k] != NULL, ALD_STATUS_RESOURCE,
                  "out of memory: a row of %lld tokens", (long long)T);
        ALD_TRY(ald_forward(views->view[k], &views->packed.batch, arena, NULL, views->hidden[k]));
    }
    views->rows = ALD_ARENA_ARRAY(arena, float, views->chunk *widest);
    views->teacher = ALD_ARENA_ARRAY(arena, float, views->chunk * views->V);
    views->tvd = ALD_ARENA_ARRAY(arena, float, R + 1);
    ALD_CHECK(views->rows != NULL && views->teacher != NULL && views->tvd != NULL,
              ALD_STATUS_RESOURCE, "out of memory: a row of %lld tokens", (long long)T);
done:
    return status;
}

/* The logits of `count` positions from `first` on, of the views [from, to). */
static void views_logits(const views_t *views, int from, int to, int64_t first, int64_t count)
{
    for (int k = from; k < to; ++k) {
        if (views->view[k] == NULL)
            continue;
        const int64_t H = views->view[k]->params->config.hidden_size;
        for (int64_t i = 0; i < count; ++i)
            memcpy(views->rows + i * H, views->hidden[k] + views->packed.row[first + i] * H,
                   sizeof(float) * (size_t)H);
        ald_head_logits(views->view[k], count, views->rows, views->logits[k]);
    }
}

static void measure_distances(const views_t *views)
{
    const int64_t V = views->V, R = views->packed.positions;
    for (int64_t first = 0; first < R; first += views->chunk) {
        const int64_t here = R - first < views->chunk ? R - first : views->chunk;
        views_logits(views, DPO, REFERENCE, first, here);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < here; ++i) {
            float *dpo = views->logits[DPO] + i * V, *ratio = views->logits[CONTRAST] + i * V;
            ald_teacher_logits_row(V, dpo, ratio);
            views->tvd[first + i] = ald_tvd_row(V, dpo, ratio);
        }
    }
}

/* Position i of the chunk, which is position t of the list; the logits are overwritten. */
static void measure_position(const views_t *views, int64_t i, ald_token_list_t *list, int64_t t)
{
    const int64_t V = views->V;
    const int32_t token = list->ids[t];
    float *row[VIEWS];
    for (int k = 0; k < VIEWS; ++k)
        row[k] = views->view[k] == NULL ? NULL : views->logits[k] + i * V;
    ald_teacher_logits_row(V, row[DPO], row[CONTRAST]);
    const ald_token_rows_t rows = {.V = V,
                                   .dpo = row[DPO],
                                   .ratio = row[CONTRAST],
                                   .policy = row[POLICY],
                                   .teacher = views->teacher + i * V};
    list->value[ALD_COLUMN_DPO][t] = row[DPO][token];
    list->value[ALD_COLUMN_CONTRAST][t] = row[DPO][token] - row[CONTRAST][token];
    if (row[REFERENCE] != NULL)
        list->value[ALD_COLUMN_REFERENCE][t] =
            row[REFERENCE][token] - ald_logsumexp(V, row[REFERENCE]);
    ald_token_rows_measure(views->models->teacher, &rows, list, t);
}

static void measure_list(const views_t *views, int64_t start, ald_token_list_t *list)
{
    const int64_t R = list->count;
    for (int64_t first = 0; first < R; first += views->chunk) {
        const int64_t here = R - first < views->chunk ? R - first : views->chunk;
        views_logits(views, POLICY, VIEWS, start + first, here);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < here; ++i)
            measure_position(views, i, list, first + i);
    }
}

static ald_status_t make_room(const views_t *views, ald_tokens_t *tokens, ald_token_list_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_tokens_column(tokens, list, ALD_COLUMN_DPO));
    ALD_TRY(ald_tokens_column(tokens, list, ALD_COLUMN_CONTRAST));
    if (views->view[REFERENCE] != NULL)
        ALD_TRY(ald_tokens_column(tokens, list, ALD_COLUMN_REFERENCE));
    ALD_TRY(ald_token_rows_room(tokens, list, views->view[POLICY] != NULL));
done:
    return status;
}

ald_status_t ald_tokens_measure(const ald_tokens_models_t *models, const ald_item_t *item,
                                ald_tokens_t *tokens, ald_token_row_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    views_t views = {.models = models,
                     .view = {models->policy, models->dpo, models->contrast, models->reference}};
    ald_arena_t arena;
    ald_arena_init(&arena);
    ALD_TRY(ald_pack(item, 1, &arena, &views.packed));
    ALD_TRY(views_init(&views, &arena));
    measure_distances(&views);
    for (int k = 0; k < row->lists; ++k) {
        const int64_t start = views.packed.start[k];
        ALD_TRY(make_room(&views, tokens, &row->list[k]));
        ALD_TRY(ald_token_rows_compose(models->teacher, views.tvd + start, tokens, &row->list[k]));
        measure_list(&views, start, &row->list[k]);
        ald_token_rows_reward(models->teacher, &row->list[k]);
    }
done:
    ald_arena_reset(&arena);
    return status;
}
