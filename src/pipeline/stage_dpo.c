/* The stage `dpo`: claims its output and trains. The training is apart, as an audit's folds are
 * trained by the same code in an output that the audit has claimed. */
#include "ald/pipeline/stage_dpo.h"

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/objective/preference.h"
#include "ald/par/comm.h"
#include "pipeline/claim_impl.h"
#include "pipeline/dpo_training_impl.h"

ald_status_t ald_stage_dpo(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_preference_t settings;
    const ald_named_t inputs[] = {
        {"dpo.policy", config->dpo.policy}, {"dpo.reference", config->dpo.reference}, {NULL, NULL}};
    ALD_CHECK(config->dpo.policy[0] != '\0', ALD_STATUS_USAGE,
              "dpo.policy: not set; expected a model directory");
    ALD_TRY(ald_preference_init(config, &settings)); /* before the output is touched */
    ALD_TRY(
        ald_claim(world, "dpo", (ald_named_t){"dpo.output", config->dpo.output}, false, inputs));
    ALD_TRY(ald_dpo_train(config, world, NULL));
done:
    return status;
}
