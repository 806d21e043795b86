/* Signals that ask a stage to stop. Layer: par. */
#ifndef ALD_PAR_SIGNALS_H
#define ALD_PAR_SIGNALS_H

#include <stdbool.h>

/* SIGUSR1 and SIGTERM set a flag from now on, for stages that can go on later; without this they
 * end the process. */
void ald_signals_catch(void);
bool ald_signals_seen(void);

#endif
