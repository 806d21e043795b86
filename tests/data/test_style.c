/* Counts of Markdown against those that Python's regular expressions gave, of the texts below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/status.h"
#include "ald/text/style.h"

/* Texts, and their counts in the order of ald_style_t. */
static const struct {
    const char *text;
    int64_t counts[10];
} cases[] = {
    {"", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"plain", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"# a\n## b\n### c\n#### d\n##### e\n###### f\n####### g\n#x\n",
     {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
    {"# a\015\n #b\n#\n", {2, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"1. a\n 2. b\n10.c\n\n\n3. d\n- x\n  * y\n+ z\n-w\n* \n", {0, 0, 0, 0, 0, 0, 3, 4, 0, 0}},
    {"**a** **b c** ** ** **a\nb** __x__ __y z__ ___", {0, 0, 0, 0, 0, 0, 0, 0, 3, 2}},
    {"```\n# no\n1. no\n```\n# yes\n", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"a```x```xx b x\n# x\n", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"``````\n- a\n```# b\n", {0, 0, 0, 0, 0, 0, 0, 1, 0, 0}},
    {"\331\243. arabic\n\342\200\203- wide\n#\302\240x\n\034- y\n#\037z\n#\341\240\216x\n",
     {2, 0, 0, 0, 0, 0, 1, 2, 0, 0}},
    {"- a\n\n\n- b\n   \n\n1. c", {0, 0, 0, 0, 0, 0, 1, 2, 0, 0}},
    {"* **a**: b\n* __c__\n**d****e**\n", {0, 0, 0, 0, 0, 0, 0, 2, 3, 1}},
    {"```py\nab\n```ab ab```b```", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
};

static void counts_are_pythons(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        ald_style_t style;
        int64_t found[10];
        assert_int_equal(ald_style_count(cases[i].text, strlen(cases[i].text), &style),
                         ALD_STATUS_OK);
        memcpy(found, style.headers, sizeof style.headers);
        found[6] = style.ordered;
        found[7] = style.unordered;
        found[8] = style.stars;
        found[9] = style.underscores;
        for (int k = 0; k < 10; ++k)
            if (found[k] != cases[i].counts[k])
                fail_msg("text %zu, count %d: %lld, expected %lld", i, k, (long long)found[k],
                         (long long)cases[i].counts[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_pythons)};
    return cmocka_run_group_tests_name("style", tests, NULL, NULL);
}
