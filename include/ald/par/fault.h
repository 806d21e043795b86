/* Failures that tests ask for. Layer: par. */
#ifndef ALD_PAR_FAULT_H
#define ALD_PAR_FAULT_H

#include "ald/base/status.h"

/* Takes the value of debug.fail, "SITE:RANK:TIME", the same with ":signal" or ":hang", or "".
 * Local.
 */
void ald_fail_setup(const char *specification, int rank);
/* Raises INTERNAL when debug.fail names this site, this rank, and the number of this call; with
 * "signal" sends this process SIGTERM in place of that, with "hang" doesn't return. Local. */
ald_status_t ald_fail_point(const char *site);

#endif
