/* Whether a run stops now: a signal has come, or what is left of its time is too short for one more
 * step and for keeping that. Layer: par.
 *
 * What a step costs, and what keeping costs, is measured while the run goes: the longest seen so
 * far, with a margin. Time stops no run that hasn't had a step yet, so each one gets on. */
#ifndef ALD_PAR_STOP_H
#define ALD_PAR_STOP_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

/* Why a run stops; a later one hides an earlier one. */
typedef enum {
    ALD_STOP_NO,
    ALD_STOP_JOB,
    ALD_STOP_LIMIT,
    ALD_STOP_SIGNAL,
    ALD_STOP_ALARM
} ald_stop_t;

/* A time limit counts from here: the program begins. Local. */
void ald_stop_start(void);
/* Unix seconds at which this Slurm job ends, of SLURM_JOB_END_TIME; 0 where that isn't set, no
 * number, past (the job was extended, or has left its environment behind), or years ahead. Local.
 */
int64_t ald_stop_job_end(void);
/* Sets the end of the run: `seconds` (runtime.time_limit) from its start, with 0 that of its job,
 * or none. Local. */
void ald_stop_limit(double seconds);
/* Warns, once, where no time is left for a first step: it is taken all the same. Local. */
void ald_stop_begin(const char *stage);

/* A step was taken that keeping makes good for the next run; or a step's results were kept. Local.
 */
void ald_stop_stepped(double seconds);
void ald_stop_kept(double seconds);
/* Bytes that keeping will write: until it is measured, they are taken to need a second for 100 MB.
 * Local. */
void ald_stop_expect(double bytes);

/* monitor.alarm ends the run: due from here on. Local. */
void ald_stop_alarm(void);
/* Why this rank would stop now, before `keeps` times keeping what it has; with `left`, the units of
 * work after that, 0 only a signal or an alarm is a reason. Local. */
ald_stop_t ald_stop_due(int64_t left, int64_t keeps);
/* The strongest reason of all ranks. Collective. */
ald_stop_t ald_stop_agree(const ald_comm_t *comm, ald_stop_t mine);

/* The work that is stopped, in units such as "step". */
typedef struct {
    const char *stage, *unit;
    int64_t at, total; /* the last one done, from 1; all of them */
    int64_t left;      /* to do */
    int64_t done;      /* in this run, in `seconds`, from which what the rest needs is told */
    double seconds;
} ald_stop_work_t;
/* Raises STOPPED with why, how much is left and about how long it takes. Local. */
ald_status_t ald_stop_raise(ald_stop_t why, const ald_stop_work_t *work);

#endif
