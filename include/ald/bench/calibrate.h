/* What this machine takes for a model's work: the rates of ald/plan/cost.h, measured. Layer: bench.
 */
#ifndef ALD_BENCH_CALIBRATE_H
#define ALD_BENCH_CALIBRATE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/model_config.h"
#include "ald/plan/cost.h"

typedef struct {
    const ald_model_config_t *shape;
    const ald_config_t *config; /* for micro_batch_tokens, shards.* and teacher.* */
    int64_t prompt, response;   /* tokens of a common sequence */
} ald_calibration_t;

/* Runs micro-batches of training, scoring, and steps of decoding, on random weights and as many
 * threads as are set: about half a minute at most. Of a large model a smaller one is run, of fewer
 * layers and tokens, less vocabulary and width, and its rates are scaled (EXTRAPOLATED). RESOURCE
 * without memory. Local. */
ald_status_t ald_calibrate(const ald_calibration_t *what, ald_rates_t *out);

#endif
