/* The command `plan`: what its files share. Private to the command line. */
#ifndef ALD_CLI_PLAN_IMPL_H
#define ALD_CLI_PLAN_IMPL_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/pipeline/trial_answers.h"
#include "ald/plan/cost.h"
#include "ald/plan/stages.h"

typedef struct {
    ald_plan_t plan;
    ald_rates_t rates;
    double task_hours;           /* of a task of the score array */
    int64_t tasks;               /* of that array; 0: as many as take so long */
    ald_trial_answers_t answers; /* of a calibration; model NULL: there are none */
} ald_planning_t;

/* Whether lengths, and with `time` rates, are others than those of all rows, measured at the whole
 * model: what is promised is marked then. */
bool ald_plan_is_rough(const ald_planning_t *p, bool time);
/* Prints a line, behind the mark, for each stage that has more trainers than micro-batches. */
void ald_plan_print_idle(const ald_plan_t *plan, char mark);
/* "3.2 GiB" and the like, and "1.5 h", in `room` of 32 bytes. */
const char *ald_plan_bytes(double bytes, char *room);
const char *ald_plan_time(double seconds, char *room);

/* Everything on a screen; as JSON. */
void ald_plan_print(const ald_planning_t *p);
ald_status_t ald_plan_print_json(const ald_planning_t *p);

/* Shell assignments for the job scripts. RESOURCE, and nothing printed, where a stage doesn't fit
 * into the nodes, with what would. */
ald_status_t ald_plan_sbatch(ald_planning_t *p);

/* Promises for the ranks of each measured stage of the output folder `run`, beside what it took.
 * INPUT where nothing was measured there. */
ald_status_t ald_plan_compare(ald_planning_t *p, const char *run, bool json);

/* Sums of RUN/measured/score-*.json; `tasks` 0: there are none. */
typedef struct {
    int tasks;
    double seconds, sequences, bytes, files, peak;
    int ranks, nodes, threads; /* of a task */
    bool stopped;              /* one of them isn't finished */
} ald_scored_tasks_t;
ald_status_t ald_plan_scored_tasks(const char *run, ald_scored_tasks_t *out);

#endif
