/* Fault injection: one site of one rank fails at one time, gets a signal, or never returns. Tests
 * see thereby what the other ranks do, in states that no bad input leads to and at moments that
 * can't be aimed at. */
#include "ald/par/fault.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/status.h"

static struct {
    char site[64];
    int time, seen;
    ald_status_t (*run)(void);
} fail;

static ald_status_t fail_here(void)
{
    return ald_status_raise(ALD_STATUS_INTERNAL, "debug.fail: %s, time %d", fail.site, fail.time);
}

static ald_status_t signal_here(void)
{
    raise(SIGTERM);
    return ALD_STATUS_OK;
}

static ald_status_t hang_here(void)
{
    for (bool for_ever = true; for_ever;)
        pause();
    return ALD_STATUS_OK;
}

static const struct {
    const char *name;
    ald_status_t (*run)(void);
} kinds[] = {{"", fail_here}, {"signal", signal_here}, {"hang", hang_here}};

void ald_fail_setup(const char *specification, int rank)
{
    int at, time;
    char kind[8] = "";
    memset(&fail, 0, sizeof fail);
    if (sscanf(specification, "%63[^:]:%d:%d:%7s", fail.site, &at, &time, kind) >= 3 && at == rank)
        fail.time = time;
    fail.run = fail_here;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i)
        if (strcmp(kind, kinds[i].name) == 0)
            fail.run = kinds[i].run;
}

ald_status_t ald_fail_point(const char *site)
{
    if (fail.time == 0 || strcmp(site, fail.site) != 0 || ++fail.seen != fail.time)
        return ALD_STATUS_OK;
    return fail.run();
}
