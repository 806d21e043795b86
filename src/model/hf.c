/* Loads the weights of a model directory as float32, for models that train. Frozen models are not
 * loaded but mapped (mapped.c). */
#include "ald/model/hf.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/num/dtype.h"
#include "model/weights_impl.h"

ald_status_t ald_hf_load(const char *directory, const ald_params_t *params, float *values)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_safetensors_t *set = NULL;
    const ald_stored_t **stored = NULL;
    ALD_TRY(ald_weights_open(directory, params, &set, &stored));
    ALD_TRY(ald_weights_check(set, params, (const ald_stored_t *const *)stored));
    for (int64_t i = 0; i < params->count; ++i)
        ald_dtype_to_f32(stored[i]->dtype, stored[i]->data, params->tensors[i].count,
                         values + params->tensors[i].offset);
done:
    ald_free(stored);
    ald_safetensors_close(set);
    return status;
}
