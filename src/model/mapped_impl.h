/* Private to model: tensors of a mapped model by their offset in the list. */
#ifndef ALD_MODEL_MAPPED_IMPL_H
#define ALD_MODEL_MAPPED_IMPL_H

#include <stdint.h>

#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/num/matrix.h"

/* See ald_model_vector and ald_model_matrix. */
const float *ald_mapped_vector(const ald_mapped_t *mapped, const ald_params_t *params,
                               int64_t offset);
ald_matrix_t ald_mapped_matrix(const ald_mapped_t *mapped, const ald_params_t *params,
                               int64_t offset, int64_t rows);

#endif
