/* Rotary frequencies from a model's configuration. Layer: model. */
#ifndef ALD_MODEL_ROTATION_H
#define ALD_MODEL_ROTATION_H

#include <stdint.h>

#include "ald/model/model_config.h"

/* The plain rotation, frequency[i] = theta^(-2 i / head_dim). */
void ald_rotation_init(double theta, int64_t head_dim, ald_rotation_t *out);

#endif
