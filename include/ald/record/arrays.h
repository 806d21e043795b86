/* Files of named arrays of floats, each with a checksum. Layer: record. */
#ifndef ALD_RECORD_ARRAYS_H
#define ALD_RECORD_ARRAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"

typedef struct {
    const char *name;
    float *values;
    int64_t count;
} ald_array_t;

/* Writes a new file, which is on the disk then; it has no temporary name, so it belongs into a
 * folder that is published as a whole. */
ald_status_t ald_arrays_write(const char *path, const ald_array_t *arrays, int count);
/* Whether a thread may do so while others read and write HDF5 files, as the library was built. */
bool ald_arrays_take_threads(void);
/* Fills the arrays. INPUT for one that is missing, damaged, or of another length. */
ald_status_t ald_arrays_read(const char *path, const ald_array_t *arrays, int count);

#endif
