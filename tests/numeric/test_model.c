/* The decoder as a whole: decoding and packing against plain forward passes, the chunked vocabulary
 * step against a twin, the memory figure. Gradients of all tensors: gradient_test.py. */
#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/decode.h"
#include "ald/model/forward.h"
#include "ald/model/gradients.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/rotation.h"
#include "ald/num/attention.h"
#include "ald/num/gemm.h"
#include "numeric.h"

enum { V = 97, H = 20, T = 70, KINDS = 6 };

/* 0: biases; 1: head norms; 2: windows in the last two layers of three, a YaRN factor; 3: norms
 * behind, over all heads, biases of the MLP; 4: all that Gemma has of its own, another rotation in
 * windows; 5: a layer without rotation. */
static ald_model_config_t shape_of(int kind)
{
    ald_model_config_t shape = {.model_type = "qwen3",
                                .vocab_size = V,
                                .hidden_size = H,
                                .intermediate_size = 33,
                                .layers = 3,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = 6,
                                .max_position = 4096,
                                .rms_norm_eps = 1e-6,
                                .tied = kind != 1,
                                .qkv_bias = kind == 0,
                                .output_bias = kind == 1,
                                .mlp_bias = kind == 3,
                                .qk_norm = kind == 1 || kind == 3 || kind == 4,
                                .wide_norm = kind == 3,
                                .post_norm = kind == 3 || kind == 4,
                                .sandwich = kind == 4,
                                .offset_norm = kind == 4,
                                .scaled_embedding = kind == 4,
                                .gelu = kind == 4,
                                .attention_scale = kind == 4 ? 0.3 : 0.0};
    ald_rotation_init(10000.0, shape.head_dim, &shape.rotation);
    shape.unrotated[0] = kind == 5 ? 2 : 0;
    if (kind == 4) {
        ald_rotation_init(100.0, shape.head_dim, &shape.window_rotation);
        shape.two_rotations = true;
    }
    if (kind == 2 || kind == 4) {
        shape.window = 5;
        shape.windowed[0] = 6;
        shape.rotation.factor = 1.2;
    }
    return shape;
}

typedef struct {
    ald_params_t params;
    float *values;
    ald_model_t model;
    ald_arena_t arena, own; /* `own` is of the gradients */
    float *gradient;        /* [total] of the pass at hand; NAN where none has come */
    ald_gradients_t gradients;
    int32_t ids[T];
} fixture_t;

/* Each float comes once. */
static ald_status_t collect(void *context, int64_t offset, int64_t count, float *gradient)
{
    fixture_t *f = context;
    assert_true(offset >= 0 && count > 0 && offset + count <= f->params.total);
    for (int64_t i = 0; i < count; ++i) {
        assert_true(isnan(f->gradient[offset + i]));
        f->gradient[offset + i] = gradient[i];
        gradient[i] = 0.0f;
    }
    return ALD_STATUS_OK;
}

/* The gradients of another pass are to come. */
static void begin_gradients(fixture_t *f)
{
    for (int64_t i = 0; i < f->params.total; ++i)
        f->gradient[i] = NAN;
}

static void fixture_init(fixture_t *f, int kind, const char *gemm)
{
    const ald_model_config_t shape = shape_of(kind);
    expect_ok(ald_params_init(&shape, &f->params));
    f->values = random_floats(1, f->params.total, 0.3);
    f->model =
        (ald_model_t){.params = &f->params, .values = f->values, .gemm = ald_gemm_find(gemm)};
    ald_arena_init(&f->arena);
    ald_arena_init(&f->own);
    f->gradient = ald_alloc(sizeof(float) * (size_t)f->params.total);
    assert_non_null(f->gradient);
    begin_gradients(f);
    expect_ok(ald_gradients_init(&f->params, &f->own, collect, f, &f->gradients));
    expect_near("gradients", (double)f->own.in_use, (double)ald_gradients_bytes(&f->params), 128.0);
    for (int t = 0; t < T; ++t)
        f->ids[t] = (int32_t)(ald_rng_uniform(3, 4, (uint64_t)t) * V);
}

static void fixture_reset(fixture_t *f)
{
    ald_arena_reset(&f->arena);
    ald_arena_reset(&f->own);
    ald_params_reset(&f->params);
    ald_free(f->values);
    ald_free(f->gradient);
}

/* Hidden states [count, H] of the sequence ids[0, count), alone, in the arena. */
static float *forward(fixture_t *f, const int32_t *ids, int64_t count, ald_activations_t **keep)
{
    int32_t *positions = ALD_ARENA_ARRAY(&f->arena, int32_t, count);
    float *hidden = ALD_ARENA_ARRAY(&f->arena, float, count *H);
    const ald_segment_t whole = {0, count, -1};
    for (int64_t t = 0; t < count; ++t)
        positions[t] = (int32_t)t;
    const ald_batch_t batch = {count, ids, positions, 1, &whole};
    expect_ok(ald_forward(&f->model, &batch, &f->arena, keep, hidden));
    return hidden;
}

static void expect_rows(const char *what, int64_t rows, const float *found, const float *expected)
{
    double *wide = to_doubles(expected, rows * H);
    expect_close(what, rows * H, found, wide, 3e-5);
    ald_free(wide);
}

static void keeping_changes_no_bit(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; ++kind) {
        fixture_t f;
        ald_activations_t *kept = NULL;
        fixture_init(&f, kind, "openblas");
        float *plain = forward(&f, f.ids, T, NULL), *with = forward(&f, f.ids, T, &kept);
        assert_non_null(kept);
        assert_memory_equal(plain, with, sizeof(float) * T * H);
        fixture_reset(&f);
    }
}

static void decoding_is_the_forward_pass(void **state)
{
    /* Three sequences of unequal lengths, decoded together behind their prompts. */
    enum { SEQUENCES = 3, STEPS = 12 };
    const int64_t begin[SEQUENCES] = {0, 5, 30}, prompt[SEQUENCES] = {1, 20, 7};
    (void)state;
    for (int kind = 0; kind < KINDS; ++kind) {
        fixture_t f;
        ald_cache_t cache[SEQUENCES], *caches[SEQUENCES];
        float *expected[SEQUENCES], hidden[SEQUENCES * H];
        fixture_init(&f, kind, "invariant");
        for (int i = 0; i < SEQUENCES; ++i) {
            const int32_t *ids = f.ids + begin[i];
            caches[i] = &cache[i];
            expected[i] = forward(&f, ids, prompt[i] + STEPS, NULL);
            expect_ok(ald_cache_init(&f.params.config, prompt[i] + STEPS, &cache[i]));
            expect_ok(ald_prefill(&f.model, ids, prompt[i], &f.arena, &cache[i], hidden));
            assert_int_equal(cache[i].length, prompt[i]);
            expect_rows("prefill", 1, hidden, expected[i] + (prompt[i] - 1) * H);
        }
        for (int step = 0; step < STEPS; ++step) {
            int32_t next[SEQUENCES];
            for (int i = 0; i < SEQUENCES; ++i)
                next[i] = f.ids[begin[i] + prompt[i] + step];
            expect_ok(ald_decode(&f.model, SEQUENCES, next, caches, &f.arena, hidden));
            for (int i = 0; i < SEQUENCES; ++i)
                expect_rows("decode", 1, hidden + i * H, expected[i] + (prompt[i] + step) * H);
        }
        int32_t one = 1;
        expect_failure(ald_decode(&f.model, 1, &one, caches, &f.arena, hidden), ALD_STATUS_INTERNAL,
                       "full");
        for (int i = 0; i < SEQUENCES; ++i)
            ald_cache_reset(&cache[i]);
        fixture_reset(&f);
    }
}

static void packed_sequences_are_separate(void **state)
{
    /* Two pairs that share prompts, and one sequence: each position as if its sequence were alone.
     */
    (void)state;
    for (int kind = 0; kind < KINDS; ++kind) {
        fixture_t f;
        ald_packed_t packed;
        fixture_init(&f, kind, "openblas");
        const int32_t *p = f.ids;
        const ald_item_t items[] = {{p, 9, 2, {p + 20, p + 30}, {5, 11}},
                                    {p + 3, 4, 1, {p + 40, NULL}, {1, 0}},
                                    {p + 50, 1, 2, {p + 10, p + 12}, {7, 2}}};
        expect_ok(ald_pack(items, 3, &f.arena, &packed));
        float *hidden = ALD_ARENA_ARRAY(&f.arena, float, packed.batch.tokens *H);
        expect_ok(ald_forward(&f.model, &packed.batch, &f.arena, NULL, hidden));
        int64_t sequence = 0;
        for (int i = 0; i < 3; ++i)
            for (int r = 0; r < items[i].responses; ++r, ++sequence) {
                int32_t ids[32];
                int64_t before = items[i].prompt_count, count = items[i].response_count[r];
                memcpy(ids, items[i].prompt, sizeof *ids * (size_t)before);
                memcpy(ids + before, items[i].response[r], sizeof *ids * (size_t)count);
                float *alone = forward(&f, ids, before + count, NULL);
                assert_int_equal(packed.start[sequence + 1] - packed.start[sequence], count);
                for (int64_t k = 0; k < count; ++k)
                    expect_rows("packed", 1, hidden + packed.row[packed.start[sequence] + k] * H,
                                alone + (before - 1 + k) * H);
            }
        fixture_reset(&f);
    }
}

/* Linear in the logits: dlogits[r, v] = c(r, v), which makes sums easy to follow. */
typedef struct {
    int64_t next;
    double worst;
    const double *hidden, *w;
    const int64_t *row;
} head_t;

static double slope_of(int64_t r, int64_t v)
{
    return ald_rng_uniform(8, (uint64_t)r, (uint64_t)v) - 0.5;
}

static ald_status_t set_slopes(void *context, int64_t first, int64_t count, float *logits)
{
    (void)context;
    for (int64_t i = 0; i < count; ++i)
        for (int64_t v = 0; v < V; ++v)
            logits[i * V + v] = (float)slope_of(first + i, v);
    return ALD_STATUS_OK;
}

static ald_status_t check_chunk(void *context, int64_t first, int64_t count, float *logits)
{
    head_t *h = context;
    assert_int_equal(first, h->next);
    assert_true(count >= 1 && count <= ald_head_chunk(V));
    h->next += count;
    for (int64_t i = 0; i < count; ++i)
        for (int64_t v = 0; v < V; ++v) {
            double expected = dot_product(H, h->hidden + h->row[first + i] * H, h->w + v * H);
            double gap = fabs(logits[i * V + v] - expected);
            h->worst = gap > h->worst ? gap : h->worst;
            logits[i * V + v] = (float)slope_of(first + i, v);
        }
    return ALD_STATUS_OK;
}

/* More positions than two chunks hold, rows in any order and repeated. The gradient of an output
 * matrix that is the embedding stays, for the backward to add to it. */
static void check_vocabulary_step(int kind)
{
    const int64_t R = 2 * ald_head_chunk(V) + 37;
    fixture_t f;
    fixture_init(&f, kind, "openblas");
    const bool tied = f.params.config.tied;
    int64_t *row = ald_alloc(sizeof *row * (size_t)R);
    float *hidden = random_floats(5, T * H, 1.0), *d_hidden = random_floats(6, T * H, 1.0);
    double *dh = to_doubles(d_hidden, T * H), *dw = ald_calloc(V * H, sizeof(double));
    double *hidden2 = to_doubles(hidden, T * H),
           *w = to_doubles(f.values + f.params.lm_head, V * H);
    for (int64_t r = 0; r < R; ++r) {
        row[r] = (r * 29) % T;
        for (int64_t v = 0; v < V; ++v) {
            double slope = (float)slope_of(r, v);
            for (int64_t h = 0; h < H; ++h) {
                dh[row[r] * H + h] += slope * w[v * H + h];
                dw[v * H + h] += slope * hidden2[row[r] * H + h];
            }
        }
    }
    head_t head = {0, 0.0, hidden2, w, row};
    expect_ok(
        ald_head(&f.model, hidden, R, row, &f.arena, check_chunk, &head, d_hidden, &f.gradients));
    assert_int_equal(head.next, R);
    expect_near("logits", head.worst, 0.0, 2e-6);
    expect_close("d_hidden", T * H, d_hidden, dh, 3e-6);
    expect_close("d output matrix", V * H,
                 tied ? f.gradients.vocabulary : f.gradient + f.params.lm_head, dw, 3e-6);
    for (int64_t i = 0; i < (tied ? f.params.total : f.params.lm_head); ++i)
        assert_true(isnan(f.gradient[i]));
    head.next = 0; /* without gradients */
    expect_ok(ald_head(&f.model, hidden, R, row, &f.arena, check_chunk, &head, NULL, NULL));
    assert_int_equal(head.next, R);
    assert_int_equal(f.arena.in_use, 0);
    void *all[] = {row, hidden, d_hidden, dh, dw, hidden2, w};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
        ald_free(all[i]);
    fixture_reset(&f);
}

static void vocabulary_step_in_chunks(void **state)
{
    (void)state;
    check_vocabulary_step(0);
    check_vocabulary_step(1);
}

static void expect_a_gradient(const fixture_t *f, const ald_tensor_t *tensor)
{
    bool some = false;
    for (int64_t i = tensor->offset; i < tensor->offset + tensor->count; ++i) {
        assert_false(isnan(f->gradient[i]));
        some = some || f->gradient[i] != 0.0f;
    }
    assert_true(some);
}

/* The gradient of all parameters for a loss that is linear in logits, over two packed pairs. */
static void whole_gradient(fixture_t *f, bool recompute)
{
    const int32_t *p = f->ids;
    const ald_item_t items[] = {{p, 9, 2, {p + 20, p + 30}, {5, 11}},
                                {p + 3, 4, 2, {p + 40, p + 50}, {1, 13}}};
    ald_packed_t packed;
    ald_activations_t *kept = NULL;
    f->model.recompute = recompute;
    expect_ok(ald_pack(items, 2, &f->arena, &packed));
    const int64_t states = packed.batch.tokens * H;
    float *hidden = ALD_ARENA_ARRAY(&f->arena, float, states);
    float *d_hidden = ald_arena_calloc(&f->arena, (size_t)states, sizeof(float));
    expect_ok(ald_forward(&f->model, &packed.batch, &f->arena, &kept, hidden));
    expect_ok(ald_head(&f->model, hidden, packed.positions, packed.row, &f->arena, set_slopes, NULL,
                       d_hidden, &f->gradients));
    expect_ok(ald_backward(&f->model, &packed.batch, kept, &f->arena, d_hidden, &f->gradients));
    for (int64_t i = 0; i < f->params.count; ++i)
        expect_a_gradient(f, &f->params.tensors[i]);
    ald_arena_reset(&f->arena);
}

/* Twice, since parts that were handed on have left zeros. */
static void recomputing_changes_no_bit(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; ++kind) {
        fixture_t f;
        fixture_init(&f, kind, "openblas");
        const size_t bytes = sizeof(float) * (size_t)f.params.total;
        float *kept = ald_alloc(bytes);
        assert_non_null(kept);
        whole_gradient(&f, false);
        memcpy(kept, f.gradient, bytes);
        for (int again = 0; again < 2; ++again) {
            begin_gradients(&f);
            whole_gradient(&f, again == 0);
            assert_memory_equal(kept, f.gradient, bytes);
        }
        ald_free(kept);
        fixture_reset(&f);
    }
}

static void memory_is_what_was_announced(void **state)
{
    (void)state;
    for (int way = 0; way < 2 * KINDS; ++way) {
        enum { LONG = 512 };
        fixture_t f;
        ald_activations_t *kept = NULL;
        int32_t ids[LONG], positions[LONG];
        const ald_segment_t whole = {0, LONG, -1};
        fixture_init(&f, way / 2, "openblas");
        f.model.recompute = way % 2 == 1;
        for (int t = 0; t < LONG; ++t) {
            ids[t] = t % V;
            positions[t] = t;
        }
        const ald_batch_t batch = {LONG, ids, positions, 1, &whole};
        float *hidden = random_floats(1, LONG * H, 1.0);
        const ald_model_bytes_t bytes = ald_model_bytes(&f.params.config, LONG, f.model.recompute);
        expect_ok(ald_forward(&f.model, &batch, &f.arena, NULL, hidden));
        expect_near("alone", (double)f.arena.high, (double)bytes.alone,
                    0.01 * (double)f.arena.high);
        ald_arena_reset(&f.arena);
        expect_ok(ald_forward(&f.model, &batch, &f.arena, &kept, hidden));
        expect_near("forward", (double)f.arena.high, (double)(bytes.kept + bytes.forward),
                    0.01 * (double)f.arena.high);
        f.arena.high = f.arena.in_use;
        expect_near("kept", (double)f.arena.in_use, (double)bytes.kept,
                    0.01 * (double)f.arena.in_use);
        expect_ok(ald_backward(&f.model, &batch, kept, &f.arena, hidden, &f.gradients));
        expect_near("backward", (double)f.arena.high, (double)(bytes.kept + bytes.backward),
                    0.01 * (double)f.arena.high);
        ald_free(hidden);
        fixture_reset(&f);
    }
}

static void dynamic_rotation_has_a_limit(void **state)
{
    fixture_t f;
    ald_cache_t cache, *caches = &cache;
    float hidden[H];
    const int32_t positions[] = {0, 1, 2, 3}, one = 1;
    const ald_segment_t whole = {0, 4, -1};
    (void)state;
    fixture_init(&f, 0, "openblas");
    f.params.config.rotation.limit = 3;
    snprintf(f.params.config.rotation.type, 16, "dynamic");
    const ald_batch_t batch = {4, f.ids, positions, 1, &whole};
    const char *words = "more than 3 tokens, the model's max_position_embeddings; with "
                        "rope_scaling \"dynamic\"";
    expect_failure(ald_forward(&f.model, &batch, &f.arena, NULL, hidden), ALD_STATUS_INPUT, words);
    expect_ok(ald_cache_init(&f.params.config, 8, &cache));
    expect_failure(ald_prefill(&f.model, f.ids, 4, &f.arena, &cache, hidden), ALD_STATUS_INPUT,
                   words);
    expect_ok(ald_prefill(&f.model, f.ids, 2, &f.arena, &cache, hidden));
    expect_ok(ald_decode(&f.model, 1, &one, &caches, &f.arena, hidden));
    expect_failure(ald_decode(&f.model, 1, &one, &caches, &f.arena, hidden), ALD_STATUS_INPUT,
                   words);
    ald_cache_reset(&cache);
    fixture_reset(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(keeping_changes_no_bit),        SCRATCH_TEST(decoding_is_the_forward_pass),
        SCRATCH_TEST(packed_sequences_are_separate), SCRATCH_TEST(vocabulary_step_in_chunks),
        SCRATCH_TEST(recomputing_changes_no_bit),    SCRATCH_TEST(memory_is_what_was_announced),
        SCRATCH_TEST(dynamic_rotation_has_a_limit),
    };
    return RUN_ON_LEVELS(tests);
}
