/* The roles of ranks by measured rates. Bad input isn't told of here: the stage reads all of it
 * again, and says what is wrong. */
#include "ald/pipeline/placing.h"

#include <omp.h>
#include <stddef.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/bench/calibrate.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/plan/cost.h"
#include "ald/plan/rows.h"
#include "ald/train/order.h"

#define WORTH_SECONDS 180.0 /* of a run on which a calibration is spent */
#define WORTH_GAIN    0.9   /* of the seconds that every role on every rank takes */

/* Whether the configuration leaves the roles open. */
static bool is_open(const ald_config_t *config, int ranks)
{
    return ranks > 1 && config->distill.mode != ALD_MODE_OFF_POLICY &&
           config->roles.calibrate != ALD_CALIBRATE_NEVER &&
           config->roles.trainers + config->roles.scorers + config->roles.generators == 0;
}

static bool is_finished(const ald_config_t *config)
{
    char *mark = ald_path_join(config->distill.output, "done.json");
    const bool there = mark != NULL && ald_path_exists(mark);
    ald_free(mark);
    return there && config->checkpoint.resume;
}

/* What a step asks for, and the seconds that all of them are assumed to take. */
typedef struct {
    ald_step_work_t step;
    double seconds;
    int known;
} work_t;

static void find_work(const ald_config_t *config, int ranks, work_t *out)
{
    const ald_rows_given_t nothing = {0};
    ald_model_config_t shape;
    ald_params_t params = {0};
    ald_plan_rows_t rows = {0};
    ald_rates_t assumed;
    *out = (work_t){0};
    if (is_finished(config) ||
        ald_model_config_read(config->distill.policy, &shape) != ALD_STATUS_OK ||
        ald_params_init(&shape, &params) != ALD_STATUS_OK ||
        ald_plan_rows(config, config->data.train, config->distill.policy, shape.vocab_size,
                      &nothing, &rows) != ALD_STATUS_OK ||
        rows.count == 0)
        goto done;
    ald_plan_sampled_step(config, &rows, params.total, &out->step);
    ald_rates_assume(&params, out->step.positions / out->step.tokens, omp_get_max_threads(),
                     &assumed);
    out->seconds =
        (double)ald_total_steps(config, rows.count) *
        ald_plan_split(&assumed, &out->step, ranks, config->distill.max_staleness).seconds;
    out->known = 1;
done:
    ald_plan_rows_reset(&rows);
    ald_params_reset(&params);
}

/* The rates of the slowest rank, on all. */
static ald_status_t calibrate(const ald_config_t *config, const ald_comm_t *world,
                              const ald_step_work_t *step, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    enum { NUMBERS = (sizeof *out - offsetof(ald_rates_t, train)) / sizeof(double) };
    ald_model_config_t shape;
    const ald_calibration_t what = {.shape = &shape,
                                    .config = config,
                                    .prompt = (int64_t)step->prompt + 1,
                                    .response = (int64_t)step->response + 1};
    ALD_TRY(ald_comm_agree(world, ald_model_config_read(config->distill.policy, &shape)));
    ALD_TRY(ald_comm_agree(world, ald_calibrate(&what, out)));
    MPI_Allreduce(MPI_IN_PLACE, &out->train, NUMBERS, MPI_DOUBLE, MPI_MAX, world->mpi);
done:
    return status;
}

static void choose(ald_config_t *config, const ald_comm_t *world, const ald_step_work_t *step,
                   const ald_rates_t *rates, double took)
{
    const int n = world->size;
    const ald_split_t split = ald_plan_split(rates, step, n, config->distill.max_staleness);
    const double all = ald_cost_train(rates, step, n) + ald_cost_score(rates, step, n) +
                       ald_cost_generate(rates, step, n);
    if (split.trainers == 0 || split.seconds > WORTH_GAIN * all) {
        ald_log_info("distill: calibrated in %.1f s: a step of every role on all %d ranks takes "
                     "about %.3g s, and no split a tenth less",
                     took, n, all);
        return;
    }
    config->roles.trainers = split.trainers;
    config->roles.scorers = split.scorers;
    config->roles.generators = split.generators;
    ald_log_info("distill: calibrated in %.1f s: a step of every role on all %d ranks takes about "
                 "%.3g s, with this split about %.3g s",
                 took, n, all, split.seconds);
}

ald_status_t ald_place_roles(ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool always = config->roles.calibrate == ALD_CALIBRATE_ALWAYS;
    const double begun = ald_time();
    ald_rates_t rates;
    work_t work;
    if (!is_open(config, world->size))
        return status;
    if (world->rank == 0)
        find_work(config, world->size, &work);
    MPI_Bcast(&work, sizeof work, MPI_BYTE, 0, world->mpi);
    if (!work.known || (!always && work.seconds < WORTH_SECONDS))
        return status;
    ALD_TRY(calibrate(config, world, &work.step, &rates));
    choose(config, world, &work.step, &rates, ald_time() - begun);
done:
    return status;
}
