/* Private to pipeline: measuring given responses, of which a run that is stopped keeps what it has.
 */
#ifndef ALD_PIPELINE_MEASURING_IMPL_H
#define ALD_PIPELINE_MEASURING_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/role/measure.h"
#include "pipeline/partial_impl.h"

/* What is measured, and what its results are kept as. */
typedef struct {
    const char *stage, *name;     /* in messages; of the records */
    const ald_partial_t *partial; /* begun; its ranks take part */
    const ald_measure_t *measure;
    bool distributions; /* as of ald_measure */
} ald_measuring_t;

/* ald_measure of `count` items with `sequences` responses, but for what an earlier run has measured
 * of them. STOPPED when it is time. Collective. */
ald_status_t ald_measure_kept(const ald_measuring_t *measuring, const ald_item_t *items,
                              int64_t count, int64_t sequences, ald_measured_t *out);

#endif
