/* Log-probabilities under dpo's frozen reference, kept beside the run that needed them. Layer:
 * record. */
#ifndef ALD_RECORD_REFERENCE_H
#define ALD_RECORD_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"

/* Writes values[count, 2], the summed log-probabilities of a row's preferred and dispreferred
 * response, atomically. `made_from` names by content everything that they depend on. Local. */
ald_status_t ald_reference_write(const char *path, const char *made_from, const double *values,
                                 int64_t count);
/* Fills values[count, 2] if the file is there and whole, of as many rows and of the same
 * `made_from`. Else returns false, and the caller computes them. Local. */
bool ald_reference_read(const char *path, const char *made_from, double *values, int64_t count);

#endif
