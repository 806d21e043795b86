/* The safetensors format, written atomically. Layer: model. */
#ifndef ALD_MODEL_SAFETENSORS_WRITE_H
#define ALD_MODEL_SAFETENSORS_WRITE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/num/dtype.h"

/* One tensor to write. */
typedef struct {
    const char *name;
    int ndim;
    int64_t shape[4];
    const float *values;
    ald_dtype_t dtype; /* in the file */
} ald_unstored_t;
/* Writes one file, atomically, tensors in the given order. */
ald_status_t ald_safetensors_write(const char *path, const ald_unstored_t *tensors, int64_t count);
/* Adds the bytes of that file, whose values may be missing. Local. */
ald_status_t ald_safetensors_weigh(const ald_unstored_t *tensors, int64_t count, int64_t *bytes);

#endif
