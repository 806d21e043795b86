/* Signals that ask a stage to stop. A handler may only set a flag; the stages look at it once per
 * step, and agree on what it says so that all ranks stop at the same one. */
#include "ald/par/signals.h"

#include <signal.h>
#include <unistd.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

static volatile sig_atomic_t signal_seen, speaks;

static void on_signal(int number)
{
    (void)number;
    signal_seen = 1;
}

/* By a call that a handler may make. */
static void on_interrupt(int number)
{
    static const char line[] =
        "aligndistil: stops after the step at hand; a second SIGINT ends it at once\n";
    on_signal(number);
    if (speaks && write(STDERR_FILENO, line, sizeof line - 1) < 0)
        speaks = 0;
}

void ald_signals_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A shell has its jobs in the background ignore SIGINT, which is for the one in front. */
    sigaction(SIGINT, NULL, &before);
    action.sa_handler = on_interrupt;
    action.sa_flags |= (int)SA_RESETHAND; /* the next one ends the process */
    if (before.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

void ald_signals_speak(bool here)
{
    speaks = here;
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
