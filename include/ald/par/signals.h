/* Signals that ask a stage to stop. Layer: par. */
#ifndef ALD_PAR_SIGNALS_H
#define ALD_PAR_SIGNALS_H

#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

/* From now on SIGUSR1, SIGUSR2, SIGTERM and a first SIGINT set a flag, for stages that can be
 * resumed. Without this call they end the process, as a second SIGINT does. A SIGINT that is
 * ignored stays so. */
void ald_signals_catch(void);
/* Whether this process says in a line what a first SIGINT does; none does before the call. */
void ald_signals_speak(bool here);
/* Whether one of them has come. */
bool ald_signals_seen(void);
/* STOPPED on all ranks when one has come to any of them, before the first step of `stage`.
 * Collective. */
ald_status_t ald_signals_check(const ald_comm_t *comm, const char *stage);

#endif
