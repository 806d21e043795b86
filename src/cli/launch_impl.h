/* Whether the launcher and this program's MPI have found each other. Private to the command line.
 */
#ifndef ALD_CLI_LAUNCH_IMPL_H
#define ALD_CLI_LAUNCH_IMPL_H

#include "ald/base/status.h"
#include "ald/par/comm.h"

/* Notes how many ranks the launcher says that it has started: before MPI, which sets variables
 * itself, and which ends the process where srun --mpi=none has started several; that is USAGE here.
 * Local. */
ald_status_t ald_launch_note(void);
/* USAGE where that was several, and this rank is alone in its world: N runs of one rank on one
 * output in place of one of N. Local. */
ald_status_t ald_launch_check(const ald_comm_t *world);

#endif
