/* The guard against over-optimisation. A step's figures jump about, so limits are for moving
 * averages; a reduction is given time to work before the next one. */
#include "ald/objective/guard.h"

#include <math.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"

#define DECAY  0.9 /* an average over about ten steps */
#define REDUCE 0.8 /* of r */
#define PAUSE  10  /* steps from a reduction to the next */

/* What engine->kept holds; all 0 before the first step. */
enum {
    KEPT_STEPS,  /* steps that the averages are of */
    KEPT_FIRST,  /* response length of the first */
    KEPT_LENGTH, /* averages */
    KEPT_KL,
    KEPT_REDUCED, /* how often r was */
    KEPT_LAST,    /* steps since the last time */
    KEPT_ABOVE,   /* whether a limit was passed in the step before */
};

static bool is_on(const ald_config_t *config)
{
    return config->distill.guard.max_length_ratio > 0.0 || config->distill.guard.max_kl > 0.0;
}

ald_status_t ald_guard_check(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(config->distill.guard.max_length_ratio <= 0.0 ||
                  config->distill.mode != ALD_MODE_OFF_POLICY,
              ALD_STATUS_USAGE,
              "distill.guard.max_length_ratio: the responses of distill.mode = \"off-policy\" are "
              "the data's; expected 0");
    ALD_CHECK(!is_on(config) || config->distill.guard.action != ALD_GUARD_REDUCE ||
                  (config->teacher.extrapolation != ALD_EXTRAPOLATION_NONE &&
                   config->distill.signal == ALD_SIGNAL_DISTRIBUTION),
              ALD_STATUS_USAGE,
              "distill.guard.action: \"reduce\" lowers teacher.strength, which this run doesn't "
              "use; expected \"warn\" or \"stop\"");
done:
    return status;
}

double ald_guard_strength(const ald_engine_t *engine)
{
    return engine->config->teacher.strength * pow(REDUCE, engine->kept[KEPT_REDUCED]);
}

static void average(double value, const double *kept, double *out)
{
    *out = kept[KEPT_STEPS] == 0.0 ? value : DECAY * *out + (1.0 - DECAY) * value;
}

/* Does what distill.guard.action says for the step at hand, in which a limit was passed. */
static void act(ald_engine_t *engine, double ratio)
{
    const ald_config_t *config = engine->config;
    double *kept = engine->kept;
    const long long step = (long long)engine->step + 1;
    const bool may_reduce = kept[KEPT_REDUCED] == 0.0 || kept[KEPT_LAST] >= PAUSE;
    if (config->distill.guard.action == ALD_GUARD_REDUCE && may_reduce) {
        kept[KEPT_REDUCED] += 1.0;
        kept[KEPT_LAST] = 0.0;
        ald_log_warn("distill: step %lld: responses are %.2f times as long as in the first step, "
                     "kl/dpo is %.3g: r is reduced to %g",
                     step, ratio, kept[KEPT_KL], ald_guard_strength(engine));
    } else if (config->distill.guard.action == ALD_GUARD_STOP) {
        engine->steps = engine->step + 1;
        ald_log_warn("distill: step %lld: responses are %.2f times as long as in the first step, "
                     "kl/dpo is %.3g: distill.guard ends the run",
                     step, ratio, kept[KEPT_KL]);
    } else if (config->distill.guard.action == ALD_GUARD_WARN && kept[KEPT_ABOVE] == 0.0) {
        ald_log_warn("distill: step %lld: responses are %.2f times as long as in the first step, "
                     "kl/dpo is %.3g: above distill.guard",
                     step, ratio, kept[KEPT_KL]);
    }
}

void ald_guard_step(ald_engine_t *engine, ald_metrics_t *metrics)
{
    const ald_config_t *config = engine->config;
    const double length = ald_metrics_get(metrics, "response_length");
    double *kept = engine->kept;
    if (!is_on(config))
        return;
    if (kept[KEPT_STEPS] == 0.0)
        kept[KEPT_FIRST] = length;
    average(length, kept, &kept[KEPT_LENGTH]);
    if (config->distill.guard.max_kl > 0.0)
        average(ald_metrics_get(metrics, "kl/dpo"), kept, &kept[KEPT_KL]);
    kept[KEPT_STEPS] += 1.0;
    kept[KEPT_LAST] += 1.0;
    const double ratio = kept[KEPT_LENGTH] / kept[KEPT_FIRST];
    ald_metrics_set(metrics, "guard/length_ratio", ratio);
    ald_metrics_set(metrics, "guard/kl", kept[KEPT_KL]);
    ald_metrics_set(metrics, "guard/strength", ald_guard_strength(engine));
    const bool above =
        (config->distill.guard.max_length_ratio > 0.0 &&
         ratio > config->distill.guard.max_length_ratio) ||
        (config->distill.guard.max_kl > 0.0 && kept[KEPT_KL] > config->distill.guard.max_kl);
    if (above)
        act(engine, ratio);
    kept[KEPT_ABOVE] = above;
}
