/* Random numbers against published answers, picking of tokens against probabilities, packing. */
#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/sampler.h"
#include "ald/num/attention.h"
#include "numeric.h"

/* --- random numbers --- */

static void philox_known_answers(void **state)
{
    /* kat_vectors of Random123: philox4x32, 10 rounds. */
    static const struct {
        uint64_t key, high, low;
        uint32_t out[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x0370734413198a2e,
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
        uint32_t out[4];
        ald_philox(known[i].key, known[i].high, known[i].low, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void uniforms_and_normals(void **state)
{
    enum { N = 100000, BINS = 20 };
    double sum = 0.0, square = 0.0, fourth = 0.0, chi = 0.0;
    int bins[BINS] = {0};
    (void)state;
    for (int i = 0; i < N; ++i) {
        double u = ald_rng_uniform(1, 2, (uint64_t)i), x = ald_rng_normal(1, 3, (uint64_t)i);
        assert_true(u >= 0.0 && u < 1.0);
        bins[(int)(u * BINS)] += 1;
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
    }
    for (int b = 0; b < BINS; ++b)
        chi += pow(bins[b] - N / BINS, 2) / (N / BINS);
    assert_true(chi < 43.8); /* 19 degrees of freedom, 0.1 % */
    expect_near("mean", sum / N, 0.0, 4.0 / sqrt(N));
    expect_near("variance", square / N, 1.0, 4.0 * sqrt(2.0 / N));
    expect_near("fourth moment", fourth / N, 3.0, 4.0 * sqrt(96.0 / N));
    assert_true(ald_rng_uniform(1, 2, 3) != ald_rng_uniform(2, 2, 3));
    assert_true(ald_rng_uniform(1, 2, 3) != ald_rng_uniform(1, 3, 3));
}

static void permutations(void **state)
{
    int64_t order[4], seen[24] = {0};
    (void)state;
    for (uint64_t stream = 0; stream < 24000; ++stream) {
        int code = 0, used = 0;
        ald_rng_permutation(5, stream, 4, order);
        for (int i = 0; i < 4; ++i) {
            int smaller = 0;
            for (int j = i + 1; j < 4; ++j)
                smaller += order[j] < order[i];
            code = code * (4 - i) + smaller;
            used |= 1 << order[i];
        }
        assert_int_equal(used, 15);
        seen[code] += 1;
    }
    double chi = 0.0;
    for (int i = 0; i < 24; ++i)
        chi += pow((double)seen[i] - 1000.0, 2) / 1000.0;
    assert_true(chi < 49.7); /* 23 degrees of freedom, 0.1 % */
}

/* --- picking --- */

enum { V = 8 };
static const float LOGITS[V] = {0.5f, -1.0f, 2.0f, 0.5f, -30.0f, 1.5f, 0.0f, 2.0f};

/* What remains after temperature, top-k, top-p, in this order; ties to the smaller id. */
static void filtered(const ald_sampling_t *s, double p[V])
{
    int order[V];
    double sum = 0.0, mass = 0.0;
    for (int v = 0; v < V; ++v) {
        int i = v;
        for (; i > 0 && LOGITS[order[i - 1]] < LOGITS[v]; --i)
            order[i] = order[i - 1];
        order[i] = v;
    }
    int kept = s->top_k > 0 && s->top_k < V ? (int)s->top_k : V;
    memset(p, 0, sizeof(double) * V);
    for (int i = 0; i < kept; ++i)
        sum += p[order[i]] = exp((double)LOGITS[order[i]] / s->temperature);
    for (int i = 0; i < kept; ++i) {
        bool full = mass >= s->top_p * sum;
        mass += p[order[i]];
        p[order[i]] = full ? 0.0 : p[order[i]];
    }
    sum = 0.0;
    for (int v = 0; v < V; ++v)
        sum += p[v];
    for (int v = 0; v < V; ++v)
        p[v] /= sum;
}

static void check_frequencies(ald_sampling_t s)
{
    enum { N = 40000 };
    float work[3 * V], logprob;
    double p[V], lse = 0.0;
    int seen[V] = {0};
    filtered(&s, p);
    for (int v = 0; v < V; ++v)
        lse += exp(LOGITS[v]);
    for (int i = 0; i < N; ++i) { /* u on a grid: frequencies are exact up to one per token */
        int32_t id = ald_sample(&s, V, LOGITS, (i + 0.5) / N, work, &logprob);
        seen[id] += 1;
        expect_near("log p", logprob, LOGITS[id] - log(lse), 1e-6);
    }
    for (int v = 0; v < V; ++v)
        if (fabs(seen[v] - p[v] * N) > 2.0)
            fail_msg("T %g, top_p %g, top_k %d: token %d %d times, expected %.1f", s.temperature,
                     s.top_p, (int)s.top_k, v, seen[v], p[v] * N);
}

static void frequencies_are_the_probabilities(void **state)
{
    (void)state;
    check_frequencies((ald_sampling_t){1.0, 1.0, 0});
    check_frequencies((ald_sampling_t){0.5, 1.0, 0});
    check_frequencies((ald_sampling_t){1.7, 1.0, 0});
    for (int k = 1; k <= V; ++k)
        check_frequencies((ald_sampling_t){1.0, 1.0, k});
    for (int i = 0; i <= 20; ++i)
        check_frequencies((ald_sampling_t){1.0, 0.05 * i, 0});
    check_frequencies((ald_sampling_t){0.8, 0.7, 4});
    check_frequencies((ald_sampling_t){2.0, 0.6, 5});
}

static void greedy_is_the_argmax(void **state)
{
    const ald_sampling_t greedy = {0.0, 1.0, 0};
    float work[3 * V], logprob;
    (void)state;
    for (int i = 0; i < 10; ++i)
        assert_int_equal(ald_sample(&greedy, V, LOGITS, 0.1 * i, work, &logprob), 2);
}

static void logits_that_are_no_distribution_give_no_token(void **state)
{
    const ald_sampling_t settings[] = {
        {0.0, 1.0, 0}, {1.0, 1.0, 0}, {1.0, 0.9, 0}, {1.0, 1.0, 3}, {0.5, 0.9, 3}};
    const float bad[] = {NAN, INFINITY, -NAN};
    float logits[V], work[3 * V], logprob;
    (void)state;
    for (size_t s = 0; s < sizeof settings / sizeof *settings; ++s) {
        for (int i = 0; i < 3 * V; ++i) {
            memset(work, 0x7F, sizeof work); /* what lies there would be a token */
            memcpy(logits, LOGITS, sizeof logits);
            logits[i / 3] = bad[i % 3];
            assert_int_equal(ald_sample(&settings[s], V, logits, 0.5, work, &logprob), -1);
        }
        for (int i = 0; i < V; ++i)
            logits[i] = i < 3 ? NAN : -INFINITY;
        assert_int_equal(ald_sample(&settings[s], V, logits, 0.5, work, &logprob), -1);
        for (int i = 0; i < V; ++i)
            logits[i] = -INFINITY;
        assert_int_equal(ald_sample(&settings[s], V, logits, 0.5, work, &logprob), -1);
        logits[5] = 1.0f; /* a token that alone is possible */
        assert_int_equal(ald_sample(&settings[s], V, logits, 0.5, work, &logprob), 5);
        assert_true(logprob == 0.0f);
    }
}

static void unlikely_tokens_of_a_large_vocabulary(void **state)
{
    /* Nearly flat: every probability is below the sampler's first look at 1e-4 of the largest once
     * one token is far above; the filters must then look at all. */
    enum { N = 30000 };
    float *logits = random_floats(1, N, 0.1), *work = random_floats(2, 3 * N, 0.0), logprob;
    const ald_sampling_t nucleus = {1.0, 0.9, 0}, top = {1.0, 1.0, 20000};
    int beyond = 0, first = 0;
    (void)state;
    logits[77] = 10.5f; /* 42 % of the mass */
    for (int i = 0; i < 200; ++i) {
        int32_t id = ald_sample(&nucleus, N, logits, (i + 0.5) / 200, work, &logprob);
        first += id == 77;
        beyond += ald_sample(&top, N, logits, (i + 0.5) / 200, work, &logprob) != 77;
    }
    double rest = 0.0, share;
    for (int v = 0; v < N; ++v)
        rest += v == 77 ? 0.0 : exp(logits[v]);
    share = exp(10.5) / (exp(10.5) + rest) / 0.9;
    expect_near("share of the first", first, 200 * share, 1.5);
    assert_true(beyond > 60);
    ald_free(logits), ald_free(work);
}

/* --- packing --- */

static void packing(void **state)
{
    const int32_t p0[] = {10, 11, 12}, a[] = {20, 21}, b[] = {30, 31, 32}, p1[] = {40}, c[] = {50};
    const ald_item_t items[] = {
        {p0, 3, 2, {a, b}, {2, 3}}, {p1, 1, 1, {c, NULL}, {1, 0}}, {p0, 3, 1, {b, NULL}, {3, 0}}};
    const int32_t ids[] = {10, 11, 12, 20, 30, 31, 40, 10, 11, 12, 30, 31};
    const int32_t positions[] = {0, 1, 2, 3, 3, 4, 0, 0, 1, 2, 3, 4};
    const ald_segment_t segments[] = {{0, 3, -1}, {3, 4, 0},   {4, 6, 0},  {6, 7, -1},
                                      {7, 7, 3},  {7, 10, -1}, {10, 12, 5}};
    const int64_t rows[] = {2, 3, 2, 4, 5, 6, 9, 10, 11}, starts[] = {0, 2, 5, 6, 9};
    const int32_t targets[] = {20, 21, 30, 31, 32, 50, 30, 31, 32};
    ald_arena_t arena;
    ald_packed_t packed;
    (void)state;
    ald_arena_init(&arena);
    assert_int_equal(ald_item_tokens(&items[0]), 6);
    assert_int_equal(ald_item_tokens(&items[1]), 1);
    expect_ok(ald_pack(items, 3, &arena, &packed));
    assert_int_equal(packed.batch.tokens, 12);
    assert_memory_equal(packed.batch.ids, ids, sizeof ids);
    assert_memory_equal(packed.batch.positions, positions, sizeof positions);
    assert_int_equal(packed.batch.segments, 7);
    assert_memory_equal(packed.batch.segment, segments, sizeof segments);
    assert_int_equal(packed.positions, 9);
    assert_memory_equal(packed.row, rows, sizeof rows);
    assert_memory_equal(packed.target, targets, sizeof targets);
    assert_int_equal(packed.sequences, 4);
    assert_memory_equal(packed.start, starts, sizeof starts);
    const ald_item_t empty = {p0, 0, 1, {a, NULL}, {2, 0}};
    expect_failure(ald_pack(&empty, 1, &arena, &packed), ALD_STATUS_INPUT, "prompt");
    ald_arena_reset(&arena);
}

static void check_split(int64_t limit, int64_t count, const int64_t *expected)
{
    const int64_t tokens[] = {5, 5, 30, 1, 9, 10, 11};
    int64_t start[8];
    assert_int_equal(ald_micro_split(tokens, 7, limit, start), count);
    assert_memory_equal(start, expected, sizeof *start * (size_t)(count + 1));
}

static void micro_batches(void **state)
{
    int64_t start[1] = {-1};
    (void)state;
    check_split(10, 5, (int64_t[]){0, 2, 3, 5, 6, 7});
    check_split(1, 7, (int64_t[]){0, 1, 2, 3, 4, 5, 6, 7});
    check_split(70, 2, (int64_t[]){0, 6, 7});
    check_split(71, 1, (int64_t[]){0, 7});
    assert_int_equal(ald_micro_split(NULL, 0, 10, start), 0);
    assert_int_equal(start[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(philox_known_answers),
        SCRATCH_TEST(uniforms_and_normals),
        SCRATCH_TEST(permutations),
        SCRATCH_TEST(frequencies_are_the_probabilities),
        SCRATCH_TEST(greedy_is_the_argmax),
        SCRATCH_TEST(logits_that_are_no_distribution_give_no_token),
        SCRATCH_TEST(unlikely_tokens_of_a_large_vocabulary),
        SCRATCH_TEST(packing),
        SCRATCH_TEST(micro_batches),
    };
    return RUN_ON_LEVELS(tests);
}
