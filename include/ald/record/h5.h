/* What all writers and readers of HDF5 files share: starting the library, messages of one line,
 * types, attributes. Layer: record. */
#ifndef ALD_RECORD_H5_H
#define ALD_RECORD_H5_H

#include <hdf5.h>
#include <stdint.h>

#include "ald/base/status.h"

/* Bytes of an open file's metadata that HDF5 may keep; its own limit is 32 MiB. */
enum { ALD_H5_METADATA = 2 << 20 };

/* Turns off HDF5's own printing of errors on this thread, and its exit handler, which crashes after
 * a failed close. To be called before any other call of HDF5; cheap. */
void ald_h5_begin(void);

/* Raises "FILE: WHAT: REASON" from HDF5's error stack, so it must come directly after the failed
 * call. RESOURCE when the disk or memory ran out, else INPUT. `what` is a dataset or an action. */
ald_status_t ald_h5_raise(const char *file, const char *what);

/* Propagates a negative answer of an HDF5 call to `done:` (like ALD_TRY). */
#define ALD_H5(call, file, what)                                                                   \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            status = ald_h5_raise((file), (what));                                                 \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/* Opens a new file, in place of an older one, without object times, or an existing one for reading;
 * neither takes a lock, which network file systems often refuse. Large objects of a new file begin
 * at multiples of `alignment`: of ALD_H5_PAGE at least, as writes of parts of pages take 1.7 times
 * as long. *out is -1 after a failure. */
enum { ALD_H5_PAGE = 4096 }; /* of the system's page cache */
ald_status_t ald_h5_create(const char *path, int64_t alignment, hid_t *out);
ald_status_t ald_h5_open(const char *path, hid_t *out);

/* Property lists without times: for groups, and for datasets with a Fletcher-32 checksum. Closed by
 * the caller (H5Pclose). -1 after a failure. */
hid_t ald_h5_group_properties(void);
hid_t ald_h5_dataset_properties(void);

/* New types, closed by the caller (H5Tclose); -1 after a failure. */
hid_t ald_h5_text_type(void); /* variable-length UTF-8 */
hid_t ald_h5_f16_type(void);  /* IEEE 754 binary16, little-endian */

/* Scalar attributes of an object; `file` for messages. */
ald_status_t ald_h5_put_integer(hid_t object, const char *file, const char *name, int64_t value);
ald_status_t ald_h5_put_text(hid_t object, const char *file, const char *name, const char *text);
/* INPUT for one that is missing or of another type. The text is freed by ald_free. */
ald_status_t ald_h5_get_text(hid_t object, const char *file, const char *name, char **out);

#endif
