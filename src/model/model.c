/* A model: tensors and values of which it owns none, so that it can be made where it is needed, of
 * a policy in training as of a frozen file. */
#include "ald/model/model.h"

#include "ald/model/params.h"
#include "ald/num/gemm.h"

ald_model_t ald_model_of(const ald_params_t *params, const float *values)
{
    return (ald_model_t){.params = params, .values = values, .gemm = ald_gemm_chosen()};
}

int64_t ald_model_vocabulary(const ald_model_t *model)
{
    return model->vocabulary > 0 ? model->vocabulary : model->params->config.vocab_size;
}
