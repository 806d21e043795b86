/* Shapes of models. Stages begin with each other's results, so a model that isn't there yet has the
 * shape of the one at the beginning of its line. */
#include "ald/plan/shapes.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/hf_save.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"

enum { LINE = 8 }; /* stages in a row, at most: a circle of outputs ends here */

static bool is_there(const char *path)
{
    char *file = path[0] == '\0' ? NULL : ald_path_join(path, "config.json");
    const bool there = file != NULL && ald_path_exists(file);
    ald_free(file);
    return there;
}

/* Whether the path lies in the folder. */
static bool is_within(const char *folder, const char *path)
{
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

bool ald_plan_same_path(const char *one, const char *other)
{
    return strcmp(one, other) == 0;
}

/* What the stage that writes the path begins with; "" where none does. The reverse model's stage is
 * a second `dpo`, whose output isn't in the configuration. */
static const char *origin_of(const ald_config_t *config, const char *path)
{
    if (ald_plan_same_path(path, config->sft.output) ||
        ald_plan_same_path(path, config->dpo.policy)) /* of another run of sft */
        return config->sft.model;
    if (ald_plan_same_path(path, config->distill.output))
        return config->distill.policy;
    if (ald_plan_same_path(path, config->dpo.output) || is_within(config->output, path))
        return config->dpo.policy;
    return "";
}

static ald_status_t read_file(const char *file, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    ALD_TRY(ald_json_read(file, &json));
    ALD_TRY(ald_model_config_parse(json, file, out));
done:
    ald_json_free(json);
    return status;
}

/* The bytes of the weights: by the types of the files, or those that a stage will write. */
static ald_status_t weigh(const ald_config_t *config, ald_plan_model_t *model)
{
    const ald_dtype_t dtype = model->there ? ALD_HF_AS_READ : ald_hf_dtype(config->runtime.dtype);
    return ald_hf_weights_bytes(model->directory, &model->params, dtype, &model->weights);
}

ald_status_t ald_plan_model(const ald_config_t *config, const char *key, const char *path,
                            const char *file, ald_plan_model_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    const char *at = path;
    *out = (ald_plan_model_t){.directory = NULL};
    for (int i = 0; i < LINE && at[0] != '\0' && !is_there(at); ++i)
        at = origin_of(config, at);
    if (is_there(at)) {
        out->directory = at;
        out->there = strcmp(at, path) == 0;
        ALD_TRY(ald_model_config_read(at, &shape));
    } else {
        ALD_CHECK(
            file != NULL, ALD_STATUS_INPUT,
            "%s: %s/config.json isn't there, nor what the model will come from; --model-config "
            "FILE says its shape",
            key, path);
        ALD_TRY(read_file(file, &shape));
    }
    ALD_TRY(ald_params_init(&shape, &out->params));
    ALD_TRY(weigh(config, out));
done:
    if (status != ALD_STATUS_OK)
        ald_plan_model_reset(out);
    return status;
}

void ald_plan_model_reset(ald_plan_model_t *model)
{
    ald_params_reset(&model->params);
    *model = (ald_plan_model_t){.directory = NULL};
}
