/* The shapes of the models that a configuration names, whether they are there yet or not. Local.
 * Layer: plan. */
#ifndef ALD_PLAN_SHAPES_H
#define ALD_PLAN_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/params.h"

typedef struct {
    ald_params_t params;
    const char *directory; /* with its files (a config.json at least): the model's own, or the one
                              that it will come from; NULL: there is none. Borrowed */
    bool there;            /* the directory is the model's own */
    int64_t weights;       /* bytes of its weights as they are, or will be, stored */
} ald_plan_model_t;

/* The model of a path: that of its directory; else, where a stage will write it, the one that the
 * stage begins with; else the one of `file`, a config.json (NULL: none). INPUT where none of them
 * is there. `key` names the path. Free with ald_plan_model_reset. */
ald_status_t ald_plan_model(const ald_config_t *config, const char *key, const char *path,
                            const char *file, ald_plan_model_t *out);
void ald_plan_model_reset(ald_plan_model_t *model); /* takes a zeroed one */
/* Whether both are the path of one model, which needn't be there. */
bool ald_plan_same_path(const char *one, const char *other);

#endif
