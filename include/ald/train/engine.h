/* What every training stage shares: a policy, its optimizer, steps of micro-batches over the
 * trainers, metrics, checkpoints, the written model. Layer: train. */
#ifndef ALD_TRAIN_ENGINE_H
#define ALD_TRAIN_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/record/metrics_file.h"
#include "ald/train/optimizer.h"

/* Numbers that a micro-batch may give to the step's metrics: distill gives most, 17. */
enum { ALD_COLUMNS = 24 };
/* Numbers that an objective keeps from step to step. */
enum { ALD_KEPT = 8 };

typedef struct {
    const ald_config_t *config;
    const ald_comm_t *comm; /* the trainers */
    const char *stage;      /* "sft", "dpo", "distill" */
    const char *origin;     /* model directory that the policy comes from */
    const char *output;     /* folder of checkpoints, metrics and done.json: the model directory */
    ald_params_t params;
    float *values; /* [params.total], the same on every trainer */
    ald_optimizer_t optimizer;
    int64_t steps, step; /* number of all steps, which an objective's metrics may lower to end the
                            run; the step at hand, 0-based */
    int64_t saved;       /* root only: the step of the newest whole checkpoint */
    double started, tokens;
    double kept[ALD_KEPT];       /* 0 at the beginning; in checkpoints; the same on every trainer */
    ald_json_t *recipe;          /* root only: what the result follows from; NULL: isn't told */
    ald_metrics_file_t *metrics; /* root only */
    ald_progress_t progress;
} ald_engine_t;

/* Loads the policy, makes the optimizer. Collective over the trainers. */
ald_status_t ald_engine_init(const ald_config_t *config, const ald_comm_t *trainers,
                             const char *stage, const char *origin, const char *output,
                             ald_engine_t *out);
/* Gives it its recipe (root, taken over; NULL elsewhere), an object of texts: settings by their
 * keys, and sha256 of inputs. *out: the run is finished, and there is nothing to do (ald_finished).
 * Collective. */
ald_status_t ald_engine_finished(ald_engine_t *engine, ald_json_t *recipe, bool *out);
/* Sets the number of steps, and goes on from the newest whole checkpoint when there is one and
 * checkpoint.resume says so, else removes what an earlier run has left: engine->step is then its
 * step, and the last where an objective had ended the run there. USAGE with what differs unless the
 * checkpoint has the engine's recipe. Collective. */
ald_status_t ald_engine_begin(ald_engine_t *engine, int64_t steps);
void ald_engine_reset(ald_engine_t *engine);
ald_model_t ald_engine_model(const ald_engine_t *engine);

/* A step while it is computed: its micro-batches, and the columns that they have given so far. */
typedef struct {
    int64_t *start, micros;      /* micro-batch m: items [start[m], start[m + 1]); owned */
    double *rows, begun, tokens; /* [micros, ALD_COLUMNS] owned; when it began; of all items */
} ald_step_t;
/* Cuts items of these lengths into micro-batches. Reset it also after a failure. Local. */
ald_status_t ald_step_init(const ald_engine_t *engine, const int64_t *tokens, int64_t count,
                           ald_step_t *out);
void ald_step_reset(ald_step_t *step); /* takes a zeroed one */
/* The optimizer's step, once every trainer has computed its micro-batches (m of them is trainer m
 * mod size's). Leaves the sums of the columns in `columns` and puts step, epoch, lr, grad_norm,
 * tokens, tokens_per_second and seconds into `metrics`. Collective. */
ald_status_t ald_engine_update(ald_engine_t *engine, const ald_step_t *step, double epoch,
                               double columns[ALD_COLUMNS], ald_metrics_t *metrics);
/* Whether the step at hand ends with a checkpoint, without a signal. */
bool ald_engine_is_due(const ald_engine_t *engine);
/* Writes the metrics, moves to the next step, makes a checkpoint when one is due or the run is to
 * stop. Collective. */
ald_status_t ald_engine_record(ald_engine_t *engine, ald_metrics_t *metrics, bool stop);
/* Writes the model directory, metrics.h5 and done.json. `inputs` (taken over): what it was made
 * from. Collective. */
ald_status_t ald_engine_finish(ald_engine_t *engine, ald_json_t *inputs);

#endif
