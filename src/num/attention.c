/* Attention by blocks of queries and keys with a running maximum and sum, so that no matrix of T
 * x T scores is ever there. The products of the blocks go through the table of back ends. */
#include "ald/num/attention.h"

#include <math.h>
#include <omp.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"

/* A block of scores, QB x KB floats, is 32 KiB: it stays in a core's nearest caches between the
 * product that makes it and the one that uses it. */
#define QB 64  /* query rows of a block */
#define KB 128 /* key rows of a block */

/* What all functions of a block share. Rows of qkv are `ld` floats apart. */
typedef struct {
    int64_t NH, NKV, D, ld, T, window;
    const ald_segment_t *segment;
    const float *qkv;
    float scale;
    const ald_gemm_t *gemm;
} shape_t;

/* What a factor of the scores that is 0 stands for. */
static float scale_of(double scale, int64_t D)
{
    return scale > 0 ? (float)scale : 1.0f / sqrtf((float)D);
}

static shape_t shape_make(const ald_attention_t *a)
{
    return (shape_t){a->NH,
                     a->NKV,
                     a->D,
                     (a->NH + 2 * a->NKV) * a->D,
                     a->T,
                     a->window > 0 ? a->window : INT64_MAX / 2,
                     a->segment,
                     a->qkv,
                     scale_of(a->scale, a->D),
                     ald_gemm_chosen()};
}

static const float *query(const shape_t *s, int64_t row, int64_t head)
{
    return s->qkv + row * s->ld + head * s->D;
}

static const float *key(const shape_t *s, int64_t row, int64_t head)
{
    return query(s, row, s->NH + head / (s->NH / s->NKV));
}

static const float *value(const shape_t *s, int64_t row, int64_t head)
{
    return query(s, row, s->NH + s->NKV + head / (s->NH / s->NKV));
}

/* Query rows of a segment, [q0, q0 + m), m <= QB, and one of the heads. */
typedef struct {
    int64_t segment, q0, m, head;
} block_t;

/* Key rows of a segment that its own queries or a descendant's may see: [begin, end). The query in
 * row q sees none before row q + reach, where its window begins. */
typedef struct {
    int64_t begin, end, reach;
} keys_t;

/* Most ancestors of a segment, itself included: a prompt and a response need 2. */
enum { CHAIN = 8 };
/* Lists the key rows that the queries of a block may see, by segment: those of its segment's
 * ancestors and its own, the oldest first. Between the rows of an ancestor and those of the query
 * lie `gap` rows of other sequences. */
static int keys_of(const shape_t *s, const block_t *b, keys_t keys[CHAIN])
{
    int depth = 0;
    int64_t gap = 0;
    for (int64_t i = b->segment, child = -1; i >= 0 && depth < CHAIN;
         child = i, i = s->segment[i].parent) {
        const ald_segment_t *own = &s->segment[i];
        gap += child < 0 ? 0 : s->segment[child].begin - own->end;
        int64_t reach = 1 - s->window - gap;
        int64_t begin = b->q0 + reach > own->begin ? b->q0 + reach : own->begin;
        keys[depth++] = (keys_t){begin, child < 0 ? b->q0 + b->m : own->end, reach};
    }
    for (int i = 0; i < depth / 2; ++i) {
        keys_t swap = keys[i];
        keys[i] = keys[depth - 1 - i];
        keys[depth - 1 - i] = swap;
    }
    return depth;
}

/* The block of at most KB key rows that begins at k0. */
static keys_t block_of(const keys_t *keys, int64_t k0)
{
    return (keys_t){k0, keys->end - k0 < KB ? keys->end : k0 + KB, keys->reach};
}

/* Scores of a block's queries against a block of keys, masked where the key lies behind the query
 * (never among ancestors, whose rows all come before) or before its window. */
static void block_scores(const shape_t *s, const block_t *b, const keys_t *keys, float *scores)
{
    const int64_t q0 = b->q0, m = b->m, k0 = keys->begin, n = keys->end - k0, reach = keys->reach;
    const ald_factor_t q = {query(s, q0, b->head), s->ld, false};
    const ald_factor_t k = {key(s, k0, b->head), s->ld, true};
    s->gemm->run(&(ald_product_t){m, n, s->D, s->scale, q, k, 0.0f, scores, KB});
    for (int64_t i = 0; i < m && k0 + n > q0 + 1; ++i)
        for (int64_t j = q0 + i + 1 - k0 > 0 ? q0 + i + 1 - k0 : 0; j < n; ++j)
            scores[i * KB + j] = -INFINITY;
    for (int64_t i = 0; i < m && q0 + m - 1 + reach > k0; ++i)
        for (int64_t j = 0; j < n && k0 + j < q0 + i + reach; ++j)
            scores[i * KB + j] = -INFINITY;
}

/* Folds a block of scores into the running maximum, sum and output of each row (m rows). */
ALD_KERNEL(void, block_fold,
           (int64_t m, int64_t n, int64_t D, float *scores, float *maximum, float *sum, float *out,
            int64_t ldo),
           (m, n, D, scores, maximum, sum, out, ldo))
{
    for (int64_t i = 0; i < m; ++i) {
        float *x = scores + i * KB;
        float top = maximum[i];
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < n; ++j)
            top = x[j] > top ? x[j] : top;
        float shrink = ald_expf(maximum[i] - top), total = 0.0f;
#pragma omp simd reduction(+ : total)
        for (int64_t j = 0; j < n; ++j) {
            x[j] = ald_expf(x[j] - top);
            total += x[j];
        }
        sum[i] = sum[i] * shrink + total;
        maximum[i] = top;
        if (shrink != 1.0f)
#pragma omp simd
            for (int64_t d = 0; d < D; ++d)
                out[i * ldo + d] *= shrink;
    }
}

/* Output and log-sum-exp of a block. */
static void forward_block(const shape_t *s, const block_t *b, float *scores, float *out, float *lse)
{
    keys_t keys[CHAIN];
    const int64_t ldo = s->NH * s->D, q0 = b->q0, m = b->m, head = b->head;
    int depth = keys_of(s, b, keys);
    float top[QB], sum[QB] = {0};
    float *o = out + q0 * ldo + head * s->D;
    for (int64_t i = 0; i < m; ++i) {
        top[i] = -1e30f;
        memset(o + i * ldo, 0, sizeof(float) * (size_t)s->D);
    }
    for (int c = 0; c < depth; ++c) {
        for (int64_t k0 = keys[c].begin; k0 < keys[c].end; k0 += KB) {
            const keys_t part = block_of(&keys[c], k0);
            const int64_t n = part.end - k0;
            block_scores(s, b, &part, scores);
            block_fold(m, n, s->D, scores, top, sum, o, ldo);
            const ald_factor_t p = {scores, KB, false}, v = {value(s, k0, head), s->ld, false};
            s->gemm->run(&(ald_product_t){m, s->D, n, 1.0f, p, v, 1.0f, o, ldo});
        }
    }
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t d = 0; d < s->D; ++d)
            o[i * ldo + d] /= sum[i];
        if (lse != NULL)
            lse[head * s->T + q0 + i] = top[i] + logf(sum[i]);
    }
}

/* The block of at most QB queries of a segment that begins at q0. */
static block_t block_at(const ald_segment_t *segment, int64_t index, int64_t q0, int64_t head)
{
    const int64_t left = segment[index].end - q0;
    return (block_t){index, q0, left < QB ? left : QB, head};
}

/* Lists the blocks of queries, for head 0. */
static ald_status_t list_blocks(int64_t segments, const ald_segment_t *segment, block_t **out,
                                int64_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t total = 0, used = 0;
    for (int64_t i = 0; i < segments; ++i)
        total += (segment[i].end - segment[i].begin + QB - 1) / QB;
    *out = ald_calloc((size_t)total + 1, sizeof **out);
    ALD_CHECK_MEMORY(*out, (size_t)total * sizeof **out);
    for (int64_t i = 0; i < segments; ++i)
        for (int64_t row = segment[i].begin; row < segment[i].end; row += QB)
            (*out)[used++] = block_at(segment, i, row, 0);
    *count = total;
done:
    return status;
}

ald_status_t ald_attention(const ald_attention_t *a, float *out, float *lse)
{
    ald_status_t status = ALD_STATUS_OK;
    const shape_t s = shape_make(a);
    block_t *block = NULL;
    int64_t blocks = 0;
    size_t scratch_floats = (size_t)omp_get_max_threads() * QB * KB;
    float *scratch = ald_alloc(scratch_floats * sizeof(float));
    ALD_CHECK_MEMORY(scratch, scratch_floats * sizeof(float));
    ALD_TRY(list_blocks(a->segments, a->segment, &block, &blocks));
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t head = 0; head < s.NH; ++head) {
            const block_t one = {block[b].segment, block[b].q0, block[b].m, head};
            forward_block(&s, &one, scratch + (size_t)omp_get_thread_num() * QB * KB, out, lse);
        }
done:
    ald_free(block);
    ald_free(scratch);
    return status;
}

/* P = exp(S - lse), then dS = P (dP - delta) scale, in place of dP. */
ALD_KERNEL(void, block_softmax_backward,
           (int64_t m, int64_t n, float scale, const float *lse, const float *delta, float *p,
            float *dp),
           (m, n, scale, lse, delta, p, dp))
{
    for (int64_t i = 0; i < m; ++i)
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) {
            float x = ald_expf(p[i * KB + j] - lse[i]);
            p[i * KB + j] = x;
            dp[i * KB + j] = x * (dp[i * KB + j] - delta[i]) * scale;
        }
}

typedef struct {
    const float *out, *lse, *dout;
    float *dqkv;
} gradients_t;

/* Adds everything that a block's queries contribute to dq, dk and dv. `scratch` is 2 QB KB
 * floats. */
static void backward_block(const shape_t *s, const gradients_t *g, const block_t *b, float *scratch)
{
    keys_t keys[CHAIN];
    const int64_t ldo = s->NH * s->D, q0 = b->q0, m = b->m, head = b->head;
    int depth = keys_of(s, b, keys);
    float *p = scratch, *dp = scratch + QB * KB, delta[QB];
    const float *dout = g->dout + q0 * ldo + head * s->D;
    const ald_factor_t q = {query(s, q0, head), s->ld, false}, o = {dout, ldo, false};
    float *dq = g->dqkv + (q.at - s->qkv);
    for (int64_t i = 0; i < m; ++i) {
        const float *out = g->out + (q0 + i) * ldo + head * s->D;
        delta[i] = 0.0f;
        for (int64_t d = 0; d < s->D; ++d)
            delta[i] += out[d] * dout[i * ldo + d];
    }
    for (int c = 0; c < depth; ++c) {
        for (int64_t k0 = keys[c].begin; k0 < keys[c].end; k0 += KB) {
            const keys_t part = block_of(&keys[c], k0);
            const int64_t n = part.end - k0;
            const ald_factor_t k = {key(s, k0, head), s->ld, false};
            const ald_factor_t v = {value(s, k0, head), s->ld, true};
            float *dk = g->dqkv + (key(s, k0, head) - s->qkv);
            float *dv = g->dqkv + (value(s, k0, head) - s->qkv);
            block_scores(s, b, &part, p);
            s->gemm->run(&(ald_product_t){m, n, s->D, 1.0f, o, v, 0.0f, dp, KB});
            block_softmax_backward(m, n, s->scale, g->lse + head * s->T + q0, delta, p, dp);
            s->gemm->run(&(ald_product_t){n, s->D, m, 1.0f, {p, KB, true}, o, 1.0f, dv, s->ld});
            s->gemm->run(&(ald_product_t){m, s->D, n, 1.0f, {dp, KB, false}, k, 1.0f, dq, s->ld});
            s->gemm->run(&(ald_product_t){n, s->D, m, 1.0f, {dp, KB, true}, q, 1.0f, dk, s->ld});
        }
    }
}

/* Lists the trees, each a root with its descendants: rows of different trees share no keys. */
static ald_status_t list_trees(int64_t segments, const ald_segment_t *segment, int64_t **out,
                               int64_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    *count = 0;
    *out = ald_alloc(((size_t)segments + 1) * sizeof **out);
    ALD_CHECK_MEMORY(*out, ((size_t)segments + 1) * sizeof **out);
    for (int64_t i = 0; i < segments; ++i)
        if (segment[i].parent < 0)
            (*out)[(*count)++] = i;
    (*out)[*count] = segments;
done:
    return status;
}

/* The backward of one tree and one key/value head. No other task writes their dk and dv, so the
 * order of the sums is fixed. */
static void backward_tree(const shape_t *s, const gradients_t *g, int64_t first, int64_t last,
                          int64_t kv_head, float *scratch)
{
    int64_t group = s->NH / s->NKV;
    for (int64_t i = first; i < last; ++i)
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
            for (int64_t q0 = s->segment[i].begin; q0 < s->segment[i].end; q0 += QB) {
                const block_t b = block_at(s->segment, i, q0, head);
                backward_block(s, g, &b, scratch);
            }
}

ald_status_t ald_attention_backward(const ald_attention_t *a, const float *out, const float *lse,
                                    const float *dout, float *dqkv)
{
    ald_status_t status = ALD_STATUS_OK;
    const shape_t s = shape_make(a);
    gradients_t g = {out, lse, dout, dqkv};
    int64_t *tree = NULL, trees = 0;
    size_t scratch_floats = (size_t)omp_get_max_threads() * 2 * QB * KB;
    float *scratch = ald_alloc(scratch_floats * sizeof(float));
    ALD_CHECK_MEMORY(scratch, scratch_floats * sizeof(float));
    ALD_TRY(list_trees(a->segments, a->segment, &tree, &trees));
    memset(dqkv, 0, sizeof(float) * (size_t)(s.T * s.ld));
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int64_t i = 0; i < trees; ++i)
        for (int64_t h = 0; h < s.NKV; ++h)
            backward_tree(&s, &g, tree[i], tree[i + 1], h,
                          scratch + (size_t)omp_get_thread_num() * 2 * QB * KB);
done:
    ald_free(tree);
    ald_free(scratch);
    return status;
}

/* Eight numbers at a time: two registers of SSE2, one of AVX2. */
typedef float eight_t __attribute__((vector_size(32), aligned(4), may_alias));
enum { EIGHT = 8, POSITIONS = ALD_ATTENTION_SLACK };

/* Scores of one head, x[t] = scale q . k[:, t] in the order of D, and their maximum: so no sum goes
 * across a register. The positions of the last block may lie behind the last one. */
ALD_KERNEL(float, decode_scores,
           (const ald_attention_row_t *row, float scale, const float *q, float *x),
           (row, scale, q, x))
{
    float top = -INFINITY;
    for (int64_t t = 0; t < row->length; t += POSITIONS) {
        const int64_t count = row->length - t < POSITIONS ? row->length - t : POSITIONS;
        eight_t sum[POSITIONS / EIGHT] = {{0}};
        float part[POSITIONS];
        for (int64_t d = 0; d < row->D; ++d)
#pragma GCC unroll 4
            for (int i = 0; i < POSITIONS / EIGHT; ++i)
                sum[i] += q[d] * *(const eight_t *)(row->keys + d * row->keys_ld + t + i * EIGHT);
        memcpy(part, sum, sizeof part);
        for (int64_t i = 0; i < count; ++i) {
            x[t + i] = scale * part[i];
            top = x[t + i] > top ? x[t + i] : top;
        }
    }
    return top;
}

/* out[0:8 N] = scale sum_t p[t] v[t], even and odd t summed apart: so few sums wait for the one
 * before them. */
static inline __attribute__((always_inline)) void weigh(const int N, const ald_attention_row_t *row,
                                                        const float *p, float scale, const float *v,
                                                        float *out)
{
    const int64_t ld = row->values_ld;
    eight_t even[4] = {{0}}, odd[4] = {{0}};
    int64_t t = 0;
    for (; t + 2 <= row->length; t += 2)
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            even[i] += p[t] * *(const eight_t *)(v + t * ld + i * EIGHT);
            odd[i] += p[t + 1] * *(const eight_t *)(v + (t + 1) * ld + i * EIGHT);
        }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
        if (t < row->length)
            even[i] += p[t] * *(const eight_t *)(v + t * ld + i * EIGHT);
        *(eight_t *)(out + i * EIGHT) = scale * (even[i] + odd[i]);
    }
}

ALD_KERNEL(void, decode_values,
           (const ald_attention_row_t *row, const float *p, float scale, float *out),
           (row, p, scale, out))
{
    int64_t d = 0;
    for (; d + 4 * EIGHT <= row->D; d += 4 * EIGHT)
        weigh(4, row, p, scale, row->values + d, out + d);
    for (; d + 2 * EIGHT <= row->D; d += 2 * EIGHT)
        weigh(2, row, p, scale, row->values + d, out + d);
    for (; d < row->D; ++d) {
        float sum = 0.0f;
        for (int64_t t = 0; t < row->length; ++t)
            sum += p[t] * row->values[t * row->values_ld + d];
        out[d] = scale * sum;
    }
}

void ald_attention_decode(const ald_attention_row_t *row, float *scores, float *out)
{
    const float scale = scale_of(row->scale, row->D);
    for (int64_t head = 0; head < row->heads; ++head) {
        float top = decode_scores(row, scale, row->q + head * row->D, scores);
        double sum = ald_exp_shifted(row->length, scores, top, scores);
        decode_values(row, scores, (float)(1.0 / sum), out + head * row->D);
    }
}
