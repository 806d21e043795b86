/* Element types of stored numbers, and their conversion to and from float32. Layer: num. */
#ifndef ALD_NUM_DTYPE_H
#define ALD_NUM_DTYPE_H

#include <stdint.h>

typedef enum {
    ALD_DTYPE_F32,
    ALD_DTYPE_BF16,
    ALD_DTYPE_F16,
} ald_dtype_t;

int ald_dtype_size(ald_dtype_t dtype);
const char *ald_dtype_name(ald_dtype_t dtype); /* "F32", "BF16", "F16" */

/* `count` little-endian elements at any address to float32, exactly (also NaN's payload). OpenMP
 * threads share the work of many. Local. */
void ald_dtype_to_f32(ald_dtype_t dtype, const void *from, int64_t count, float *out);
/* The same by the calling thread alone. */
void ald_dtype_row_to_f32(ald_dtype_t dtype, const void *from, int64_t count, float *out);
/* The first of `count` stored elements at any address that is infinite or NaN; -1: none is. One
 * pass over the bits; OpenMP threads share the work of many. Local. */
int64_t ald_dtype_find_nonfinite(ald_dtype_t dtype, const void *from, int64_t count);
/* float32 to `dtype`, rounded to nearest, ties to even. Values that ald_dtype_to_f32 gave come back
 * bit by bit; of other NaNs the upper bits of the payload are kept. */
void ald_f32_to_dtype(const float *values, int64_t count, ald_dtype_t dtype, void *out);
/* The same by the calling thread alone. */
void ald_dtype_row_from_f32(const float *values, int64_t count, ald_dtype_t dtype, void *out);

#endif
