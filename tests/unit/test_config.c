/* Unit tests of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"

static char folder[] = "/tmp/ald-config-XXXXXX";
static char file[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(file, sizeof file, "%s/run.cfg", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return ald_dir_remove(folder) != ALD_STATUS_OK;
}

static ald_status_t load(const char *text, const char *setting, ald_config_t *out)
{
    assert_int_equal(ald_file_write(file, text, strlen(text)), ALD_STATUS_OK);
    return ald_config_load(file, &setting, setting != NULL, out);
}

/* The load fails as USAGE with exactly this message; %F in it stands for the file. */
static void fails(const char *text, const char *setting, const char *expected)
{
    ald_config_t config;
    char message[1024] = "";
    if (expected[0] == '%')
        snprintf(message, sizeof message, "%s%s", file, expected + 2);
    else
        snprintf(message, sizeof message, "%s", expected);
    assert_int_equal(load(text, setting, &config), ALD_STATUS_USAGE);
    assert_string_equal(ald_status_message(), message);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void defaults_are_valid(void **state)
{
    (void)state;
    ald_config_t config;
    assert_int_equal(ald_config_load(NULL, NULL, 0, &config), ALD_STATUS_OK);
    assert_int_equal(config.seed, 1);
    assert_string_equal(config.output, "runs");
    assert_string_equal(config.sft.output, "runs/sft");
    assert_string_equal(config.data.train, "");
    assert_true(config.optimizer.betas[0] == 0.9 && config.optimizer.betas[1] == 0.95);
    assert_true(config.distill.length_normalize);
    ald_config_reset(&config);
    ald_config_reset(&config);
    assert_int_equal(ald_memory_blocks(), 0);
}

/* From the file and from --set, printed, and read again. */
static void sources_are_a_list(void **state)
{
    (void)state;
    ald_config_t config;
    char *text = NULL, *again = NULL;
    const char *list =
        "output = \"/o\";\nshards: { sources = ( { directory = \"a\"; weight = 2; }, "
        "{ directory = \"/b\"; } ); };\n";
    for (int i = 0; i < 2; ++i) {
        assert_int_equal(load(i == 0 ? list : "output = \"/o\";",
                              i == 0 ? NULL : "shards.sources=a:2,/b", &config),
                         ALD_STATUS_OK);
        assert_int_equal(config.shards.sources.count, 2);
        assert_string_equal(config.shards.sources.directory[0], "/o/a");
        assert_string_equal(config.shards.sources.directory[1], "/b");
        assert_true(config.shards.sources.weight[0] == 2.0 &&
                    config.shards.sources.weight[1] == 1.0);
        assert_int_equal(ald_config_print(&config, &text), ALD_STATUS_OK);
        ald_config_reset(&config);
        assert_int_equal(load(text, NULL, &config), ALD_STATUS_OK);
        assert_int_equal(ald_config_print(&config, &again), ALD_STATUS_OK);
        assert_string_equal(text, again);
        ald_config_reset(&config);
        ald_free(text);
        ald_free(again);
    }
    assert_int_equal(load(list, "shards.sources=", &config), ALD_STATUS_OK);
    assert_int_equal(config.shards.sources.count, 0);
    ald_config_reset(&config);
    fails(list, "shards.sources=a:-1",
          "--set: shards.sources: the weight of a is -1; expected above 0, to 1e+09");
    assert_int_equal(ald_memory_blocks(), 0);
}

static void values_and_paths_are_read(void **state)
{
    (void)state;
    ald_config_t config;
    char expected[128];
    assert_int_equal(load("seed = 5000000000L;\noutput = \"out\";\n"
                          "data: { train = \"a.jsonl\"; eval = \"/b.jsonl\"; };\n"
                          "optimizer = { lr = 1; betas = (0, 0.5); max_steps = 7; };\n"
                          "distill: { length_normalize = false; };\n",
                          "teacher.dpo=x y", &config),
                     ALD_STATUS_OK);
    assert_int_equal(config.seed, 5000000000);
    assert_true(config.optimizer.lr == 1.0 && config.optimizer.betas[1] == 0.5);
    assert_int_equal(config.optimizer.max_steps, 7);
    assert_false(config.distill.length_normalize);
    snprintf(expected, sizeof expected, "%s/a.jsonl", folder);
    assert_string_equal(config.data.train, expected);
    assert_string_equal(config.data.eval, "/b.jsonl");
    snprintf(expected, sizeof expected, "%s/out/shards", folder);
    assert_string_equal(config.shards.directory, expected);
    snprintf(expected, sizeof expected, "%s/x y", folder);
    assert_string_equal(config.teacher.dpo, expected);
    ald_config_reset(&config);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void settings_override_by_type(void **state)
{
    (void)state;
    const char *settings[] = {"seed=3",
                              "dpo.reverse=true",
                              "optimizer.lr=2e-5",
                              "debug.fail=a:1:2",
                              "data.responses=\"both\"",
                              "output=\"/o \\\"q\"",
                              "optimizer.betas=[0.8, 0.9]"};
    ald_config_t config;
    assert_int_equal(ald_config_load(NULL, settings, 7, &config), ALD_STATUS_OK);
    assert_int_equal(config.seed, 3);
    assert_true(config.dpo.reverse && config.optimizer.lr == 2e-5);
    assert_string_equal(config.debug.fail, "a:1:2");
    assert_int_equal(config.data.responses, ALD_RESPONSES_BOTH);
    assert_string_equal(config.output, "/o \"q");
    assert_true(config.optimizer.betas[0] == 0.8 && config.optimizer.betas[1] == 0.9);
    ald_config_reset(&config);
}

static void errors_name_place_and_expectation(void **state)
{
    (void)state;
    fails("data: {\n  trian = \"x\";\n};", NULL,
          "%F:2: data.trian: unknown key; did you mean data.train?");
    fails("dta: { train = \"x\"; };", NULL, "%F:1: dta: unknown group; did you mean data?");
    fails("data: { lr = 1.0; };", NULL, "%F:1: data.lr: unknown key; did you mean optimizer.lr?");
    fails("seed = 1;\noutput = ;", NULL, "%F:2: syntax error");
    fails("seed = \"1\";", NULL, "%F:1: seed: expected an integer, found a string");
    fails("seed = 1.5;", NULL, "%F:1: seed: expected an integer, found a number");
    fails("seed: { a = 1; };", NULL, "%F:1: seed: expected an integer, found a group");
    fails("data = 3;", NULL, "%F:1: data: expected a group, data: { ... }; found an integer");
    fails("data: { train = 1; };", NULL,
          "%F:1: data.train: expected a path in quotes, found an integer");
    fails("optimizer: { betas = [0.9]; };", NULL,
          "%F:1: optimizer.betas: expected two numbers, [a, b], found a list");
    fails("optimizer: {\n batch_size = 0; };", NULL,
          "%F:2: optimizer.batch_size: 0 is out of range; expected 1 to 1000000000");
    fails("dpo: { reverse = 1; };", NULL,
          "%F:1: dpo.reverse: expected true or false, found an integer");
    fails("distill: { mode = \"on\"; };", NULL,
          "%F:1: distill.mode: \"on\" is not a choice; expected one of "
          "on-policy|off-policy|mixed");
}

static void settings_errors_name_the_key(void **state)
{
    (void)state;
    fails("", "data.trian=x", "--set: data.trian: unknown key; did you mean data.train?");
    fails("", "data=x", "--set: data: is a group; expected one of its keys");
    fails("", "seed", "--set seed: expected path=value");
    fails("", "seed=1x", "--set: seed: expected an integer, found \"1x\"");
    fails("", "optimizer.lr=nan", "--set: optimizer.lr: nan is out of range; expected 0 to 1000");
    fails("", "dpo.reverse=yes", "--set: dpo.reverse: expected true or false, found \"yes\"");
    fails("", "output=\"a", "--set: output: expected a path in quotes, found \"\"a\"");
}

/* Numbers that something is divided by, or that a float loses. */
static void ranges_leave_out_what_divides_by_zero(void **state)
{
    static const char *const refused[] = {
        "sampling.temperature=1e-39",
        "sampling.temperature=-1",
        "teacher.temperature=1e-39",
        "teacher.temperature=0",
        "optimizer.betas=[1, 0.9]",
        "optimizer.betas=[0.9, 1]",
        "optimizer.betas=[0.9, 0.99999999]",
        "optimizer.epsilon=0",
        "optimizer.epsilon=1e-45",
        "optimizer.max_grad_norm=1e-300",
        "teacher.epsilon=0",
        "teacher.beta=0",
        "dpo.beta=0",
        "sampling.top_p=-0.1",
        "teacher.beta=inf",
    };
    static const char *const taken[] = {
        "sampling.temperature=0",    "sampling.temperature=1e-6", "optimizer.betas=[0, 0.999999]",
        "optimizer.max_grad_norm=0", "teacher.beta=1e-11",        "optimizer.epsilon=1e-20",
        "sampling.top_p=0",          "teacher.strength=0",        "optimizer.lr=0",
    };
    (void)state;
    ald_config_t config;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
        char key[64];
        snprintf(key, sizeof key, "%.*s: ", (int)strcspn(refused[i], "="), refused[i]);
        assert_int_equal(load("", refused[i], &config), ALD_STATUS_USAGE);
        assert_non_null(strstr(ald_status_message(), key));
        assert_non_null(strstr(ald_status_message(), "is out of range; expected "));
    }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; ++i) {
        assert_int_equal(load("", taken[i], &config), ALD_STATUS_OK);
        ald_config_reset(&config);
    }
    fails("", "sampling.temperature=1e-39",
          "--set: sampling.temperature: 1e-39 is out of range; expected 0, or 1e-06 to 1000");
}

static void sizes_have_units(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {{"5GB", 5000000000},
                 {"500MB", 500000000},
                 {"1KB", 1000},
                 {"2TB", 2000000000000},
                 {"1KiB", 1024},
                 {"3MiB", 3145728},
                 {"1.5GiB", 1610612736},
                 {"7 KB", 7000},
                 {"", -1},
                 {"5", -1},
                 {"GB", -1},
                 {"0KB", -1},
                 {"-1GB", -1},
                 {"5gb", -1},
                 {"5 G B", -1},
                 {"5PB", -1},
                 {"inf GB", -1},
                 {"1e300GB", -1},
                 {"5GB ", -1},
                 {"0.0001KB", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
        assert_int_equal(ald_config_bytes(sizes[i].text), sizes[i].bytes);
    fails(
        "", "runtime.max_shard_size=5 bytes",
        "--set: runtime.max_shard_size: \"5 bytes\" is not a size; expected a number with KB, MB, "
        "GB, TB (thousands of bytes) or KiB, MiB, GiB (1024), as in \"5GB\"");
    fails("runtime: { max_shard_size = 5000; };", NULL,
          "%F:1: runtime.max_shard_size: expected a size in quotes, found an integer");
}

static void missing_files_are_usage_errors(void **state)
{
    (void)state;
    ald_config_t config;
    assert_int_equal(ald_config_load("/nonexistent/x.cfg", NULL, 0, &config), ALD_STATUS_USAGE);
    assert_non_null(strstr(ald_status_message(), "/nonexistent/x.cfg"));
    assert_int_equal(ald_config_load(folder, NULL, 0, &config), ALD_STATUS_USAGE);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void included_files_are_checked_too(void **state)
{
    (void)state;
    ald_config_t config;
    char other[64];
    snprintf(other, sizeof other, "%s/more.cfg", folder);
    assert_int_equal(ald_file_write(other, "\nsede = 4;\n", 11), ALD_STATUS_OK);
    assert_int_equal(load("output = \"o\";\n@include \"more.cfg\"\n", NULL, &config),
                     ALD_STATUS_USAGE);
    assert_non_null(
        strstr(ald_status_message(), "more.cfg:2: sede: unknown key; did you mean seed?"));
    assert_int_equal(ald_file_write(other, "seed = 4;\n", 10), ALD_STATUS_OK);
    assert_int_equal(load("@include \"more.cfg\"\n", NULL, &config), ALD_STATUS_OK);
    assert_int_equal(config.seed, 4);
    ald_config_reset(&config);
}

static void printed_configuration_reads_back(void **state)
{
    (void)state;
    ald_config_t config, again;
    char *text = NULL, *second = NULL;
    assert_int_equal(load("seed = 9000000000000L; output = \"/o \\\"\\\\\";\n"
                          "optimizer: { lr = 0.30000000000000004; };"
                          "distill: { guard = { max_kl = 0.25; action = \"stop\"; }; };",
                          NULL, &config),
                     ALD_STATUS_OK);
    assert_int_equal(ald_config_print(&config, &text), ALD_STATUS_OK);
    assert_int_equal(load(text, NULL, &again), ALD_STATUS_OK);
    assert_true(again.optimizer.lr == 0.30000000000000004);
    assert_true(again.distill.guard.max_kl == 0.25);
    assert_int_equal(again.distill.guard.action, ALD_GUARD_STOP);
    assert_int_equal(again.seed, 9000000000000);
    assert_int_equal(ald_config_print(&again, &second), ALD_STATUS_OK);
    assert_string_equal(text, second);
    ald_free(text);
    ald_free(second);
    ald_config_reset(&config);
    ald_config_reset(&again);
    assert_int_equal(ald_config_describe("dpo", &text), ALD_STATUS_OK);
    assert_non_null(strstr(text, "dpo.label_smoothing"));
    assert_null(strstr(text, "teacher.dpo"));
    ald_free(text);
    assert_int_equal(ald_memory_blocks(), 0);
}

/* What content depends on says nothing of faults, and of products only when a test has set them. */
static void content_names_the_products_of_a_test(void **state)
{
    (void)state;
    const char *const group = "debug.";
    for (int set = 0; set < 2; ++set) {
        const char *settings[] = {"debug.fail=a:1:2", "debug.product=perturbed"};
        ald_config_t config;
        char *text = NULL;
        ald_json_t *json = ald_json_new_object();
        assert_int_equal(ald_config_load(NULL, settings, 1 + set, &config), ALD_STATUS_OK);
        assert_int_equal(ald_config_print_content(&config, &text), ALD_STATUS_OK);
        assert_null(strstr(text, "fail"));
        assert_int_equal(strstr(text, "product = \"perturbed\"") != NULL, set);
        assert_int_equal(strstr(text, "debug") != NULL, set);
        assert_int_equal(ald_config_settings(&config, &group, 1, json), ALD_STATUS_OK);
        assert_int_equal(ald_json_get(json, "debug.product") != NULL, set);
        assert_null(ald_json_get(json, "debug.fail"));
        ald_json_free(json);
        ald_free(text);
        ald_config_reset(&config);
    }
    assert_int_equal(ald_memory_blocks(), 0);
}

/* A configuration of another version: what this one knows is taken. */
static void texts_of_other_versions_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error; /* NULL: none */
    } cases[] = {
        {"teacher: { strength = 3; gone = \"x\"; };\nnew: { a: { b = ( { c = 1; } ); }; };", NULL},
        {"teacher: { strength = 3.0; extrapolation = \"quadratic\"; beta = -1; };\nseed = true;",
         NULL},
        {"teacher: { strength = 3; };\ndata = 5;\nshards: { sources = 1; keep = { }; };", NULL},
        {"# @include\nteacher: { strength = 3; dpo = \"a @include\"; };", NULL},
        {"teacher: {\n strength = ; };", "NAME:2: syntax error"},
        {"seed = 1; seed = 2;", "NAME:1: duplicate setting name"},
        {"\n\n \t@include \"/etc/hostname\"\n",
         "NAME: expected a configuration on its own, found @include"},
        {"@include \"/\"", "NAME: expected a configuration on its own, found @include"},
    };
    ald_config_t config, standard;
    assert_int_equal(ald_config_load_text("", "NAME", &standard), ALD_STATUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        ald_status_t status = ald_config_load_text(cases[i].text, "NAME", &config);
        assert_int_equal(status, cases[i].error == NULL ? ALD_STATUS_OK : ALD_STATUS_INPUT);
        if (status != ALD_STATUS_OK) {
            assert_string_equal(ald_status_message(), cases[i].error);
            continue;
        }
        assert_true(config.teacher.strength == 3.0 && config.teacher.beta == standard.teacher.beta);
        assert_int_equal(config.teacher.extrapolation, standard.teacher.extrapolation);
        assert_int_equal(config.shards.keep, standard.shards.keep);
        assert_int_equal(config.seed, standard.seed);
        ald_config_reset(&config);
    }
    ald_config_reset(&standard);
    assert_int_equal(ald_memory_blocks(), 0);
}

/* Printed and read again: the same, paths as they were printed, whatever is in them. */
static void printed_texts_are_read(void **state)
{
    (void)state;
    ald_config_t config;
    char *text = NULL, *again = NULL;
    assert_int_equal(load("output = \"o\"; seed = 9000000000000L;\n"
                          "data: { train = \"teacher: { beta = 9; }\\n@include \\\"x\\\"\"; };"
                          "shards: { sources = ( { directory = \"a\"; weight = 2; } ); };",
                          "optimizer.betas=[0.5, 0.25]", &config),
                     ALD_STATUS_OK);
    assert_int_equal(ald_config_print(&config, &text), ALD_STATUS_OK);
    ald_config_reset(&config);
    assert_int_equal(ald_config_load_text(text, "NAME", &config), ALD_STATUS_OK);
    assert_int_equal(ald_config_print(&config, &again), ALD_STATUS_OK);
    assert_string_equal(text, again);
    ald_free(text);
    ald_free(again);
    ald_config_reset(&config);
    assert_int_equal(ald_memory_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_valid),
        cmocka_unit_test(values_and_paths_are_read),
        cmocka_unit_test(sources_are_a_list),
        cmocka_unit_test(settings_override_by_type),
        cmocka_unit_test(errors_name_place_and_expectation),
        cmocka_unit_test(settings_errors_name_the_key),
        cmocka_unit_test(ranges_leave_out_what_divides_by_zero),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(missing_files_are_usage_errors),
        cmocka_unit_test(included_files_are_checked_too),
        cmocka_unit_test(printed_configuration_reads_back),
        cmocka_unit_test(content_names_the_products_of_a_test),
        cmocka_unit_test(texts_of_other_versions_are_read),
        cmocka_unit_test(printed_texts_are_read),
    };
    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
