/* Models' views of given responses. All of them look at one chunk of positions at a time, since kl,
 * reward and tvd are sums over the vocabulary that need the logits of two models or three together.
 */
#include "ald/role/measure.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/teacher/teacher.h"

#define MEASURED_DOUBLES ((int64_t)(sizeof(ald_measured_t) / sizeof(double)))

/* A micro-batch: its hidden states, and the logits of one chunk, under every model. */
typedef struct {
    const ald_measure_t *measure;
    ald_packed_t packed;
    int64_t V, chunk;
    int first[ALD_VIEWS];     /* the first view of the same model, whose numbers serve this one too;
                                 -1: no model */
    float *hidden[ALD_VIEWS]; /* [T, H of the model]; first views only */
    float *rows[ALD_VIEWS];   /* [chunk, H of the model]; likewise */
    float *logits[ALD_VIEWS]; /* [chunk, V] */
} views_t;

/* sum_v p(v) (log a(v) - log b(v)), p = softmax(z). Blocks of 4,096 are summed in float, so that a
 * compiler can vectorise them; the blocks in double, so that no error grows with V. */
ALD_KERNEL(double, expected_difference,
           (int64_t V, const float *z, float lse, const float *a, float lse_a, const float *b,
            float lse_b),
           (V, z, lse, a, lse_a, b, lse_b))
{
    double total = 0.0;
    for (int64_t start = 0; start < V; start += 4096) {
        int64_t end = start + 4096 < V ? start + 4096 : V;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t v = start; v < end; ++v)
            sum += ald_expf(z[v] - lse) * ((a[v] - lse_a) - (b[v] - lse_b));
        total += sum;
    }
    return total;
}

/* Measures position i of the chunk. The rows of dpo and contrast are overwritten. */
static void measure_position(const views_t *views, int64_t i, int32_t target, bool distributions,
                             ald_measured_t *out)
{
    const int64_t V = views->V;
    float *z[ALD_VIEWS], lse[ALD_VIEWS];
    if (views->logits[ALD_VIEW_COMPOSED] != NULL)
        ald_teacher_compose_row(&views->measure->teacher, V, views->logits[ALD_VIEW_POLICY] + i * V,
                                views->logits[ALD_VIEW_COMPOSED] + i * V);
    for (int k = 0; k < ALD_VIEWS; ++k) {
        const bool row = views->logits[k] != NULL && k != ALD_VIEW_COMPOSED;
        z[k] = row ? views->logits[k] + i * V : NULL;
        lse[k] = z[k] == NULL ? NAN : ald_logsumexp(V, z[k]);
        out->logprob[k] = z[k] == NULL ? NAN : z[k][target] - lse[k];
    }
    float *p = z[ALD_VIEW_POLICY], *d = z[ALD_VIEW_DPO], *c = z[ALD_VIEW_CONTRAST];
    float *r = z[ALD_VIEW_REFERENCE], lse_p = lse[ALD_VIEW_POLICY];
    out->kl = out->reward = out->tvd = NAN;
    if (distributions && p != NULL && r != NULL)
        out->kl = expected_difference(V, p, lse_p, p, lse_p, r, lse[ALD_VIEW_REFERENCE]);
    if (distributions && p != NULL && d != NULL && c != NULL)
        out->reward =
            expected_difference(V, p, lse_p, d, lse[ALD_VIEW_DPO], c, lse[ALD_VIEW_CONTRAST]);
    if (distributions && d != NULL && c != NULL) {
        ald_teacher_logits_row(V, d, c);
        out->tvd = ald_tvd_row(V, d, c);
    }
}

static int first_of(const ald_measure_t *measure, const ald_model_t *model)
{
    int k = 0;
    while (measure->models[k] != model)
        ++k;
    return k;
}

static ald_status_t views_init(views_t *views, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t T = views->packed.batch.tokens, R = views->packed.positions;
    for (int k = 0; k < ALD_VIEWS; ++k) {
        const ald_model_t *model = views->measure->models[k];
        views->first[k] = model == NULL ? -1 : first_of(views->measure, model);
        if (model == NULL)
            continue;
        const int64_t H = model->params->config.hidden_size;
        views->V = ald_model_vocabulary(model);
        views->chunk = ald_head_chunk(views->V) < R ? ald_head_chunk(views->V) : R;
        const bool own = views->first[k] == k;
        views->logits[k] = ALD_ARENA_ARRAY(arena, float, views->chunk * views->V);
        if (own) {
            views->hidden[k] = ALD_ARENA_ARRAY(arena, float, T *H);
            views->rows[k] = ALD_ARENA_ARRAY(arena, float, views->chunk *H);
        }
        ALD_CHECK(views->logits[k] && (!own || (views->hidden[k] && views->rows[k])),
                  ALD_STATUS_RESOURCE,
                  "out of memory: %lld tokens; lower optimizer.micro_batch_tokens", (long long)T);
        if (own)
            ALD_TRY(ald_forward(model, &views->packed.batch, arena, NULL, views->hidden[k]));
    }
done:
    return status;
}

/* Computes the logits of `count` positions from `first` on under every model. */
static void views_logits(const views_t *views, int64_t first, int64_t count)
{
    for (int k = 0; k < ALD_VIEWS; ++k) {
        const ald_model_t *model = views->measure->models[k];
        if (model == NULL)
            continue;
        if (views->first[k] < k) {
            memcpy(views->logits[k], views->logits[views->first[k]],
                   sizeof(float) * (size_t)(count * views->V));
            continue;
        }
        const int64_t H = model->params->config.hidden_size;
        for (int64_t i = 0; i < count; ++i)
            memcpy(views->rows[k] + i * H, views->hidden[k] + views->packed.row[first + i] * H,
                   sizeof(float) * (size_t)H);
        ald_head_logits(model, count, views->rows[k], views->logits[k]);
    }
}

/* Measures every position of a micro-batch; *out is in the arena. */
static ald_status_t measure_packed(const ald_measure_t *measure, const ald_item_t *items,
                                   int64_t count, bool distributions, ald_arena_t *arena,
                                   ald_packed_t *packed, ald_measured_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    views_t views = {.measure = measure};
    ALD_TRY(ald_pack(items, count, arena, &views.packed));
    *packed = views.packed;
    const int64_t R = packed->positions;
    *out = ALD_ARENA_ARRAY(arena, ald_measured_t, R);
    ALD_CHECK_MEMORY(*out, sizeof **out * (size_t)R);
    ALD_TRY(views_init(&views, arena));
    for (int64_t first = 0; first < R; first += views.chunk) {
        int64_t here = R - first < views.chunk ? R - first : views.chunk;
        views_logits(&views, first, here);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < here; ++i)
            measure_position(&views, i, packed->target[first + i], distributions,
                             &(*out)[first + i]);
    }
done:
    return status;
}

static void add_position(const ald_measured_t *position, ald_measured_t *sum)
{
    for (int k = 0; k < ALD_VIEWS; ++k)
        sum->logprob[k] += position->logprob[k];
    sum->kl += position->kl;
    sum->reward += position->reward;
    sum->tvd += position->tvd;
}

/* The micro-batches of some items. */
typedef struct {
    int64_t *start, *sequence; /* [count + 1] first item and first sequence of each; owned */
    int64_t micros;
} cut_t;

static ald_status_t cut_init(const ald_measure_t *measure, const ald_item_t *items, int64_t count,
                             cut_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t *tokens = ald_calloc(3 * ((size_t)count + 1), sizeof *tokens);
    ALD_CHECK(tokens != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld items", (long long)count);
    out->start = tokens;
    out->sequence = tokens + count + 1;
    tokens += 2 * (count + 1);
    for (int64_t i = 0; i < count; ++i)
        tokens[i] = ald_item_tokens(&items[i]);
    out->micros =
        count > 0 ? ald_micro_split(tokens, count, measure->micro_batch_tokens, out->start) : 0;
    for (int64_t m = 0; m < out->micros; ++m) {
        out->sequence[m + 1] = out->sequence[m];
        for (int64_t i = out->start[m]; i < out->start[m + 1]; ++i)
            out->sequence[m + 1] += items[i].responses;
    }
done:
    return status;
}

/* Measures one micro-batch. */
static ald_status_t measure_micro(const ald_measure_t *measure, const ald_item_t *items,
                                  int64_t count, bool distributions, ald_arena_t *arena,
                                  ald_measured_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_measured_t *positions;
    ald_packed_t packed;
    const ald_arena_mark_t mark = ald_arena_mark(arena);
    ALD_TRY(ald_fail_point("measure"));
    ALD_TRY(measure_packed(measure, items, count, distributions, arena, &packed, &positions));
    for (int64_t s = 0; s < packed.sequences; ++s)
        for (int64_t r = packed.start[s]; r < packed.start[s + 1]; ++r)
            add_position(&positions[r], &out[s]);
done:
    ald_arena_release(arena, mark);
    return status;
}

ald_status_t ald_measure(const ald_measure_t *measure, const ald_comm_t *comm,
                         const ald_item_t *items, int64_t count, bool distributions,
                         const ald_measure_keep_t *keep, ald_measured_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    cut_t cut = {0};
    ald_arena_t arena;
    int64_t m = 0;
    ald_arena_init(&arena);
    ALD_TRY(ald_comm_agree(comm, cut_init(measure, items, count, &cut)));
    while (keep != NULL && m < cut.micros && cut.sequence[m] < keep->known)
        ++m;
    for (; m < cut.micros; m += comm->size) {
        const int64_t mine = m + comm->rank;
        const int64_t end = m + comm->size < cut.micros ? m + comm->size : cut.micros;
        const int64_t first = cut.sequence[m], some = cut.sequence[end] - first;
        memset(out + first, 0, sizeof *out * (size_t)some);
        if (mine < end)
            status = measure_micro(measure, items + cut.start[mine],
                                   cut.start[mine + 1] - cut.start[mine], distributions, &arena,
                                   out + cut.sequence[mine]);
        ALD_TRY(ald_comm_agree(comm, status));
        /* Each number is zero on all ranks but one, so the order of the sum doesn't matter. */
        ald_collect_reduce(comm, out + first, some * MEASURED_DOUBLES, MPI_DOUBLE, MPI_SUM);
        if (keep != NULL)
            ALD_TRY(keep->add(keep->context, out + first, some));
    }
done:
    ald_arena_reset(&arena);
    ald_free(cut.start);
    return status;
}

ald_status_t ald_measure_positions(const ald_measure_t *measure, const ald_item_t *item,
                                   ald_measured_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_packed_t packed;
    ald_measured_t *positions;
    ald_arena_init(&arena);
    ALD_TRY(measure_packed(measure, item, 1, true, &arena, &packed, &positions));
    memcpy(out, positions, sizeof *out * (size_t)packed.positions);
done:
    ald_arena_reset(&arena);
    return status;
}
