/* metrics.jsonl and metrics.h5, also after a resumed run. */
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "ald/base/file.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "ald/record/metrics.h"
#include "ald/record/metrics_file.h"
#include "scratch.h"

static void append(ald_metrics_file_t *file, int step)
{
    ald_metrics_t metrics;
    ald_metrics_clear(&metrics);
    ald_metrics_set(&metrics, "step", step);
    ald_metrics_set(&metrics, "loss", 1.0 / step);
    ald_metrics_set(&metrics, "tokens", 1e10 + step);
    if (step % 2 == 0)
        ald_metrics_set(&metrics, "rewards/chosen", step);
    ald_metrics_set(&metrics, "grad_norm", step == 3 ? NAN : 2);
    expect_ok(ald_metrics_append(file, &metrics));
}

static void write_steps(void **state, const char *folder, int64_t last, int first, int end)
{
    ald_metrics_file_t *file = NULL;
    expect_ok(ald_metrics_open(scratch_path(state, folder), last, &file));
    for (int step = first; step <= end; ++step)
        append(file, step);
    expect_ok(ald_metrics_flush(file));
    ald_metrics_close(file);
}

static void a_record_keeps_its_order(void **state)
{
    (void)state;
    ald_metrics_t metrics;
    ald_metrics_clear(&metrics);
    ald_metrics_set(&metrics, "b", 1);
    ald_metrics_set(&metrics, "a", 2);
    ald_metrics_set(&metrics, "b", 3);
    assert_int_equal(metrics.count, 2);
    assert_string_equal(metrics.name[0], "b");
    assert_true(ald_metrics_get(&metrics, "b") == 3);
    assert_true(isnan(ald_metrics_get(&metrics, "c")));
}

static void series_hold_every_step(void **state)
{
    double loss[5], chosen[5];
    int64_t tokens[5];
    write_steps(state, "m", 0, 1, 5);
    ald_h5_begin();
    hid_t file = H5Fopen(scratch_path(state, "m/metrics.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, "rewards/chosen", H5P_DEFAULT);
    assert_true(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, chosen) >= 0);
    H5Dclose(dataset);
    dataset = H5Dopen2(file, "tokens", H5P_DEFAULT);
    hid_t type = H5Dget_type(dataset);
    assert_true(H5Tequal(type, H5T_STD_I64LE) > 0);
    assert_true(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, tokens) >= 0);
    H5Tclose(type);
    H5Dclose(dataset);
    dataset = H5Dopen2(file, "loss", H5P_DEFAULT);
    assert_true(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, loss) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    assert_true(isnan(chosen[0]) && chosen[1] == 2 && isnan(chosen[2]) && chosen[3] == 4 &&
                isnan(chosen[4]));
    assert_true(fabs(loss[2] - 1.0 / 3) < 1e-8);
    assert_true(tokens[4] == 10000000005);
}

static void a_resumed_run_leaves_the_same_files(void **state)
{
    static const char *const files[][2] = {{"whole/metrics.jsonl", "cut/metrics.jsonl"},
                                           {"whole/metrics.h5", "cut/metrics.h5"}};
    write_steps(state, "whole", 0, 1, 9);
    write_steps(state, "cut", 0, 1, 6);
    const char *lines = scratch_path(state, "cut/metrics.jsonl");
    expect_ok(ald_file_append(lines, "{\"step\": 7, \"lo", 15)); /* a torn line */
    write_steps(state, "cut", 4, 5, 9);
    for (int i = 0; i < 2; ++i) {
        char a[ALD_SHA256_HEX], b[ALD_SHA256_HEX];
        expect_ok(ald_sha256_file(scratch_path(state, files[i][0]), a));
        expect_ok(ald_sha256_file(scratch_path(state, files[i][1]), b));
        assert_string_equal(a, b);
    }
    write_steps(state, "cut", 0, 1, 1);
    assert_true(ald_file_size(lines) < 100);
}

static void a_broken_line_is_named(void **state)
{
    ald_metrics_file_t *file = NULL;
    static const char text[] = "{\"step\": 1}\n{\"loss\": 2}\n";
    scratch_file(state, "metrics.jsonl", text, sizeof text - 1);
    expect_failure(ald_metrics_open(*state, 5, &file), ALD_STATUS_INPUT,
                   "metrics.jsonl:2: step: expected an integer");
    scratch_file(state, "metrics.jsonl", "{\"step\"\n", 8);
    expect_failure(ald_metrics_open(*state, 5, &file), ALD_STATUS_INPUT, "metrics.jsonl:1");
}

static void a_full_disk_keeps_the_older_file(void **state)
{
    struct rlimit old, small;
    ald_metrics_file_t *file = NULL;
    write_steps(state, "m", 0, 1, 3);
    const int64_t size = ald_file_size(scratch_path(state, "m/metrics.h5"));
    expect_ok(ald_metrics_open(scratch_path(state, "m"), 3, &file));
    append(file, 4);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 2048;
    setrlimit(RLIMIT_FSIZE, &small);
    ald_status_t status = ald_metrics_flush(file);
    setrlimit(RLIMIT_FSIZE, &old);
    expect_failure(status, ALD_STATUS_RESOURCE, "metrics.h5");
    assert_int_equal(ald_file_size(scratch_path(state, "m/metrics.h5")), size);
    expect_ok(ald_metrics_flush(file));
    ald_metrics_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(a_record_keeps_its_order),
        SCRATCH_TEST(series_hold_every_step),
        SCRATCH_TEST(a_resumed_run_leaves_the_same_files),
        SCRATCH_TEST(a_broken_line_is_named),
        SCRATCH_TEST(a_full_disk_keeps_the_older_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
