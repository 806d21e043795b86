/* What the stages of a configuration will take: memory, storage, seconds, on nodes that are
 * described. It needs no weights, no data and no other rank. Local. Layer: plan. */
#ifndef ALD_PLAN_STAGES_H
#define ALD_PLAN_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/plan/cost.h"
#include "ald/plan/rows.h"
#include "ald/plan/shapes.h"
#include "ald/plan/storage.h"

/* Nodes, and the ranks and cores of each. */
typedef struct {
    int nodes, ranks, cores;
    double memory; /* bytes of a node */
} ald_plan_site_t;

/* A role of a stage on the ranks that have it; with several roles on a rank it is that of all. */
enum { ALD_PLAN_ROLES = 3 };
typedef struct {
    const char *name;
    int ranks;
    double peak;   /* bytes of the largest of these ranks */
    double mapped; /* of them pages of frozen models, which a node has once */
    char text[512];
} ald_promised_role_t;

typedef struct {
    const char *stage;
    const char *output; /* what it writes; NULL: many places */
    ald_promised_role_t role[ALD_PLAN_ROLES];
    int roles;
    double node; /* bytes of memory of the fullest node */
    ald_storage_t storage;
    int64_t steps, sequences;
    int trainers;  /* 0: it doesn't train */
    double micros; /* micro-batches of a step on average, each of them one trainer's */
    double seconds;
} ald_promise_t;

typedef enum {
    ALD_PLAN_SFT,
    ALD_PLAN_DPO,
    ALD_PLAN_REVERSE,
    ALD_PLAN_SCORE,
    ALD_PLAN_DISTILL,
    ALD_PLAN_EVAL,
    ALD_PLAN_STAGES,
} ald_plan_stage_t;

typedef struct {
    const ald_config_t *config;
    ald_plan_site_t site;
    const char *model_config;         /* a config.json for models that aren't there; or NULL */
    ald_plan_model_t policy, teacher; /* of distillation, or of whichever stage has one */
    ald_plan_rows_t train, eval;
    double base;       /* bytes of a process that has done nothing */
    ald_split_t split; /* of roles; all 0 off-policy */
    bool split_is_set; /* by the configuration */
    bool as_run; /* set by the caller: the split is roles.* as they are, though they be unset */
    ald_promise_t promise[ALD_PLAN_STAGES]; /* stage NULL: the configuration has no such stage */
} ald_plan_t;

/* Reads shapes of models and lengths of rows; config and site must be set. INPUT for what is
 * missing or damaged, USAGE where the configuration names no model at all. */
ald_status_t ald_plan_open(ald_plan_t *plan, const ald_rows_given_t *given);
/* Fills in the promise of a stage, with rates of one of the site's ranks. That of off-policy
 * distillation comes after that of score, whose shards it reads. */
ald_status_t ald_plan_promise(ald_plan_t *plan, const ald_rates_t *rates, ald_plan_stage_t stage);
void ald_plan_close(ald_plan_t *plan);

#endif
