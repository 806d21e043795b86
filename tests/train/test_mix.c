/* Unit tests of the order in which sources are drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/shard/mix.h"
#include "ald/train/order.h"

enum { STEPS = 400 };

/* Also for batches that don't divide the epoch, and larger than it. */
static void one_source_is_the_order_of_a_stage(void **state)
{
    (void)state;
    const int64_t start[2] = {0, 23}, batches[] = {1, 5, 23, 40};
    int64_t order[23], items[40];
    for (int b = 0; b < 4; ++b) {
        ald_config_t config = {.seed = 7};
        ald_mix_t mix;
        config.optimizer.batch_size = batches[b];
        assert_int_equal(ald_mix_init(start, NULL, 1, 7, batches[b], &mix), ALD_STATUS_OK);
        assert_int_equal(ald_mix_epoch_steps(&mix), ald_epoch_steps(&config, 23));
        for (int64_t step = 0; step < 60; ++step) {
            int64_t count = ald_step_items(&config, 23, step, order, items);
            assert_int_equal(ald_mix_draw(&mix, step), count);
            assert_memory_equal(mix.items, items, sizeof *items * (size_t)count);
        }
        ald_mix_reset(&mix);
    }
    assert_int_equal(ald_memory_blocks(), 0);
}

/* Every step within one of the weights, all steps together within 1%, and no sequence of a source a
 * second time before all of it. */
static void counts_follow_the_weights(void **state)
{
    (void)state;
    const int64_t start[4] = {0, 5, 45, 60};
    const double weights[3] = {6.0, 3.0, 1.0}, share[3] = {0.6, 0.3, 0.1};
    ald_mix_t mix;
    int64_t seen[60] = {0}, sums[3] = {0}, total = 0;
    assert_int_equal(ald_mix_init(start, weights, 3, 1, 8, &mix), ALD_STATUS_OK);
    for (int64_t step = 0; step < STEPS; ++step) {
        int64_t count = ald_mix_draw(&mix, step), here[3] = {0};
        assert_int_equal(count, step % 8 == 7 ? 4 : 8);
        for (int64_t i = 0; i < count; ++i) {
            int k = mix.items[i] < 5 ? 0 : mix.items[i] < 45 ? 1 : 2;
            assert_in_range(mix.items[i], 0, 59);
            ++here[k];
            ++seen[mix.items[i]];
        }
        for (int k = 0; k < 3; ++k) {
            assert_true((double)here[k] > share[k] * (double)count - 1.0 &&
                        (double)here[k] < share[k] * (double)count + 1.0);
            sums[k] += here[k];
        }
        total += count;
        for (int k = 0; k < 3; ++k)
            for (int64_t i = start[k]; i < start[k + 1]; ++i)
                assert_in_range(seen[i], sums[k] / (start[k + 1] - start[k]),
                                (sums[k] - 1) / (start[k + 1] - start[k]) + 1);
    }
    for (int k = 0; k < 3; ++k)
        assert_true((double)sums[k] > (share[k] - 0.01) * (double)total &&
                    (double)sums[k] < (share[k] + 0.01) * (double)total);
    ald_mix_reset(&mix);
}

/* A resumed run, one that goes back, and one that takes every step draw the same. */
static void a_step_depends_on_its_number_alone(void **state)
{
    (void)state;
    const int64_t start[3] = {0, 7, 20};
    const double weights[2] = {1.0, 1.5};
    int64_t items[30][6], counts[30];
    ald_mix_t mix, other;
    assert_int_equal(ald_mix_init(start, weights, 2, 3, 6, &mix), ALD_STATUS_OK);
    assert_int_equal(ald_mix_init(start, weights, 2, 3, 6, &other), ALD_STATUS_OK);
    for (int64_t step = 0; step < 30; ++step) {
        counts[step] = ald_mix_draw(&mix, step);
        memcpy(items[step], mix.items, sizeof *mix.items * (size_t)counts[step]);
    }
    const int64_t jumps[] = {17, 4, 4, 29, 0};
    for (int i = 0; i < 5; ++i) {
        assert_int_equal(ald_mix_draw(&other, jumps[i]), counts[jumps[i]]);
        assert_memory_equal(other.items, items[jumps[i]],
                            sizeof *mix.items * (size_t)counts[jumps[i]]);
    }
    ald_mix_reset(&mix);
    ald_mix_reset(&other);
    assert_int_equal(ald_memory_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_source_is_the_order_of_a_stage),
        cmocka_unit_test(counts_follow_the_weights),
        cmocka_unit_test(a_step_depends_on_its_number_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
