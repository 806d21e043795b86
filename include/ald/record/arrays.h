/* Files of named arrays of floats, each with a checksum. All local. Layer: record. */
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
/* The numbers of each array that are in one of several files, beside the one that joins them. */
typedef struct {
    const char *file; /* without a folder */
    int64_t count;    /* at least 1 */
} ald_array_part_t;
/* Writes a file like the one above whose arrays are those of the parts, one after the other
 * (virtual datasets): the parts needn't be there yet. */
ald_status_t ald_arrays_join(const char *path, const char *const *names, int count,
                             const ald_array_part_t *parts, int parts_count);
/* Bytes of a file of `arrays` arrays with `count` numbers each. Local. */
int64_t ald_arrays_bytes(int arrays, int64_t count);
/* Whether a thread may do so while others read and write HDF5 files, as the library was built. */
bool ald_arrays_take_threads(void);
/* Fills the arrays, with the numbers from `first` on of the `total` that each has in the file.
 * INPUT for one that is missing, damaged, or of another length. */
ald_status_t ald_arrays_read(const char *path, const ald_array_t *arrays, int count, int64_t first,
                             int64_t total);

#endif
