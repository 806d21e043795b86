/* The memory domain of a set of CPUs, by folders as the system's: one domain, several, those without
 * CPUs, numbers with gaps, no folder at all. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/status.h"
#include "ald/par/domain.h"
#include "scratch.h"

static void make_node(void **state, int node, const char *cpus)
{
    char name[64];
    snprintf(name, sizeof name, "node%d", node);
    assert_int_equal(ald_dir_make(scratch_path(state, name)), ALD_STATUS_OK);
    snprintf(name, sizeof name, "node%d/cpulist", node);
    assert_int_equal(ald_file_write(scratch_path(state, name), cpus, strlen(cpus)), ALD_STATUS_OK);
}

static ald_domain_t find(void **state, const char *online, int count, const int *cpus)
{
    cpu_set_t set;
    ald_domain_t out;
    CPU_ZERO(&set);
    for (int i = 0; i < count; ++i)
        CPU_SET(cpus[i], &set);
    assert_int_equal(ald_file_write(scratch_path(state, "online"), online, strlen(online)),
                     ALD_STATUS_OK);
    ald_domain_find(*state, &set, &out);
    return out;
}

static void one_domain(void **state)
{
    make_node(state, 0, "0-7\n");
    const ald_domain_t found = find(state, "0\n", 2, (int[]){1, 6});
    assert_int_equal(found.count, 1);
    assert_int_equal(found.own, 0);
    assert_false(found.several);
    assert_int_equal(CPU_COUNT(&found.cpus), 2);
}

static void two_domains(void **state)
{
    make_node(state, 0, "0-3,8-11\n");
    make_node(state, 1, "4-7,12-15\n");
    ald_domain_t found = find(state, "0-1\n", 3, (int[]){4, 7, 15});
    assert_int_equal(found.count, 2);
    assert_int_equal(found.own, 1);
    assert_false(found.several);
    assert_int_equal(CPU_COUNT(&found.cpus), 3);
    found = find(state, "0-1\n", 2, (int[]){8, 11});
    assert_int_equal(found.own, 0);
    assert_false(found.several);
}

/* CPUs of several domains are of the first, and only those there are its CPUs. */
static void cpus_of_several(void **state)
{
    make_node(state, 0, "0,1\n");
    make_node(state, 1, "2,3\n");
    make_node(state, 2, "4,5\n");
    const ald_domain_t found = find(state, "0-2\n", 3, (int[]){2, 4, 5});
    assert_int_equal(found.count, 3);
    assert_int_equal(found.own, 1);
    assert_true(found.several);
    assert_int_equal(CPU_COUNT(&found.cpus), 1);
    assert_true(CPU_ISSET(2, &found.cpus));
}

/* Numbers may have gaps; a domain of memory alone counts for nothing, nor does one that is offline. */
static void gaps_and_memory_alone(void **state)
{
    make_node(state, 0, "0-1\n");
    make_node(state, 1, "9\n");
    make_node(state, 2, "\n");
    make_node(state, 5, "2-3\n");
    const ald_domain_t found = find(state, "0,2,5\n", 1, (int[]){3});
    assert_int_equal(found.count, 2);
    assert_int_equal(found.own, 1);
}

static void no_folder(void **state)
{
    cpu_set_t set;
    ald_domain_t found;
    CPU_ZERO(&set);
    CPU_SET(3, &set);
    ald_domain_find(scratch_path(state, "gone"), &set, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.own, 0);
    assert_true(CPU_EQUAL(&set, &found.cpus));
}

/* What this machine says of itself can be read. */
static void this_machine(void **state)
{
    cpu_set_t set;
    ald_domain_t found;
    (void)state;
    CPU_ZERO(&set);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    ald_domain_find("/sys/devices/system/node", &set, &found);
    assert_true(found.count >= 1 && found.own < found.count && CPU_COUNT(&found.cpus) > 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_domain), CASE(two_domains),  CASE(cpus_of_several), CASE(gaps_and_memory_alone),
        CASE(no_folder),  CASE(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
