/* Private to pipeline: what a result follows from. */
#ifndef ALD_PIPELINE_RECIPE_IMPL_H
#define ALD_PIPELINE_RECIPE_IMPL_H

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "pipeline/claim_impl.h"

/* Sets the settings, as texts, that a result of a kind depends on; beside the kinds below "score".
 * Local. */
ald_status_t ald_recipe_settings(const ald_config_t *config, const char *kind, ald_json_t *out);
/* Makes a recipe on root (NULL elsewhere): the settings that a result of this kind
 * ("sft", "dpo", "off-policy", "on-policy", "generate", "generate-teacher", "audit", "eval")
 * depends on, and under the keys of model directories, whose list a NULL closes, the sha256 of
 * their weights. The caller adds that of its data. Freed by ald_json_free. Collective. */
ald_status_t ald_recipe(const ald_comm_t *comm, const ald_config_t *config, const char *kind,
                        const ald_named_t *models, ald_json_t **out);

#endif
