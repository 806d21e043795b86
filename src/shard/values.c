/* Whether the numbers of a shard are ones that a trainer can bear. One NaN would spoil a policy
 * without a message, and a checksum only says that it was written so. */
#include "shard/values_impl.h"

#include <math.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/num/dtype.h"
#include "ald/num/kernel.h"
#include "shard/format_impl.h"

#define SHARE_MOST 1.001f /* a share summed in float may pass 1 by rounding */

ALD_KERNEL(bool, are_finite, (const float *values, int64_t count), (values, count))
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; ++i) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        bad |= (bits & 0x7F800000) == 0x7F800000;
    }
    return bad == 0;
}

ALD_KERNEL(bool, are_finite_halves, (uint16_t exponent, const uint16_t *bits, int64_t count),
           (exponent, bits, count))
{
    uint16_t bad = 0;
    for (int64_t i = 0; i < count; ++i)
        bad |= (bits[i] & exponent) == exponent;
    return bad == 0;
}

ALD_KERNEL(bool, are_shares, (const float *values, int64_t count), (values, count))
{
    uint32_t good = 1;
    for (int64_t i = 0; i < count; ++i)
        good &= values[i] >= 0.0f && values[i] <= SHARE_MOST;
    return good == 1;
}

static bool is_bearable(ald_bound_t bound, float value)
{
    switch (bound) {
    case ALD_BOUND_NAN:
        return isnan(value) || isfinite(value);
    case ALD_BOUND_BELOW:
        return value < INFINITY;
    case ALD_BOUND_SHARE:
        return value >= 0.0f && value <= SHARE_MOST;
    case ALD_BOUND_POSITIVE:
        return value > 0.0f && isfinite(value);
    default:
        return isfinite(value);
    }
}

/* Checks floats. Most columns pass one quick test of all numbers; only others are tested one by
 * one.
 */
static ald_status_t check_floats(const char *file, ald_shard_dataset_t dataset, int64_t first,
                                 const float *values, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_bound_t bound = ald_shard_datasets[dataset].bound;
    if (bound == ALD_BOUND_SHARE      ? are_shares(values, count)
        : bound == ALD_BOUND_POSITIVE ? false
                                      : are_finite(values, count))
        return status;
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(is_bearable(bound, values[i]), ALD_STATUS_INPUT, "%s: %s: element %lld: found %g",
                  file, ald_shard_datasets[dataset].path, (long long)(first + i),
                  (double)values[i]);
done:
    return status;
}

static ald_status_t check_halves(const char *file, ald_shard_dataset_t dataset, ald_dtype_t dtype,
                                 int64_t first, const uint16_t *bits, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    if (are_finite_halves(dtype == ALD_DTYPE_F16 ? 0x7C00 : 0x7F80, bits, count))
        return status;
    for (int64_t i = 0; i < count; ++i) {
        float value;
        ald_dtype_row_to_f32(dtype, bits + i, 1, &value);
        ALD_CHECK(isfinite(value), ALD_STATUS_INPUT, "%s: %s: element %lld: found %g", file,
                  ald_shard_datasets[dataset].path, (long long)(first + i), (double)value);
    }
done:
    return status;
}

ald_status_t ald_values_check(const char *file, ald_shard_dataset_t dataset, int64_t first,
                              const void *data, int64_t count)
{
    switch (ald_shard_datasets[dataset].type) {
    case ALD_COLUMN_F32:
    case ALD_COLUMN_F16_WIDE:
        return check_floats(file, dataset, first, data, count);
    case ALD_COLUMN_F16:
        return check_halves(file, dataset, ALD_DTYPE_F16, first, data, count);
    case ALD_COLUMN_BF16:
        return check_halves(file, dataset, ALD_DTYPE_BF16, first, data, count);
    default:
        return ALD_STATUS_OK;
    }
}

ALD_KERNEL(bool, are_below, (const int32_t *ids, int64_t count, uint32_t end), (ids, count, end))
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; ++i)
        bad |= (uint32_t)ids[i] >= end;
    return bad == 0;
}

ald_status_t ald_values_check_ids(const char *file, ald_shard_dataset_t dataset, int64_t first,
                                  const int32_t *ids, int64_t count, int64_t V)
{
    ald_status_t status = ALD_STATUS_OK;
    if (are_below(ids, count, (uint32_t)V))
        return status;
    for (int64_t i = 0; i < count; ++i)
        ALD_CHECK(ids[i] >= 0 && ids[i] < V, ALD_STATUS_INPUT,
                  "%s: %s: element %lld: expected an id below %lld, found %d", file,
                  ald_shard_datasets[dataset].path, (long long)(first + i), (long long)V, ids[i]);
done:
    return status;
}
