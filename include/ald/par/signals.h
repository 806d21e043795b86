/* Signals that ask a stage to stop. Layer: par. */
#ifndef ALD_PAR_SIGNALS_H
#define ALD_PAR_SIGNALS_H

#include <stdbool.h>

/* From now on SIGUSR1 and SIGTERM set a flag, for stages that can be resumed. Without this call
 * they end the process. */
void ald_signals_catch(void);
/* Whether one of them has come. */
bool ald_signals_seen(void);

#endif
