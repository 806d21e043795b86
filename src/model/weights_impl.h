/* Private to model: the weights of a directory, checked against a list of tensors. */
#ifndef ALD_MODEL_WEIGHTS_IMPL_H
#define ALD_MODEL_WEIGHTS_IMPL_H

#include "ald/base/status.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"

/* Maps the weights and finds each tensor of the list: *stored is [params->count], freed by
 * ald_free. INPUT as ald_hf_load says. Local; both are NULL after an error. */
ald_status_t ald_weights_open(const char *directory, const ald_params_t *params,
                              ald_safetensors_t **set, const ald_stored_t ***stored);
/* INPUT naming file, tensor and element for a weight that is infinite or NaN, and for an
 * lm_head.weight of a tied model that isn't the embedding. Reads every byte: one rank does it for
 * all that open the directory. Local. */
ald_status_t ald_weights_check(const ald_safetensors_t *set, const ald_params_t *params,
                               const ald_stored_t *const *stored);

#endif
