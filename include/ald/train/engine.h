/* What every training stage shares: a policy, its optimizer, steps of micro-batches over the
 * trainers, metrics, checkpoints, the written model. Layer: train. */
#ifndef ALD_TRAIN_ENGINE_H
#define ALD_TRAIN_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
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

#define ALD_COLUMNS 24 /* numbers that a micro-batch may give to the step's metrics */

typedef struct {
    const ald_config_t *config;
    const ald_comm_t *comm; /* the trainers */
    const char *stage;      /* "sft", "dpo", "distill" */
    const char *origin;     /* model directory that the policy comes from */
    const char *output;     /* folder of checkpoints, metrics and done.json: the model directory */
    ald_params_t params;
    float *values; /* [params.total], the same on every trainer */
    ald_optimizer_t optimizer;
    ald_arena_t arena;
    int64_t steps, step; /* in all, and the one at hand (0-based) */
    double started, tokens;
    ald_metrics_file_t *metrics; /* root only */
    ald_progress_t progress;
} ald_engine_t;

/* Computes one micro-batch, items [first, first + count) of the step: adds gradients into
 * engine->optimizer.gradient and fills its row of columns (zeroed before), which are summed over
 * micro-batches in their order. Local. */
typedef ald_status_t (*ald_micro_fn)(void *context, ald_engine_t *engine, int64_t first,
                                     int64_t count, double *columns);

/* Loads the policy, makes the optimizer. Collective over the trainers. */
ald_status_t ald_engine_init(const ald_config_t *config, const ald_comm_t *trainers,
                             const char *stage, const char *origin, const char *output,
                             ald_engine_t *out);
/* Sets the number of steps, and goes on from the newest checkpoint when there is one and
 * checkpoint.resume says so: engine->step is then its step. Collective. */
ald_status_t ald_engine_begin(ald_engine_t *engine, int64_t steps);
void ald_engine_reset(ald_engine_t *engine);
ald_model_t ald_engine_model(const ald_engine_t *engine);

/* One step: `tokens[count]` are the items' lengths, by which they fall into micro-batches;
 * micro-batch m is trainer m mod size's. Leaves the columns' sums in `columns` and puts step,
 * epoch, lr, grad_norm, tokens, tokens_per_second and seconds into `metrics`. Collective. */
ald_status_t ald_engine_step(ald_engine_t *engine, const int64_t *tokens, int64_t count,
                             double epoch, ald_micro_fn micro, void *context,
                             double columns[ALD_COLUMNS], ald_metrics_t *metrics);
/* Writes the metrics, moves to the next step, makes a checkpoint when one is due or a signal came:
 * STOPPED in that case, on every trainer. Collective. */
ald_status_t ald_engine_advance(ald_engine_t *engine, ald_metrics_t *metrics);

/* The parts of a step and of an advance, for several engines on the same items: what reads a
 * micro-batch then reads it for all of them. */
typedef struct {
    int64_t *start, micros;      /* micro-batch m: items [start[m], start[m + 1]); owned */
    double *rows, begun, tokens; /* [micros, ALD_COLUMNS] owned; instant; sum over the items */
} ald_step_t;
/* Splits the items. Reset it also after a failure. Local. */
ald_status_t ald_step_init(const ald_engine_t *engine, const int64_t *tokens, int64_t count,
                           ald_step_t *out);
void ald_step_reset(ald_step_t *step);
/* Computes micro-batch m. Local. */
ald_status_t ald_engine_micro(ald_engine_t *engine, ald_step_t *step, int64_t m, ald_micro_fn micro,
                              void *context);
/* The update, once every trainer has computed its micro-batches; gives what ald_engine_step gives.
 * Collective. */
ald_status_t ald_engine_update(ald_engine_t *engine, const ald_step_t *step, double epoch,
                               double columns[ALD_COLUMNS], ald_metrics_t *metrics);
/* Whether a signal came to any trainer. Collective. */
bool ald_engine_stops(const ald_comm_t *trainers);
/* ald_engine_advance with that answer; OK also when it is to stop, once the checkpoint is made. */
ald_status_t ald_engine_record(ald_engine_t *engine, ald_metrics_t *metrics, bool stop);
/* Writes the model directory, metrics.h5 and done.json. `inputs` (taken over): what it was made
 * from. Collective. */
ald_status_t ald_engine_finish(ald_engine_t *engine, ald_json_t *inputs);

/* The order of the data: items of step `step` among `count`, batch_size a step, a new permutation
 * every epoch. items has room for batch_size; returns how many. Local. */
int64_t ald_epoch_steps(const ald_config_t *config, int64_t count);
int64_t ald_total_steps(const ald_config_t *config, int64_t count);
int64_t ald_step_items(const ald_config_t *config, int64_t count, int64_t step, int64_t *order,
                       int64_t *items);

#endif
