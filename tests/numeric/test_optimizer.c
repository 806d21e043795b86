/* AdamW, clipping and the schedule against a twin in double precision, on one rank. */
#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/train/optimizer.h"
#include "numeric.h"

enum { N = 70001, STEPS = 4 }; /* more than one block of 65,536 */

/* Adds a whole gradient in pieces, the last ones first, as a backward pass gives it: pieces of two
 * lengths, of which neither is a block's. It is zero afterwards. */
static ald_status_t add(ald_optimizer_t *o, float *g)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t end = N, count = 66001; end > 0; end -= count, count = 1501) {
        count = count < end ? count : end;
        ALD_TRY(ald_optimizer_add(o, end - count, count, g + (end - count)));
    }
    for (int i = 0; i < N; ++i)
        assert_true(g[i] == 0.0f);
done:
    return status;
}

/* Adds a gradient that is zero but for one element. */
static ald_status_t add_one(ald_optimizer_t *o, int64_t place, float value)
{
    float *g = ald_calloc(N, sizeof(float));
    assert_non_null(g);
    g[place] = value;
    ald_status_t status = add(o, g);
    ald_free(g);
    return status;
}

static ald_config_t config_of(double limit, double decay)
{
    return (ald_config_t){.optimizer = {.lr = 0.02,
                                        .betas = {0.9, 0.95},
                                        .epsilon = 1e-6,
                                        .weight_decay = decay,
                                        .max_grad_norm = limit,
                                        .schedule = ALD_SCHEDULE_COSINE,
                                        .warmup_ratio = 0.1,
                                        .min_lr_ratio = 0.1}};
}

/* Of what has no weight decay, across the border of two blocks, and at both ends. */
static const ald_span_t spans[] = {{0, 3}, {700, 1000}, {65530, 65560}, {N - 2, N}};
enum { SPANS = sizeof spans / sizeof *spans };

static bool is_spared(int i)
{
    for (int s = 0; s < SPANS; ++s)
        if (i >= spans[s].begin && i < spans[s].end)
            return true;
    return false;
}

/* Loshchilov and Hutter 2019, algorithm 2, with the gradient clipped as PyTorch does. */
static double twin_step(const ald_config_t *config, int step, double lr, double *g, double *m,
                        double *v, double *x)
{
    double square = 0.0, beta1 = config->optimizer.betas[0], beta2 = config->optimizer.betas[1];
    for (int i = 0; i < N; ++i)
        square += g[i] * g[i];
    double norm = sqrt(square), limit = config->optimizer.max_grad_norm;
    double clip = limit > 0.0 && norm > limit ? limit / (norm + 1e-6) : 1.0;
    for (int i = 0; i < N; ++i) {
        m[i] = beta1 * m[i] + (1.0 - beta1) * clip * g[i];
        v[i] = beta2 * v[i] + (1.0 - beta2) * clip * clip * g[i] * g[i];
        double mean = m[i] / (1.0 - pow(beta1, step)), spread = v[i] / (1.0 - pow(beta2, step));
        x[i] -= lr * (mean / (sqrt(spread) + config->optimizer.epsilon) +
                      (is_spared(i) ? 0.0 : config->optimizer.weight_decay) * x[i]);
    }
    return norm;
}

static void check_adamw(double limit, double decay)
{
    const ald_config_t config = config_of(limit, decay);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    ald_optimizer_t o;
    float *x = random_floats(1, N, 1.0);
    double *x2 = to_doubles(x, N), *g2 = ald_calloc(3 * N, sizeof(double)), norm;
    assert_non_null(g2);
    expect_ok(ald_optimizer_init(&config, &alone, N, &o));
    assert_int_equal(o.count, N);
    o.spared = ald_alloc(sizeof spans);
    memcpy(o.spared, spans, sizeof spans);
    o.spans = SPANS;
    for (int step = 1; step <= STEPS; ++step) {
        memset(g2, 0, sizeof(double) * N);
        ald_optimizer_begin(&o, 3);
        for (uint64_t micro = 0; micro < 3; ++micro) { /* sums of micro-batches */
            float *g = random_floats(10 + 3 * (uint64_t)step + micro, N, 0.01 * step);
            for (int i = 0; i < N; ++i)
                g2[i] += g[i];
            expect_ok(add(&o, g));
            ald_free(g);
        }
        assert_true(ald_optimizer_fits(&o));
        double lr = 0.02 / step;
        double expected = twin_step(&config, step, lr, g2, g2 + N, g2 + 2 * N, x2);
        expect_ok(ald_optimizer_step(&o, lr, x, &norm));
        expect_near("norm", norm, expected, 1e-9 * expected);
    }
    expect_close("values", N, x, x2, 2e-7);
    expect_close("m", N, o.m, g2 + N, 1e-6);
    expect_close("v", N, o.v, g2 + 2 * N, 1e-6);
    ald_optimizer_reset(&o);
    ald_free(x), ald_free(x2), ald_free(g2);
}

static void adamw(void **state)
{
    (void)state;
    check_adamw(0.0, 0.0);
    check_adamw(1.0, 0.1);
    check_adamw(1e6, 0.0);
}

/* Adds a copy of a gradient, in pieces or as one. */
static ald_status_t add_copy(ald_optimizer_t *o, const float *g, bool pieces)
{
    float *copy = ald_alloc(sizeof(float) * N);
    assert_non_null(copy);
    memcpy(copy, g, sizeof(float) * N);
    ald_status_t status = pieces ? add(o, copy) : ald_optimizer_add(o, 0, N, copy);
    ald_free(copy);
    return status;
}

/* Adds five micro-batches of `g`, forwards or backwards, as often as the unit asks for. */
static void add_all(ald_optimizer_t *o, const float *g, bool backwards, int expected)
{
    int rounds = 0;
    do {
        ald_optimizer_begin(o, 5);
        for (int micro = 0; micro < 5; ++micro)
            expect_ok(add_copy(o, g + N * (backwards ? 4 - micro : micro), backwards));
        assert_true(++rounds <= expected);
    } while (!ald_optimizer_fits(o));
    assert_int_equal(rounds, expected);
}

/* Whatever the gradients' size is: norms to 1e-9, an update as of gradients of the usual size, the
 * same bits in any order, and no second round for the step after. */
static void the_unit_follows_the_gradients(void **state)
{
    static const double scales[] = {0x1p-140, 1e-30, 1e-11, 1e-9, 1e-6, 0.1, 1e4, 1e9, 1e18};
    const ald_config_t config = config_of(1.0, 0.0);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    (void)state;
    for (size_t k = 0; k < sizeof scales / sizeof *scales; ++k) {
        float *values[2], *g = random_floats(3, 5 * N, scales[k]);
        double square = 0.0, norm[2];
        for (int i = 0; i < N; ++i) {
            double sum = 0.0;
            for (int micro = 0; micro < 5; ++micro)
                sum += (double)g[N * micro + i];
            square += sum * sum;
        }
        for (int way = 0; way < 2; ++way) {
            ald_optimizer_t o;
            values[way] = random_floats(1, N, 1.0);
            expect_ok(ald_optimizer_init(&config, &alone, N, &o));
            add_all(&o, g, way == 1, scales[k] == 0.1 || scales[k] == 1e4 ? 1 : 2);
            expect_ok(ald_optimizer_step(&o, 0.01, values[way], &norm[way]));
            add_all(&o, g, way == 0, 1);
            expect_ok(ald_optimizer_step(&o, 0.01, values[way], &norm[way]));
            expect_near("norm", norm[way] / sqrt(square), 1.0, 1e-9);
            ald_optimizer_reset(&o);
        }
        assert_memory_equal(values[0], values[1], sizeof(float) * N);
        ald_free(values[0]), ald_free(values[1]), ald_free(g);
    }
}

static void a_step_without_gradients_keeps_the_unit(void **state)
{
    const ald_config_t config = config_of(1.0, 0.0);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    ald_optimizer_t o;
    (void)state;
    expect_ok(ald_optimizer_init(&config, &alone, N, &o));
    ald_optimizer_begin(&o, 1);
    expect_ok(add_one(&o, 0, 0.0f));
    assert_true(ald_optimizer_fits(&o));
    assert_int_equal(o.unit, -40);
    ald_optimizer_reset(&o);
}

static void order_and_split_change_no_bit(void **state)
{
    const ald_config_t config = config_of(1.0, 0.0);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    float *values[2], *g = random_floats(2, 5 * N, 0.1);
    (void)state;
    for (int way = 0; way < 2; ++way) {
        ald_optimizer_t o;
        double norm;
        values[way] = random_floats(1, N, 1.0);
        expect_ok(ald_optimizer_init(&config, &alone, N, &o));
        for (int micro = 0; micro < 5; ++micro)
            expect_ok(add_copy(&o, g + N * (way == 0 ? micro : 4 - micro), way == 0));
        expect_ok(ald_optimizer_step(&o, 0.01, values[way], &norm));
        ald_optimizer_reset(&o);
    }
    assert_memory_equal(values[0], values[1], sizeof(float) * N);
    ald_free(values[0]), ald_free(values[1]), ald_free(g);
}

static void divergence_is_an_error(void **state)
{
    const ald_config_t config = config_of(1.0, 0.0);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int i = 0; i < 6; ++i) {
        ald_optimizer_t o;
        expect_ok(ald_optimizer_init(&config, &alone, N, &o));
        o.steps = i / 3;
        expect_failure(add_one(&o, N - 2, bad[i % 3]), ALD_STATUS_INTERNAL,
                       o.steps == 0 ? "overflow at its first step" : "diverged");
        ald_optimizer_reset(&o);
    }
}

/* Without a clip the moments take squares up to the largest float: then the step isn't taken. */
static void squares_cannot_overflow(void **state)
{
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    (void)state;
    for (int clipped = 0; clipped < 2; ++clipped) {
        const ald_config_t config = config_of(clipped ? 1.0 : 0.0, 0.0);
        float *x = random_floats(1, N, 1.0);
        ald_optimizer_t o;
        double norm;
        expect_ok(ald_optimizer_init(&config, &alone, N, &o));
        for (int again = 0; again < 2; ++again) {
            ald_optimizer_begin(&o, 1);
            expect_ok(add_one(&o, 5, 1e25f));
            assert_int_equal(ald_optimizer_fits(&o), again);
        }
        if (clipped)
            expect_ok(ald_optimizer_step(&o, 0.1, x, &norm));
        else
            expect_failure(ald_optimizer_step(&o, 0.1, x, &norm), ALD_STATUS_INTERNAL,
                           "optimizer.max_grad_norm");
        for (int i = 0; i < N; ++i)
            assert_true(isfinite(x[i]) && isfinite(o.v[i]));
        ald_optimizer_reset(&o);
        ald_free(x);
    }
}

/* The shares of models of 3 and 7 billion parameters: whole blocks, all of them, evenly. */
static void shares_pass_32_bits(void **state)
{
    enum { BLOCK = 65536 };
    const int64_t totals[] = {N, 3085938688, 7615616512};
    const int sizes[] = {1, 4, 8, 1000};
    (void)state;
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 4; ++j) {
            const int64_t total = totals[i];
            int64_t sum = 0;
            for (int r = 0; r < sizes[j]; ++r) {
                int64_t first = ald_optimizer_share(total, sizes[j], r);
                int64_t count = ald_optimizer_share(total, sizes[j], r + 1) - first;
                assert_true(first == sum && (first % BLOCK == 0 || first == total) && count >= 0);
                assert_true(count <= total / sizes[j] + 2 * BLOCK);
                sum += count;
            }
            assert_true(sum == total);
        }
}

static void sums_cannot_wrap(void **state)
{
    /* Each addend fits, and the sum of so many would pass 2^63 units: the unit becomes a larger
     * one, in which it doesn't. */
    const ald_config_t config = config_of(0.0, 0.0);
    const ald_comm_t alone = {.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
    float *x = random_floats(1, N, 1.0);
    ald_optimizer_t o;
    double norm;
    (void)state;
    expect_ok(ald_optimizer_init(&config, &alone, N, &o));
    for (int again = 0; again < 2; ++again) {
        ald_optimizer_begin(&o, 1000);
        for (int adds = 0; adds < 1000; ++adds) {
            float g = -1e6f;
            expect_ok(ald_optimizer_add(&o, 3, 1, &g));
        }
        assert_int_equal(ald_optimizer_fits(&o), again);
    }
    assert_true((double)o.sum[3] * ldexp(1.0, o.unit) == -1e9);
    expect_ok(ald_optimizer_step(&o, 0.1, x, &norm));
    expect_near("norm", norm, 1e9, 1e-3);
    ald_optimizer_reset(&o);
    ald_free(x);
}

static void schedules(void **state)
{
    ald_config_t config = config_of(1.0, 0.0);
    const double pi = acos(-1.0);
    (void)state;
    config.optimizer.lr = 2.0;
    /* 25 steps: ceil(2.5) of warmup */
    expect_near("first", ald_schedule(&config, 0, 25), 2.0 / 3.0, 1e-12);
    expect_near("warm", ald_schedule(&config, 2, 25), 2.0, 1e-12);
    expect_near("then", ald_schedule(&config, 3, 25), 2.0, 1e-12);
    for (int step = 3; step < 25; ++step) {
        double done = (step - 3) / 22.0;
        config.optimizer.schedule = ALD_SCHEDULE_COSINE;
        expect_near("cosine", ald_schedule(&config, step, 25), 0.2 + 0.9 * (1.0 + cos(pi * done)),
                    1e-12);
        config.optimizer.schedule = ALD_SCHEDULE_LINEAR;
        expect_near("linear", ald_schedule(&config, step, 25), 2.0 - 1.8 * done, 1e-12);
        config.optimizer.schedule = ALD_SCHEDULE_CONSTANT;
        expect_near("constant", ald_schedule(&config, step, 25), 2.0, 0.0);
    }
    config.optimizer.warmup_ratio = 0.0;
    expect_near("no warmup", ald_schedule(&config, 0, 1), 2.0, 1e-12);
    config.optimizer.warmup_ratio = 1.0;
    expect_near("all warmup", ald_schedule(&config, 24, 25), 2.0, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(adamw),
        SCRATCH_TEST(order_and_split_change_no_bit),
        SCRATCH_TEST(the_unit_follows_the_gradients),
        SCRATCH_TEST(a_step_without_gradients_keeps_the_unit),
        SCRATCH_TEST(squares_cannot_overflow),
        SCRATCH_TEST(divergence_is_an_error),
        SCRATCH_TEST(shares_pass_32_bits),
        SCRATCH_TEST(sums_cannot_wrap),
        SCRATCH_TEST(schedules),
    };
    return RUN_ON_LEVELS(tests);
}
