/* Plans from numbers alone, held to what the code that they plan for does. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/model_config.h"
#include "ald/plan/cost.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/shard/format.h"
#include "ald/shard/weigh.h"
#include "ald/train/order.h"

enum { ROWS = 97 };

/* Lengths that no order and no batch size makes alike. */
static ald_item_t item_of(const void *context, int64_t row)
{
    uint32_t random[4];
    (void)context;
    ald_philox(5, (uint64_t)row, 0, random);
    return (ald_item_t){.prompt_count = 1 + random[0] % 40,
                        .responses = 2,
                        .response_count = {1 + random[1] % 90, 1 + random[2] % 90}};
}

/* The largest micro-batches of a step's rows, as training cuts them. */
static void raise_to(const int64_t *items, int64_t count, int64_t limit, int64_t *T, int64_t *R)
{
    int64_t tokens[ROWS], start[ROWS + 1];
    for (int64_t i = 0; i < count; ++i) {
        const ald_item_t item = item_of(NULL, items[i]);
        tokens[i] = ald_item_tokens(&item);
    }
    const int64_t micros = ald_micro_split(tokens, count, limit, start);
    for (int64_t m = 0; m < micros; ++m) {
        int64_t rows = 0, positions = 0;
        for (int64_t i = start[m]; i < start[m + 1]; ++i) {
            const ald_item_t item = item_of(NULL, items[i]);
            rows += tokens[i];
            positions += item.response_count[0] + item.response_count[1];
        }
        *T = rows > *T ? rows : *T;
        *R = positions > *R ? positions : *R;
    }
}

static void largest_micro_batches_are_those_of_training(void **state)
{
    (void)state;
    const int64_t limits[] = {1, 150, 219, 800, 100000}, batches[] = {1, 7, 32, ROWS, 200};
    for (int k = 0; k < 25; ++k) {
        ald_config_t config = {.seed = 11};
        ald_micro_most_t most;
        int64_t order[ROWS], items[200], T = 0, R = 0;
        config.optimizer.batch_size = batches[k / 5];
        config.optimizer.micro_batch_tokens = limits[k % 5];
        for (int64_t step = 0; step < 9; ++step)
            raise_to(items, ald_step_items(&config, ROWS, step, order, items), limits[k % 5], &T,
                     &R);
        assert_int_equal(ald_micro_most_rows(&config, 9, ROWS, item_of, NULL, &most),
                         ALD_STATUS_OK);
        assert_int_equal(most.T, T);
        assert_int_equal(most.R, R);
        assert_true(T > 0 && R > 0);
    }
}

/* A model that is nowhere loaded: 1.5 billion parameters on 1 and on 16 ranks. */
static void training_is_planned_without_a_model(void **state)
{
    (void)state;
    const ald_model_config_t shape = {.hidden_size = 1536,
                                      .intermediate_size = 8960,
                                      .layers = 28,
                                      .heads = 12,
                                      .kv_heads = 2,
                                      .head_dim = 128,
                                      .vocab_size = 151936};
    ald_config_t config = {.seed = 1, .runtime.max_shard_size = "5GB"};
    ald_memory_plan_t plain, checkpointed, spread;
    ald_training_plan_t training = {.config = &config,
                                    .shape = &shape,
                                    .parameters = 1543714304,
                                    .steps = 100,
                                    .trainers = 1,
                                    .gradients = 1000000000,
                                    .most = {.T = 4096, .R = 2048}};
    ald_memory_begin("plan", &plain);
    ald_memory_add_training(&plain, &training, 2);
    assert_true(plain.to_come > 4096.0 * 28 * 1536 * sizeof(float) + 1e9);
    assert_non_null(strstr(plain.text, "activations of 4096 tokens"));
    assert_null(strstr(plain.text, "checkpoints"));
    config.checkpoint.every_steps = 10;
    ald_memory_begin("plan", &checkpointed);
    ald_memory_add_training(&checkpointed, &training, 2);
    /* A checkpoint is written from a copy of weights and both moments. */
    assert_true(fabs(checkpointed.to_come - plain.to_come - (12.0 * 1543714304)) < 1.0);
    /* Of 16 trainers, root writes one of two files of weights, and has its share of the moments. */
    training.trainers = 16;
    ald_memory_begin("plan", &spread);
    ald_memory_add_training(&spread, &training, 2);
    assert_true(fabs(spread.to_come - plain.to_come - (2.5 * 1543714304)) < 1.0);
    assert_true(fabs(ald_memory_trained(1543714304, 1) - (20.0 * 1543714304)) < 1.0);
    assert_true(fabs(ald_memory_trained(1543714304, 16) - (12.5 * 1543714304)) < 1.0);
}

/* Rates of a machine on which a response takes much, but no more for 16 at once than for one. */
static ald_rates_t slow_sampling(void)
{
    return (ald_rates_t){.train = 1e-3,
                         .micro = 0.01,
                         .update = 0.01,
                         .score = 1e-3,
                         .prefill = 1e-4,
                         .decode = {0.1, 0.1, 0.1, 0.3}};
}

static ald_step_work_t some_step(void)
{
    return (ald_step_work_t){.items = 64,
                             .prompt = 50.0,
                             .response = 50.0,
                             .tokens = 6336.0,
                             .positions = 3200.0,
                             .micros = 16.0,
                             .blocks = 16,
                             .parameters = 1e6};
}

static double seconds_of(const ald_rates_t *rates, const ald_step_work_t *step, int t, int s, int g)
{
    return fmax(ald_cost_train(rates, step, t),
                fmax(ald_cost_score(rates, step, s), ald_cost_generate(rates, step, g)));
}

/* No split of the three kinds is better, and one that can't be had isn't proposed. */
static void a_split_takes_least(void **state)
{
    (void)state;
    const ald_rates_t rates = slow_sampling();
    const ald_step_work_t step = some_step();
    const ald_split_t one = ald_plan_split(&rates, &step, 1, 1);
    assert_int_equal(one.trainers + one.scorers + one.generators, 0);
    for (int ranks = 3; ranks <= 12; ++ranks) {
        const ald_split_t best = ald_plan_split(&rates, &step, ranks, 1);
        for (int t = 1; t < ranks - 1; ++t)
            for (int s = 1; s < ranks - t; ++s)
                assert_true(best.seconds <=
                            seconds_of(&rates, &step, t, s, ranks - t - s) * (1.0 + 1e-12));
        assert_true(best.trainers + best.scorers + best.generators <= ranks);
        assert_true(best.seconds > 0.0 && isfinite(best.seconds));
    }
    /* Sampling is cheaper for 16 at once: four generators, and others beside them. */
    const ald_split_t beside = ald_plan_split(&rates, &step, 12, 1);
    assert_true(beside.trainers > 0);
    assert_true(beside.seconds < ald_plan_split(&rates, &step, 12, 0).seconds);
}

/* Decoding costs lie between the points that were measured, and beyond the last one stay. */
static void decoding_is_interpolated(void **state)
{
    (void)state;
    const ald_rates_t rates = {.decode = {1.0, 2.0, 6.0, 22.0}};
    const double count[] = {0.5, 1.0, 2.5, 4.0, 10.0, 16.0, 32.0, 48.0, 100.0};
    const double seconds[] = {1.0, 1.0, 1.5, 2.0, 4.0, 6.0, 14.0, 22.0, 22.0};
    for (int i = 0; i < 9; ++i)
        assert_true(fabs(ald_cost_decode(&rates, count[i]) - seconds[i]) < 1e-12);
}

/* The arithmetic of a shard's size, against shards that are written. */
static void shards_weigh_what_is_said(void **state)
{
    (void)state;
    const int64_t sizes[] = {4, 60, 500};
    for (int e = 0; e < ALD_ENCODING_COUNT; ++e)
        for (int k = 0; k < 3; ++k) {
            ald_shard_header_t header = {.encoding = (ald_encoding_t)e,
                                         .vocab_size = 700,
                                         .hidden_size = 512,
                                         .policy_step = -1,
                                         .config = ""};
            const ald_shard_content_t content = {.sequences = sizes[k],
                                                 .tokens = 90 * sizes[k],
                                                 .positions = 40 * sizes[k],
                                                 .text_bytes = 300 * sizes[k]};
            char path[64];
            double bytes = 0.0;
            header.top_k = ald_encoding_has_k(header.encoding) ? 64 : 0;
            ald_shard_choose_form(ALD_FULL_DTYPE_F32, &header);
            snprintf(path, sizeof path, "/tmp/test_plan-%ld.h5", (long)getpid());
            assert_int_equal(ald_shard_trial(path, &header, &content, &bytes), ALD_STATUS_OK);
            const double said = ald_shard_bytes(&header, &content);
            assert_true(fabs(said - bytes) < 0.02 * bytes + 8.0 * 262144.0);
            assert_true(bytes > (double)(content.positions * ald_shard_position_bytes(&header)) *
                                    (k == 0 ? 0.4 : 0.5)); /* halves are floats in memory */
            remove(path);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_micro_batches_are_those_of_training),
        cmocka_unit_test(training_is_planned_without_a_model),
        cmocka_unit_test(a_split_takes_least),
        cmocka_unit_test(decoding_is_interpolated),
        cmocka_unit_test(shards_weigh_what_is_said),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
