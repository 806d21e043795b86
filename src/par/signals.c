/* Signals that ask a stage to stop. A handler may only set a flag; the stages look at it once per
 * step, and agree on what it says so that all ranks stop at the same one. */
#include "ald/par/signals.h"

#include <signal.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    (void)number;
    signal_seen = 1;
}

void ald_signals_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool ald_signals_seen(void)
{
    return signal_seen != 0;
}

ald_status_t ald_signals_check(const ald_comm_t *comm, const char *stage)
{
    ald_status_t status = ALD_STATUS_OK;
    if (ald_signals_seen())
        status = ald_status_raise(
            ALD_STATUS_STOPPED,
            "%s: stopped by a signal before its first step; run the same command again", stage);
    return ald_comm_agree(comm, status);
}
