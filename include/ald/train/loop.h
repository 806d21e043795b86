/* The training loop: runs, each an objective with its engine, over one feed of steps. One run is
 * a training stage, several are a sweep. Layer: train. */
#ifndef ALD_TRAIN_LOOP_H
#define ALD_TRAIN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/gradients.h"
#include "ald/par/comm.h"
#include "ald/record/metrics.h"
#include "ald/train/engine.h"

/* The items of a step, which the feed names by numbers that the objective understands: rows of a
 * data file, entries of a set of shards. */
typedef struct {
    int64_t step;
    const int64_t *item; /* [count] */
    int64_t count;
    double epoch; /* passes over the data, once the step is done */
} ald_items_t;

/* A micro-batch of a step: its items [first, first + count). */
typedef struct {
    ald_engine_t *engine;
    ald_arena_t *arena; /* scratch memory; what is in it is gone after the micro-batch */
    const ald_items_t *items;
    int64_t first, count;
    const void *reading; /* what the feed has read for these items; NULL: it reads nothing */
    const ald_gradients_t *gradients; /* for ald_head and ald_backward, one call of each */
    double *columns; /* [ALD_COLUMNS] zeroed; summed over the micro-batches in their order */
} ald_micro_t;

/* A kind of training. */
typedef struct {
    const char *stage; /* the name in messages, metrics and done.json */
    /* The prompt and responses of an item; ids may be missing. Local. */
    ald_item_t (*item)(const void *state, int64_t item);
    /* Prepares the state for a step, before its micro-batches; NULL: it needs nothing. Collective
     * over the trainers. */
    ald_status_t (*ready)(void *state, const ald_items_t *items);
    /* Drops what the micro-batches of a step have left in the state, before they come, and before
     * they come again (ald_optimizer_fits); NULL: they leave nothing. Local. */
    void (*forget)(void *state);
    /* Gives the gradient of the loss to micro->gradients and fills the columns. Local. */
    ald_status_t (*micro)(void *state, const ald_micro_t *micro);
    /* Sets the metrics that are the objective's, from the sums of the columns. Collective over the
     * trainers. */
    ald_status_t (*metrics)(void *state, const ald_items_t *items, const double *columns,
                            ald_metrics_t *metrics);
} ald_objective_t;

/* A run. The caller sets the first four; `engine` has begun (ald_engine_begin). */
typedef struct {
    const ald_objective_t *objective;
    void *state;          /* of the objective */
    ald_engine_t *engine; /* NULL: the run has ended */
    void *order;          /* for the feed: the order in which this run draws */
    ald_step_t parts;     /* of the step at hand, as is what follows */
    ald_metrics_t metrics;
    bool stepped;
} ald_run_t;

/* The source of the steps. `run` is the first of the runs that take the step together. All but
 * `ready` may be NULL. */
typedef struct {
    void *context;
    /* Makes a step ready; *out stays valid until the step is recorded. Every trainer; each may fail
     * alone. */
    ald_status_t (*ready)(void *context, ald_run_t *run, int64_t step, ald_items_t *out);
    /* Reads items [first, first + count) into the arena, for all runs. Local. */
    ald_status_t (*read)(void *context, const ald_items_t *items, int64_t first, int64_t count,
                         ald_arena_t *arena, const void **out);
    /* The weights are about to change. Local. */
    void (*update)(void *context);
    /* The weights have changed: they have taken so many steps. Local. */
    void (*updated)(void *context, int64_t steps);
    /* Waits for what a checkpoint after so many steps must find when the run goes on from it. Every
     * trainer; each may fail alone. */
    ald_status_t (*hold)(void *context, int64_t steps);
    /* Sets the metrics that are the feed's. Collective over the trainers. */
    ald_status_t (*metrics)(void *context, ald_run_t *run, const ald_items_t *items,
                            ald_metrics_t *metrics);
    /* The step was recorded, or failed (status): what it needed may be freed. */
    void (*taken)(void *context, int64_t step, ald_status_t status);
} ald_feed_t;

typedef struct {
    const char *name;           /* in messages */
    const ald_comm_t *trainers; /* the ranks that go through the steps together */
    ald_feed_t feed;
    ald_run_t *runs; /* [count] */
    int64_t count;
    bool idle;     /* that trainers have no work was said */
    bool stop;     /* the feed has heard of a signal to a rank that is no trainer */
    int64_t later; /* steps of runs that come after these */
    /* Of the steps that this call has taken: how many, all runs together; when it began; when the
     * last one was recorded; the longest wait for the feed before a checkpoint. */
    int64_t taken;
    double begun, recorded, held;
    /* Called for a run that has taken its last step, or had none left; NULL: not called. Collective
     * over the trainers. */
    ald_status_t (*finish)(void *context, ald_run_t *run);
    void *context; /* for `finish` */
    /* Looks at a run whose weights have taken the step at hand: engine->step is still that step; it
     * may set metrics, and lower engine->steps. NULL: not called. Collective over the trainers. */
    ald_status_t (*watch)(void *watcher, ald_run_t *run);
    void *watcher;               /* for `watch` */
    ald_arena_t scratch, shared; /* of a micro-batch; of what the feed has read */
} ald_loop_t;

/* Takes all steps of all runs: metrics are written, checkpoints made when they are due. STOPPED on
 * all ranks after a signal, or with too little time for one more step (ald/par/stop.h), once every
 * run at hand has its checkpoint. Runs that draw alike (one
 * seed, batch_size and micro_batch_tokens) and are at one step take it together: what is read is
 * read once for all of them, and each gives what it gives alone. Collective over the trainers. */
ald_status_t ald_loop_run(ald_loop_t *loop);
/* One step of `n` runs that draw alike, without records: engine->step stays. Collective over the
 * trainers. */
ald_status_t ald_loop_step(ald_loop_t *loop, ald_run_t *const *runs, int64_t n,
                           const ald_items_t *items);
void ald_loop_reset(ald_loop_t *loop);

#endif
