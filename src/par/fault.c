/* Fault injection: one site of one rank fails at one time, or gets a signal. Tests see thereby what
 * the other ranks do, in states that no bad input leads to and at moments that can't be aimed at.
 */
#include "ald/par/fault.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/status.h"

static struct {
    char site[64];
    int time, seen;
    bool signal;
} fail;

void ald_fail_setup(const char *specification, int rank)
{
    int at, time;
    char kind[8] = "";
    memset(&fail, 0, sizeof fail);
    if (sscanf(specification, "%63[^:]:%d:%d:%7s", fail.site, &at, &time, kind) >= 3 && at == rank)
        fail.time = time;
    fail.signal = strcmp(kind, "signal") == 0;
}

ald_status_t ald_fail_point(const char *site)
{
    if (fail.time == 0 || strcmp(site, fail.site) != 0 || ++fail.seen != fail.time)
        return ALD_STATUS_OK;
    if (fail.signal) {
        raise(SIGTERM);
        return ALD_STATUS_OK;
    }
    return ald_status_raise(ALD_STATUS_INTERNAL, "debug.fail: %s, time %d", site, fail.time);
}
