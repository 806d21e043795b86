/* Private to pipeline: pieces of the reports that stages write. */
#ifndef ALD_PIPELINE_REPORT_IMPL_H
#define ALD_PIPELINE_REPORT_IMPL_H

#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

/* {"value", "low", "high", "count"}; the caller's. */
ald_json_t *ald_report_interval(const ald_interval_t *value);

#endif
