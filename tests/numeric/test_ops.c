/* Each operator against a slow twin in double precision; each backward against central differences
 * of that twin. */
#include <omp.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/num/attention.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "ald/num/threads.h"
#include "numeric.h"

/* --- norm --- */

typedef struct {
    int64_t rows, H, ld;
    double eps;
    const double *x, *w, *dy;
    double offset;
} norm_t;

static void norm_twin(const norm_t *n, const double *x, const double *w, double *y)
{
    for (int64_t r = 0; r < n->rows; ++r) {
        double square = 0.0;
        for (int64_t h = 0; h < n->H; ++h)
            square += x[r * n->ld + h] * x[r * n->ld + h];
        for (int64_t h = 0; h < n->H; ++h)
            y[r * n->ld + h] =
                x[r * n->ld + h] / sqrt(square / (double)n->H + n->eps) * (w[h] + n->offset);
    }
}

static double norm_loss(const norm_t *n, const double *x, const double *w)
{
    double y[1024] = {0};
    norm_twin(n, x, w, y);
    return dot_product(n->rows * n->ld, y, n->dy);
}

static double norm_of_x(const void *context, const double *x)
{
    return norm_loss(context, x, ((const norm_t *)context)->w);
}

static double norm_of_w(const void *context, const double *w)
{
    return norm_loss(context, ((const norm_t *)context)->x, w);
}

static void check_norm(int64_t rows, int64_t H, int64_t ld, float offset)
{
    const int64_t n = rows * ld;
    float *x = random_floats(1, n, 2.0), *w = random_floats(2, H, 1.0),
          *y = random_floats(3, n, 1.0);
    float *dy = random_floats(4, n, 1.0), *dx = random_floats(5, n, 1.0),
          *dw = random_floats(6, H, 1);
    for (int64_t i = 0; i < n; ++i)
        if (i % ld >= H)
            dy[i] = 0.0f;
    double *x2 = to_doubles(x, n), *w2 = to_doubles(w, H), *dy2 = to_doubles(dy, n);
    double *y2 = to_doubles(y, n), *old_dx = to_doubles(dx, n), *old_dw = to_doubles(dw, H);
    const norm_t twin = {rows, H, ld, 1e-3, x2, w2, dy2, (double)offset};
    norm_twin(&twin, x2, w2, y2);
    const ald_norm_t norm = {rows, H, ld, 1e-3, w, offset};
    ald_rmsnorm(norm, x, y);
    expect_close("y, rest kept", n, y, y2, 2e-6);

    double *dx2 = slopes(norm_of_x, &twin, x, n), *dw2 = slopes(norm_of_w, &twin, w, H);
    ald_rmsnorm_backward(norm, x, dy, 1, dx, dw);
    for (int64_t i = 0; i < n; ++i)
        old_dx[i] += i % ld < H ? dx2[i] : 0.0;
    for (int64_t h = 0; h < H; ++h)
        old_dw[h] += dw2[h];
    expect_close("dx added", n, dx, old_dx, 3e-6);
    expect_close("dw added", H, dw, old_dw, 3e-6);
    ald_rmsnorm_backward(norm, x, dy, 0, dy, dw);
    expect_close("dx in place of dy", n, dy, dx2, 3e-6);
    ald_rmsnorm(norm, x, x);
    for (int64_t i = 0; i < n; ++i)
        assert_true(i % ld >= H || x[i] == y[i]);
    void *all[] = {x, w, y, dy, dx, dw, x2, w2, dy2, y2, old_dx, old_dw, dx2, dw2};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
        ald_free(all[i]);
}

static void norm_and_backward(void **state)
{
    (void)state;
    check_norm(1, 4, 4, 0.0f);
    check_norm(5, 7, 9, 0.0f);
    check_norm(3, 64, 64, 1.0f);
    check_norm(7, 100, 130, 0.0f);
    check_norm(5, 7, 9, 1.0f);
}

static void norm_weights_over_many_rows(void **state)
{
    /* More rows than a block of the weights' sums (256). */
    enum { ROWS = 600, H = 70 };
    float *x = random_floats(1, ROWS * H, 1.0), *dy = random_floats(2, ROWS * H, 1.0);
    float *w = random_floats(3, H, 1.0), *dx = random_floats(4, ROWS * H, 1.0), dw[H] = {0};
    double expected[H] = {0};
    (void)state;
    ald_rmsnorm_backward((ald_norm_t){ROWS, H, H, 1e-6, w, 0}, x, dy, 0, dx, dw);
    for (int64_t r = 0; r < ROWS; ++r) {
        double square = 0.0;
        for (int64_t h = 0; h < H; ++h)
            square += (double)x[r * H + h] * x[r * H + h];
        for (int64_t h = 0; h < H; ++h)
            expected[h] += (double)dy[r * H + h] * x[r * H + h] / sqrt(square / H + 1e-6);
    }
    expect_close("dw", H, dw, expected, 1e-5);
    ald_free(x), ald_free(dy), ald_free(w), ald_free(dx);
}

/* --- rotation --- */

/* A negative factor turns back. */
static void rope_twin(int64_t T, int64_t heads, int64_t D, int64_t ld, const int32_t *positions,
                      double theta, double factor, double *x)
{
    for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t i = 0; i < D / 2; ++i) {
                double angle = positions[t] / pow(theta, 2.0 * (double)i / (double)D);
                double *a = x + t * ld + h * D + i, *b = a + D / 2, old = *a;
                double cosine = fabs(factor) * cos(angle), sine = factor * sin(angle);
                *a = old * cosine - *b * sine;
                *b = *b * cosine + old * sine;
            }
}

static void check_rope(int64_t heads, int64_t D, int64_t ld, double theta)
{
    const int32_t positions[] = {0, 1, 2, 7, 7, 4095, 131071};
    const int64_t T = 7, n = T * ld;
    float *x = random_floats(1, n, 1.0);
    double *start = to_doubles(x, n), *twin = to_doubles(x, n);
    double frequency[64], factor = 1.25;
    for (int64_t i = 0; i < D / 2; ++i)
        frequency[i] = 1 / pow(theta, 2.0 * (double)i / (double)D);
    rope_twin(T, heads, D, ld, positions, theta, 1.0, twin);
    ald_rope(T, heads, D, ld, positions, frequency, 1.0, 1, x);
    expect_close("rotated, rest kept", n, x, twin, 3e-7);
    /* The backward is the transpose, and a rotation's transpose is its inverse. */
    ald_rope(T, heads, D, ld, positions, frequency, 1.0, -1, x);
    expect_close("rotated back", n, x, start, 5e-7);
    rope_twin(T, heads, D, ld, positions, theta, factor, start);
    ald_rope(T, heads, D, ld, positions, frequency, factor, 1, x);
    expect_close("rotated and multiplied", n, x, start, 6e-7);
    ald_rope(T, heads, D, ld, positions, frequency, factor, -1, x);
    rope_twin(T, heads, D, ld, positions, theta, -factor, start);
    expect_close("transposed", n, x, start, 9e-7);
    ald_free(x), ald_free(start), ald_free(twin);
}

static void rotation(void **state)
{
    (void)state;
    check_rope(1, 2, 2, 10000.0);
    check_rope(3, 10, 41, 10000.0);
    check_rope(4, 64, 256, 1000000.0);
}

/* --- embedding, bias, sum --- */

static void embedding_and_backward(void **state)
{
    enum { T = 6, H = 70, V = 5 };
    const int32_t ids[T] = {4, 0, 4, 2, 4, 0};
    float *table = random_floats(1, V * H, 1.0), *x = random_floats(2, T * H, 1.0);
    float *dx = random_floats(3, T * H, 1.0), *dtable = random_floats(4, V * H, 1.0);
    double *expected = to_doubles(dtable, V * H);
    (void)state;
    const ald_matrix_t rows = ald_matrix_of(table, V);
    ald_matrix_gather(T, H, ids, &rows, x);
    for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < H; ++h) {
            assert_true(x[t * H + h] == table[ids[t] * H + h]);
            expected[ids[t] * H + h] += dx[t * H + h];
        }
    ald_embedding_backward(T, H, ids, dx, dtable);
    expect_close("dtable", V * H, dtable, expected, 3e-7);
    ald_free(table), ald_free(x), ald_free(dx), ald_free(dtable), ald_free(expected);
}

static void bias_and_sum(void **state)
{
    enum { T = 9, N = 130 };
    float *x = random_floats(1, T * N, 1.0), *bias = random_floats(2, N, 1.0);
    float *dbias = random_floats(3, N, 1.0), *y = random_floats(4, T * N, 1.0);
    double *sum = to_doubles(x, T * N), *dsum = to_doubles(dbias, N);
    (void)state;
    for (int64_t i = 0; i < T * N; ++i) {
        dsum[i % N] += x[i];
        sum[i] += (double)bias[i % N] + y[i];
    }
    ald_bias_backward(T, N, x, dbias);
    expect_close("dbias", N, dbias, dsum, 5e-7);
    ald_bias(T, N, bias, x);
    ald_add(T * N, y, x);
    expect_close("x + bias + y", T * N, x, sum, 2e-7);
    ald_scale(T * N, 0.5f, x);
    for (int64_t i = 0; i < T * N; ++i)
        sum[i] *= 0.5;
    expect_close("half of it", T * N, x, sum, 2e-7);
    ald_free(x), ald_free(bias), ald_free(dbias), ald_free(y), ald_free(sum), ald_free(dsum);
}

/* --- gated products --- */

typedef struct {
    int64_t T, I;
    const double *dy;
    bool gelu;
} mlp_t;

static double gated(bool gelu, double g, double u)
{
    return gelu ? u * g / 2 * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)))
                : u * g / (1.0 + exp(-g));
}

static double mlp_loss(const void *context, const double *gu)
{
    const mlp_t *m = context;
    double sum = 0.0;
    for (int64_t t = 0; t < m->T; ++t)
        for (int64_t i = 0; i < m->I; ++i) {
            double g = gu[2 * t * m->I + i], u = gu[(2 * t + 1) * m->I + i];
            sum += m->dy[t * m->I + i] * gated(m->gelu, g, u);
        }
    return sum;
}

static void check_gated(bool gelu)
{
    enum { T = 3, I = 37 };
    float *gu = random_floats(1, 2 * T * I, 3.0), *dy = random_floats(2, T * I, 1.0);
    float *y = random_floats(3, T * I, 1.0);
    double *dy2 = to_doubles(dy, T * I), expected[T * I];
    const mlp_t twin = {T, I, dy2, gelu};
    gu[0] = 100.0f; /* far out on both sides */
    gu[1] = -100.0f;
    double *dgu = slopes(mlp_loss, &twin, gu, 2 * T * I);
    for (int64_t i = 0; i < T * I; ++i) {
        double g = gu[i / I * 2 * I + i % I], u = gu[i / I * 2 * I + I + i % I];
        expected[i] = gated(gelu, g, u);
    }
    (gelu ? ald_geglu : ald_swiglu)(T, I, gu, y);
    expect_close("y", T * I, y, expected, 5e-7);
    (gelu ? ald_geglu_backward : ald_swiglu_backward)(T, I, gu, dy, gu);
    expect_close("dgu in place", 2 * T * I, gu, dgu, 1e-6);
    ald_free(gu), ald_free(dy), ald_free(y), ald_free(dy2), ald_free(dgu);
}

static void gated_products_and_backward(void **state)
{
    (void)state;
    check_gated(false);
    check_gated(true);
}

/* --- sums of exponentials --- */

/* Sanitizers keep the sums scalar: 4096 floats in one lane instead of many. With them large
 * products are of fewer rows too, which run over the same memory of the matrix. */
#ifdef __SANITIZE_ADDRESS__
#define SUM_BOUND 1e-6
enum { MANY_ROWS = 9 };
#else
#define SUM_BOUND 2e-7
enum { MANY_ROWS = 65 };
#endif

static void logsumexp_and_argmax(void **state)
{
    const int64_t sizes[] = {1, 2, 63, 4096, 4097, 20000};
    (void)state;
    for (int s = 0; s < 6; ++s)
        for (int shift = -1; shift <= 1; ++shift) {
            float *x = random_floats(1, sizes[s], 4.0);
            double top = -INFINITY, sum = 0.0;
            int64_t best = 0;
            for (int64_t i = 0; i < sizes[s]; ++i) {
                x[i] += 1000.0f * (float)shift;
                if (x[i] > top) {
                    top = x[i];
                    best = i;
                }
            }
            for (int64_t i = 0; i < sizes[s]; ++i)
                sum += exp(x[i] - top);
            expect_near("logsumexp", ald_logsumexp(sizes[s], x), top + log(sum),
                        SUM_BOUND * (fabs(top) + 10.0));
            assert_int_equal(ald_argmax(sizes[s], x), best);
            ald_free(x);
        }
    const float ties[] = {1.0f, 3.0f, 2.0f, 3.0f};
    assert_int_equal(ald_argmax(4, ties), 1);
    const float holes[] = {-INFINITY, 0.5f, -INFINITY};
    expect_near("logsumexp with holes", ald_logsumexp(3, holes), 0.5, 1e-7);
}

static void exponentials(void **state)
{
    enum { N = 13001 }; /* -87 to 43 */
    float *x = random_floats(1, N, 0.0), *y = random_floats(2, N, 0.0);
    double sum = 0.0;
    (void)state;
    for (int64_t i = 0; i < N; ++i)
        x[i] = -87.0f + 0.01f * (float)i;
    double total = ald_exp_shifted(N, x, 0.0f, y);
    for (int64_t i = 0; i < N; ++i) {
        double expected = exp(x[i]);
        if (fabs(y[i] - expected) > 3e-7 * expected)
            fail_msg("exp(%.9g) = %.9g, expected %.9g", (double)x[i], (double)y[i], expected);
        sum += y[i];
    }
    expect_near("sum", total, sum, 5.0 * SUM_BOUND * sum);
    x[0] = -88.0f;
    x[1] = -INFINITY;
    ald_exp_shifted(2, x, 0.0f, x);
    assert_true(x[0] == 0.0f && x[1] == 0.0f);
    ald_free(x), ald_free(y);
}

/* --- attention --- */

typedef struct {
    int64_t T, NH, NKV, D, segments;
    const ald_segment_t *segment;
    const double *dout;
    int64_t window;   /* 0: none */
    double scale;     /* 0: 1 / sqrt(D) */
    const bool *seen; /* [T, T], what `sees` says, for slopes, which ask again and again; or NULL */
} attention_t;

static int64_t segment_of(const attention_t *a, int64_t t)
{
    int64_t i = 0;
    while (t >= a->segment[i].end)
        ++i;
    return i;
}

/* In the sequence, not the batch. */
static int64_t position_of(const attention_t *a, int64_t t)
{
    const ald_segment_t *own = &a->segment[segment_of(a, t)];
    int64_t position = t - own->begin;
    for (; own->parent >= 0; position += own->end - own->begin)
        own = &a->segment[own->parent];
    return position;
}

static bool sees(const attention_t *a, int64_t query, int64_t key)
{
    if (a->window > 0 && position_of(a, key) <= position_of(a, query) - a->window)
        return false;
    int64_t own = segment_of(a, query), of = segment_of(a, key);
    if (own == of)
        return key <= query;
    for (int64_t i = a->segment[own].parent; i >= 0; i = a->segment[i].parent)
        if (i == of)
            return true;
    return false;
}

static bool *all_seen(const attention_t *a)
{
    bool *seen = ald_alloc((size_t)(a->T * a->T));
    for (int64_t t = 0; t < a->T; ++t)
        for (int64_t s = 0; s < a->T; ++s)
            seen[t * a->T + s] = sees(a, t, s);
    return seen;
}

/* One row and head of the output, and its log-sum-exp. */
static double attention_row(const attention_t *a, const double *qkv, int64_t t, int64_t head,
                            double *out)
{
    const int64_t ld = (a->NH + 2 * a->NKV) * a->D, kv = head / (a->NH / a->NKV);
    double *p = ald_alloc(sizeof(double) * (size_t)a->T), top = -INFINITY, sum = 0.0;
    for (int64_t s = 0; s < a->T; ++s) {
        p[s] = -INFINITY;
        if (a->seen != NULL ? a->seen[t * a->T + s] : sees(a, t, s))
            p[s] =
                dot_product(a->D, qkv + t * ld + head * a->D, qkv + s * ld + (a->NH + kv) * a->D) *
                (a->scale > 0 ? a->scale : 1 / sqrt((double)a->D));
        top = p[s] > top ? p[s] : top;
    }
    for (int64_t s = 0; s < a->T; ++s)
        if (p[s] != -INFINITY)
            sum += p[s] = exp(p[s] - top);
    for (int64_t d = 0; d < a->D; ++d)
        out[d] = 0.0;
    for (int64_t s = 0; s < a->T; ++s)
        for (int64_t d = 0; d < a->D && p[s] != -INFINITY; ++d)
            out[d] += p[s] / sum * qkv[s * ld + (a->NH + a->NKV + kv) * a->D + d];
    ald_free(p);
    return top + log(sum);
}

static double attention_loss(const void *context, const double *qkv)
{
    const attention_t *a = context;
    double sum = 0.0, out[64];
    for (int64_t t = 0; t < a->T; ++t)
        for (int64_t h = 0; h < a->NH; ++h) {
            attention_row(a, qkv, t, h, out);
            sum += dot_product(a->D, out, a->dout + (t * a->NH + h) * a->D);
        }
    return sum;
}

/* Forward of every row, backward at `samples` places (all where there are fewer). */
static void check_scaled(int64_t NH, int64_t NKV, int64_t D, int64_t segments,
                         const ald_segment_t *segment, int64_t window, double scale,
                         int64_t samples)
{
    const int64_t T = segment[segments - 1].end, n = T * (NH + 2 * NKV) * D, m = T * NH * D;
    float *qkv = random_floats(1, n, 1.5), *dout = random_floats(2, m, 1.0);
    float *out = random_floats(3, m, 1.0), *lse = random_floats(4, NH * T, 1.0);
    float *dqkv = random_floats(5, n, 1.0);
    double *qkv2 = to_doubles(qkv, n), *dout2 = to_doubles(dout, m);
    double *out2 = to_doubles(out, m), *lse2 = to_doubles(lse, NH * T);
    attention_t twin = {T, NH, NKV, D, segments, segment, dout2, window, scale, NULL};
    bool *seen = all_seen(&twin);
    twin.seen = seen;
    for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < NH; ++h)
            lse2[h * T + t] = attention_row(&twin, qkv2, t, h, out2 + (t * NH + h) * D);
    const ald_attention_t attention = {T, NH, NKV, D, window, segments, segment, qkv, scale};
    expect_ok(ald_attention(&attention, out, lse));
    expect_close("out", m, out, out2, 2e-6);
    expect_close("lse", NH * T, lse, lse2, 1e-6);
    expect_ok(ald_attention_backward(&attention, out, lse, dout, dqkv));
    for (int64_t i = 0; i < n && i < samples; ++i) {
        int64_t at = n <= samples ? i : (int64_t)(ald_rng_uniform(5, 6, (uint64_t)i) * (double)n);
        expect_near("dqkv", dqkv[at], slope_at(attention_loss, &twin, qkv2, at), 2e-5);
    }
    void *all[] = {qkv, dout, out, lse, dqkv, qkv2, dout2, out2, lse2, seen};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
        ald_free(all[i]);
}

static void check_window(int64_t NH, int64_t NKV, int64_t D, int64_t segments,
                         const ald_segment_t *segment, int64_t window, int64_t samples)
{
    check_scaled(NH, NKV, D, segments, segment, window, 0.0, samples);
}

static void check_attention(int64_t NH, int64_t NKV, int64_t D, int64_t segments,
                            const ald_segment_t *segment, int64_t samples)
{
    check_window(NH, NKV, D, segments, segment, 0, samples);
}

static void attention_and_backward(void **state)
{
    (void)state;
    /* One token; two sequences; a prompt with two responses between others, one response empty;
     * a chain of ancestors. */
    check_attention(1, 1, 2, 1, (ald_segment_t[]){{0, 1, -1}}, 1000);
    check_attention(4, 2, 6, 2, (ald_segment_t[]){{0, 5, -1}, {5, 12, -1}}, 1000);
    check_attention(4, 2, 6, 6,
                    (ald_segment_t[]){
                        {0, 2, -1}, {2, 7, -1}, {7, 10, 1}, {10, 10, 1}, {10, 14, 1}, {14, 15, -1}},
                    1000);
    check_attention(6, 1, 4, 4, (ald_segment_t[]){{0, 3, -1}, {3, 5, 0}, {5, 9, 1}, {9, 11, 0}},
                    1000);
}

static void attention_over_many_blocks(void **state)
{
    (void)state;
    /* Blocks are 64 queries by 128 keys: borders within, at and beyond them. */
    check_attention(2, 1, 8, 4,
                    (ald_segment_t[]){{0, 128, -1}, {128, 257, 0}, {257, 321, 0}, {321, 330, -1}},
                    24);
}

static void attention_in_a_window(void **state)
{
    const ald_segment_t tree[] = {{0, 2, -1},  {2, 7, -1},  {7, 10, 1},
                                  {10, 10, 1}, {10, 14, 1}, {14, 15, -1}};
    const ald_segment_t chain[] = {{0, 3, -1}, {3, 5, 0}, {5, 9, 1}, {9, 11, 0}};
    const ald_segment_t blocks[] = {{0, 128, -1}, {128, 257, 0}, {257, 321, 0}, {321, 530, -1}};
    (void)state;
    check_scaled(4, 2, 6, 6, tree, 3, 0.3, 1000);
    for (int64_t window = 1; window <= 9; ++window) {
        check_window(4, 2, 6, 6, tree, window, 1000);
        check_window(4, 1, 4, 4, chain, window, 1000);
    }
    /* Narrower and wider than blocks, and one that ends within the parent of the second child. */
    for (int64_t window = 3; window <= 300; window += 99)
        check_window(2, 1, 8, 4, blocks, window, 24);
}

static void a_wide_window_changes_no_bit(void **state)
{
    enum { T = 330, NH = 2, D = 8, N = T * 4 * D };
    const ald_segment_t segment[] = {{0, 128, -1}, {128, 257, 0}, {257, 321, 0}, {321, T, -1}};
    const int64_t window[] = {0, 257, 1000}; /* the longest sequence has 257 positions */
    float *qkv = random_floats(1, N, 1.5), *dout = random_floats(2, T * NH * D, 1.0);
    float *out[3], *lse[3], *dqkv[3];
    (void)state;
    for (int i = 0; i < 3; ++i) {
        out[i] = random_floats(3, T * NH * D, 1.0);
        lse[i] = random_floats(4, T * NH, 1.0);
        dqkv[i] = random_floats(5, N, 1.0);
        const ald_attention_t attention = {T, NH, 1, D, window[i], 4, segment, qkv, 0};
        expect_ok(ald_attention(&attention, out[i], lse[i]));
        expect_ok(ald_attention_backward(&attention, out[i], lse[i], dout, dqkv[i]));
        assert_memory_equal(out[i], out[0], sizeof(float) * T * NH * D);
        assert_memory_equal(lse[i], lse[0], sizeof(float) * T * NH);
        assert_memory_equal(dqkv[i], dqkv[0], sizeof(float) * N);
    }
    for (int i = 0; i < 3; ++i)
        ald_free(out[i]), ald_free(lse[i]), ald_free(dqkv[i]);
    ald_free(qkv), ald_free(dout);
}

static double seconds_of_attention(int64_t T, int64_t window)
{
    enum { NH = 2, D = 16 };
    const ald_segment_t segment = {0, T, -1};
    float *qkv = random_floats(1, T * 3 * NH * D, 1.0), *out = random_floats(2, T * NH * D, 1.0);
    double best = 1e30;
    for (int i = 0; i < 5; ++i) {
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        const ald_attention_t attention = {T, NH, NH, D, window, 1, &segment, qkv, 0};
        expect_ok(ald_attention(&attention, out, NULL));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        double seconds =
            (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        best = seconds < best ? seconds : best;
    }
    ald_free(qkv), ald_free(out);
    return best;
}

static void a_windows_cost_is_linear(void **state)
{
    (void)state;
    double full = seconds_of_attention(8192, 0), narrow = seconds_of_attention(8192, 64);
    /* At most 192 of 4096 keys of an average query's: a factor of 20, were there nothing else. */
    if (narrow * 6 > full)
        fail_msg("a window of 64 took %.4f s, none %.4f s", narrow, full);
}

static void attention_with_large_scores(void **state)
{
    /* Scores of some thousands: the running maximum keeps the exponentials finite. */
    const ald_segment_t segment = {0, 200, -1};
    float *qkv = random_floats(1, 200 * 3 * 4, 60.0), out[200 * 4];
    double *qkv2 = to_doubles(qkv, 200 * 3 * 4), expected[200 * 4];
    const attention_t twin = {200, 1, 1, 4, 1, &segment, NULL, 0, 0, NULL};
    (void)state;
    for (int64_t t = 0; t < 200; ++t)
        attention_row(&twin, qkv2, t, 0, expected + 4 * t);
    const ald_attention_t attention = {200, 1, 1, 4, 0, 1, &segment, qkv, 0};
    expect_ok(ald_attention(&attention, out, NULL));
    expect_close("out", 200 * 4, out, expected, 1e-3); /* 6e-8 of a score is 1e-3 in the exponent */
    ald_free(qkv), ald_free(qkv2);
}

static void attention_takes_linear_memory(void **state)
{
    enum { T = 4096, D = 4 };
    const ald_segment_t segment = {0, T, -1};
    float *qkv = random_floats(1, T * 3 * D, 1.0), *out = random_floats(2, T * D, 1.0);
    float *lse = random_floats(3, T, 1.0), *dqkv = random_floats(4, T * 3 * D, 1.0);
    size_t before = ald_memory_held();
    (void)state;
    const ald_attention_t attention = {T, 1, 1, D, 0, 1, &segment, qkv, 0};
    expect_ok(ald_attention(&attention, out, lse));
    expect_ok(ald_attention_backward(&attention, out, lse, out, dqkv));
    size_t limit = sizeof(float) * (size_t)T * T / 16; /* 4 MiB */
    if (ald_memory_peak() > before + limit)
        fail_msg("%zu bytes of scratch for %d tokens", ald_memory_peak() - before, T);
    ald_free(qkv), ald_free(out), ald_free(lse), ald_free(dqkv);
}

/* Heads whose size is whole vectors of any kind, and one that isn't. */
static void check_decoding(int64_t D, double scale)
{
    enum { T = 150, NH = 6, NKV = 2, GROUP = NH / NKV };
    const int64_t LD = (NH + 2 * NKV) * D, capacity = T + 3;
    const ald_segment_t segment = {0, T, -1};
    float *qkv = random_floats(1, T * LD, 1.5), *v = random_floats(3, T * NKV * D, 1.0);
    float *k = random_floats(2, capacity * NKV * D + ALD_ATTENTION_SLACK, 1.0);
    float *scores = random_floats(4, T, 1.0), *out = random_floats(5, NH * D, 1.0);
    double *qkv2 = to_doubles(qkv, T * LD), *expected = to_doubles(out, NH * D);
    const attention_t twin = {T, NH, NKV, D, 1, &segment, NULL, 0, scale, NULL};
    for (int64_t t = 0; t < T; ++t)
        for (int64_t i = 0; i < NKV * D; ++i) {
            k[i * capacity + t] = qkv[t * LD + NH * D + i];
            v[t * NKV * D + i] = qkv[t * LD + (NH + NKV) * D + i];
        }
    for (int64_t length = 1; length <= T; length += length < 30 ? 29 : 40) {
        for (int64_t h = 0; h < NH; ++h)
            attention_row(&twin, qkv2, length - 1, h, expected + h * D);
        for (int64_t kv = 0; kv < NKV; ++kv) {
            const ald_attention_row_t row = {GROUP,
                                             D,
                                             length,
                                             qkv + (length - 1) * LD + kv * GROUP * D,
                                             k + kv * D * capacity,
                                             v + kv * D,
                                             capacity,
                                             NKV * D,
                                             scale};
            ald_attention_decode(&row, scores, out + kv * GROUP * D);
        }
        expect_close("decoded", NH * D, out, expected, 2e-6);
    }
    ald_free(qkv), ald_free(k), ald_free(v), ald_free(scores), ald_free(out);
    ald_free(qkv2), ald_free(expected);
}

static void decoding_attention(void **state)
{
    (void)state;
    check_decoding(10, 0.0);
    check_decoding(16, 0.4);
    check_decoding(40, 0.0);
    check_decoding(64, 0.0);
}

static void threads_change_no_bit(void **state)
{
    enum { T = 300, NH = 4, NKV = 2, D = 8, N = T * (NH + 2 * NKV) * D };
    const ald_segment_t segments[] = {{0, 100, -1}, {100, 180, 0}, {180, 210, 0}, {210, 300, -1}};
    float *qkv = random_floats(1, N, 1.0), *out[2], *lse[2], *dqkv[2], *dw[2];
    int given;
    (void)state;
    for (int i = 0; i < 2; ++i) {
        expect_ok(ald_threads_set(i + 1, &given));
        out[i] = random_floats(2, T * NH * D, 1.0);
        lse[i] = random_floats(3, T * NH, 1.0);
        dqkv[i] = random_floats(4, N, 1.0);
        dw[i] = random_floats(5, N / T, 1.0);
        const ald_attention_t attention = {T, NH, NKV, D, 50, 4, segments, qkv, 0};
        expect_ok(ald_attention(&attention, out[i], lse[i]));
        expect_ok(ald_attention_backward(&attention, out[i], lse[i], out[i], dqkv[i]));
        ald_bias_backward(T, N / T, dqkv[i], dw[i]);
        ald_rmsnorm_backward((ald_norm_t){T, N / T, N / T, 1e-6, qkv, 0}, qkv, dqkv[i], 0, dqkv[i],
                             dw[i]);
    }
    assert_memory_equal(out[0], out[1], sizeof(float) * T * NH * D);
    assert_memory_equal(lse[0], lse[1], sizeof(float) * T * NH);
    assert_memory_equal(dqkv[0], dqkv[1], sizeof(float) * N);
    assert_memory_equal(dw[0], dw[1], sizeof(float) * N / T);
    for (int i = 0; i < 2; ++i)
        ald_free(out[i]), ald_free(lse[i]), ald_free(dqkv[i]), ald_free(dw[i]);
    ald_free(qkv);
}

/* --- matrix products --- */

static void product_twin(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha,
                         const float *a, int64_t lda, const float *b, int64_t ldb, double beta,
                         const float *c, int64_t ldc, double *out)
{
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
            double sum = 0.0;
            for (int64_t l = 0; l < k; ++l)
                sum +=
                    (double)a[ta ? l * lda + i : i * lda + l] * b[tb ? j * ldb + l : l * ldb + j];
            out[i * ldc + j] = alpha * sum + (beta == 0.0 ? 0.0 : beta * c[i * ldc + j]);
        }
}

static void check_product(const char *name, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                          float alpha, float beta)
{
    const int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    float *a = random_floats(1, (ta ? k : m) * lda, 1.0), *c = random_floats(3, m * ldc, 1.0);
    float *b = random_floats(2, (tb ? n : k) * ldb, 1.0);
    double *expected = to_doubles(c, m * ldc);
    product_twin(ta, tb, m, n, k, (double)alpha, a, lda, b, ldb, (double)beta, c, ldc, expected);
    for (int64_t i = 0; i < m * ldc && beta == 0.0f; ++i)
        c[i] = i % ldc < n ? NAN : c[i]; /* beta 0 doesn't read C */
    ald_gemm_find(name)->run(
        &(ald_product_t){m, n, k, alpha, {a, lda, ta}, {b, ldb, tb}, beta, c, ldc});
    expect_close(name, m * ldc, c, expected, 3e-6);
    ald_free(a), ald_free(b), ald_free(c), ald_free(expected);
}

static void products_of_every_back_end(void **state)
{
    const int64_t sizes[][3] = {{1, 1, 1},    {1, 5, 16},   {2, 4, 17}, {3, 67, 31},
                                {7, 130, 40}, {65, 9, 100}, {5, 3, 0}};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
        const int64_t *z = sizes[s];
        for (int way = 0; way < 4 && z[2] > 0; ++way)
            for (int beta = 0; beta < 3; ++beta) {
                check_product("openblas", way & 1, way & 2, z[0], z[1], z[2], 0.5f,
                              0.75f * (float)beta);
                check_product("twin", way & 1, way & 2, z[0], z[1], z[2], 0.5f,
                              0.75f * (float)beta);
                check_product("perturbed", way & 1, way & 2, z[0], z[1], z[2], 0.5f,
                              0.75f * (float)beta);
            }
        check_product("invariant", false, true, z[0], z[1], z[2], 1.0f, 0.0f);
        check_product("invariant", false, true, z[0], z[1], z[2], 1.0f, 1.0f);
    }
    assert_null(ald_gemm_find("nothing"));
}

static void invariant_rows_keep_their_bits(void **state)
{
    enum { M = 9, N = 203, K = 83 };
    float *a = random_floats(1, M * K, 1.0), *b = random_floats(2, N * K, 1.0);
    float *all = random_floats(3, M * N, 1.0), *some = random_floats(4, M * N, 1.0);
    const ald_gemm_t *gemm = ald_gemm_find("invariant");
    int given;
    (void)state;
    expect_ok(ald_threads_set(1, &given));
    ald_linear(gemm, (ald_linear_t){M, N, K}, a, b, 0.0f, all);
    expect_ok(ald_threads_set(2, &given));
    for (int64_t first = 0; first < M; ++first)
        for (int64_t count = 1; first + count <= M; ++count) {
            ald_linear(gemm, (ald_linear_t){count, N, K}, a + first * K, b, 0.0f, some);
            assert_memory_equal(some, all + first * N, sizeof(float) * (size_t)(count * N));
        }
    ald_free(a), ald_free(b), ald_free(all), ald_free(some);
}

/* On every CPU a row shows how many rows its product has, and which of them it is. */
static void perturbed_rows_show_their_product(void **state)
{
    enum { M = 6, N = 16, K = 40 };
    float *a = random_floats(1, M * K, 1.0), *b = random_floats(2, N * K, 1.0);
    float *all = random_floats(3, M * N, 1.0), *some = random_floats(4, M * N, 1.0);
    const ald_gemm_t *gemm = ald_gemm_find("perturbed");
    (void)state;
    for (int64_t i = 1; i < M; ++i)
        memcpy(a + i * K, a, sizeof(float) * K);
    ald_linear(gemm, (ald_linear_t){M, N, K}, a, b, 0.0f, all);
    for (int64_t count = 1; count <= M; ++count) {
        ald_linear(gemm, (ald_linear_t){count, N, K}, a, b, 0.0f, some);
        assert_true((memcmp(some, all, sizeof(float) * N) == 0) == (count == M));
        for (int64_t i = 1; i < count; ++i)
            assert_memory_not_equal(some, some + i * N, sizeof(float) * N);
    }
    ald_free(a), ald_free(b), ald_free(all), ald_free(some);
}

static void linear_layer_and_backward(void **state)
{
    enum { M = 5, N = 7, K = 6 };
    const ald_gemm_t *gemm = ald_gemm_find("openblas");
    float *x = random_floats(1, M * K, 1.0), *w = random_floats(2, N * K, 1.0);
    float *dy = random_floats(3, M * N, 1.0), *dw = random_floats(4, N * K, 1.0), y[M * N],
          dx[M * K];
    double *dw2 = to_doubles(dw, N * K), dx2[M * K] = {0}, y2[M * N] = {0};
    (void)state;
    for (int64_t i = 0; i < M * N * K; ++i) {
        int64_t m = i / (N * K), n = i / K % N, k = i % K;
        y2[m * N + n] += (double)x[m * K + k] * w[n * K + k];
        dx2[m * K + k] += (double)dy[m * N + n] * w[n * K + k];
        dw2[n * K + k] += (double)dy[m * N + n] * x[m * K + k];
    }
    ald_linear(gemm, (ald_linear_t){M, N, K}, x, w, 0.0f, y);
    ald_linear_backward_input(gemm, (ald_linear_t){M, N, K}, dy, w, 0.0f, dx);
    ald_linear_backward_weight(gemm, (ald_linear_t){M, N, K}, dy, x, dw);
    expect_close("y", M * N, y, y2, 1e-6);
    expect_close("dx", M * K, dx, dx2, 1e-6);
    expect_close("dw added", N * K, dw, dw2, 1e-6);
    ald_free(x), ald_free(w), ald_free(dy), ald_free(dw), ald_free(dw2);
}

/* --- matrices in their stored types --- */

/* A matrix of three blocks of one type at odd addresses, beside the same values in float32. */
static void check_matrix(ald_dtype_t dtype, const char *name, int64_t M, int64_t N, int64_t K)
{
    const int64_t rows[3] = {N / 2, N / 3, N - N / 2 - N / 3};
    float *x = random_floats(1, M * K, 1.0), *w = random_floats(2, N * K, 1.0);
    float *y = random_floats(3, M * N, 1.0), *expected = ald_alloc(sizeof(float) * (size_t)(M * N));
    char *stored = ald_alloc(4 * (size_t)(N * K) + 1);
    ald_matrix_t matrix = {.blocks = 3, .room = ald_panel_floats(K)};
    const ald_gemm_t *gemm = ald_gemm_find(name);
    matrix.panel = ald_alloc(sizeof(float) * (size_t)matrix.room);
    ald_f32_to_dtype(w, N * K, dtype, stored);
    ald_dtype_to_f32(dtype, stored, N * K, w);
    memmove(stored + 1, stored, 4 * (size_t)(N * K));
    for (int64_t b = 0, at = 0; b < 3; at += rows[b++])
        matrix.block[b] =
            (ald_block_t){dtype, stored + 1 + at * K * ald_dtype_size(dtype), rows[b]};
    for (int beta = 0; beta < 2; ++beta)
        for (int64_t n = N; n > 0; n = n * 2 / 3 - 1) { /* the first n rows alone */
            memcpy(expected, y, sizeof(float) * (size_t)(M * N));
            ald_linear(gemm, (ald_linear_t){M, n, K}, x, w, (float)beta, expected);
            ald_matrix_linear(gemm, (ald_linear_t){M, n, K}, x, &matrix, (float)beta, y);
            if (strcmp(name, "invariant") == 0)
                assert_memory_equal(y, expected, sizeof(float) * (size_t)(M * n));
            for (int64_t i = 0; i < M * n; ++i)
                assert_true(fabsf(y[i] - expected[i]) < 1e-4f * (1.0f + fabsf(expected[i])));
        }
    for (int64_t i = 0; i < N; ++i) {
        const int32_t id = (int32_t)i;
        ald_matrix_gather(1, K, &id, &matrix, x);
        assert_memory_equal(x, w + i * K, sizeof(float) * (size_t)K);
    }
    ald_free(matrix.panel);
    ald_free(stored);
    ald_free(expected);
    ald_free(x);
    ald_free(w);
    ald_free(y);
}

static void matrices_in_their_stored_types(void **state)
{
    static const char *const names[] = {"openblas", "invariant"};
    (void)state;
    for (int d = ALD_DTYPE_F32; d <= ALD_DTYPE_F16; ++d)
        for (int i = 0; i < 2; ++i) {
            check_matrix((ald_dtype_t)d, names[i], 1, 37, 50);
            check_matrix((ald_dtype_t)d, names[i], 5, 301, 70);
            check_matrix((ald_dtype_t)d, names[i], 70, 40, 17);
            check_matrix((ald_dtype_t)d, names[i], MANY_ROWS, 75,
                         30000); /* several shared panels */
        }
}

/* y of "invariant" products and of attention to a cache, at the level as it is. */
static float *decoded_bits(ald_dtype_t dtype, int64_t M, int64_t N, int64_t K)
{
    float *x = random_floats(1, M * K, 1.0), *w = random_floats(2, N * K, 1.0);
    float *k = random_floats(4, 64 * K + ALD_ATTENTION_SLACK, 1.0), scores[64];
    float *y = random_floats(3, M * N + K, 1.0);
    ald_matrix_t matrix = ald_matrix_of(w, N);
    matrix.block[0].dtype = dtype;
    if (dtype != ALD_DTYPE_F32)
        ald_f32_to_dtype(w, N * K, dtype, w); /* a half lies before what it is made from */
    ald_matrix_linear(ald_gemm_find("invariant"), (ald_linear_t){M, N, K}, x, &matrix, 0.0f, y);
    const ald_attention_row_t row = {1, K, 50, x, k, k, 64, K, 0};
    ald_attention_decode(&row, scores, y + M * N);
    ald_free(x), ald_free(w), ald_free(k);
    return y;
}

/* Products and weighted sums of values have the same bits; exp's sum has the level's lanes. */
static void levels_with_fma_give_equal_bits(void **state)
{
    const ald_isa_t before = ald_isa;
    (void)state;
    for (int64_t M = 1; M < 70 && ald_isa_highest() > ALD_ISA_V3; M = M < 9 ? M + 1 : M * 2)
        for (int d = ALD_DTYPE_F32; d <= ALD_DTYPE_F16; ++d) {
            const int64_t N = 31, K = M % 2 ? 83 : 600;
            ald_isa = ALD_ISA_V3;
            float *one = decoded_bits((ald_dtype_t)d, M, N, K);
            ald_isa = ALD_ISA_V4;
            float *two = decoded_bits((ald_dtype_t)d, M, N, K);
            assert_memory_equal(one, two, sizeof(float) * (size_t)(M * N));
            for (int64_t i = M * N; i < M * N + K; ++i) /* exp and its sum: lanes of the level */
                assert_true(fabsf(one[i] - two[i]) <= 1e-6f);
            ald_free(one), ald_free(two);
        }
    ald_isa = before;
}

static void levels_by_name(void **state)
{
    const ald_isa_t before = ald_isa;
    (void)state;
    expect_failure(ald_isa_set("x86-64-v9"), ALD_STATUS_USAGE, "ALIGNDISTIL_ISA=x86-64-v9");
    expect_failure(ald_isa_set(""), ALD_STATUS_USAGE, "x86-64");
    assert_int_equal(ald_isa, before);
    expect_ok(ald_isa_set(NULL));
    assert_int_equal(ald_isa, ald_isa_highest());
    ald_isa = before;
}

int main(void)
{
    const struct CMUnitTest first[] = {
        SCRATCH_TEST(attention_takes_linear_memory), /* it reads the peak */
    };
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(norm_and_backward),
        SCRATCH_TEST(norm_weights_over_many_rows),
        SCRATCH_TEST(rotation),
        SCRATCH_TEST(embedding_and_backward),
        SCRATCH_TEST(bias_and_sum),
        SCRATCH_TEST(gated_products_and_backward),
        SCRATCH_TEST(logsumexp_and_argmax),
        SCRATCH_TEST(exponentials),
        SCRATCH_TEST(attention_and_backward),
        SCRATCH_TEST(attention_over_many_blocks),
        SCRATCH_TEST(attention_in_a_window),
        SCRATCH_TEST(a_wide_window_changes_no_bit),
        SCRATCH_TEST(a_windows_cost_is_linear),
        SCRATCH_TEST(attention_with_large_scores),
        SCRATCH_TEST(decoding_attention),
        SCRATCH_TEST(threads_change_no_bit),
        SCRATCH_TEST(products_of_every_back_end),
        SCRATCH_TEST(invariant_rows_keep_their_bits),
        SCRATCH_TEST(perturbed_rows_show_their_product),
        SCRATCH_TEST(linear_layer_and_backward),
        SCRATCH_TEST(matrices_in_their_stored_types),
        SCRATCH_TEST(levels_with_fma_give_equal_bits),
        SCRATCH_TEST(levels_by_name),
    };
    return cmocka_run_group_tests(first, NULL, NULL) + RUN_ON_LEVELS(tests);
}
