/* Hugging Face model directories: their weights read. Layer: model. */
#ifndef ALD_MODEL_HF_H
#define ALD_MODEL_HF_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/params.h"

/* Fills values[params->total] with the directory's weights as float32. INPUT naming file and tensor
 * for one that is missing, of another shape or not finite (element and value), and for a tied
 * model's lm_head.weight that isn't the embedding. Tensors that aren't in the list are an error,
 * except rotary inv_freq buffers. Local. */
ald_status_t ald_hf_load(const char *directory, const ald_params_t *params, float *values);

#endif
