/* Failures on purpose, for tests. Layer: par. */
#ifndef ALD_PAR_FAULT_H
#define ALD_PAR_FAULT_H

#include "ald/base/status.h"

/* debug.fail = "SITE:RANK:TIME": raises INTERNAL at that call of that site on that rank. Local. */
void ald_fail_setup(const char *specification, int rank);
ald_status_t ald_fail_point(const char *site);

#endif
