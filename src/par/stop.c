/* The time that a run has. Each rank looks at its own clock, and the first one that is due stops
 * all, so clocks of nodes needn't agree. */
#include "ald/par/stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/par/comm.h"
#include "ald/par/signals.h"

/* What a step takes varies, and so does a file system that others use. */
static const double margin = 1.25;
/* Seconds for what isn't measured: ranks that look at each other every two, the end of MPI. */
static const double slack = 3.0;

static struct {
    double start, end;        /* by ald_time */
    ald_stop_t why;           /* ALD_STOP_NO: there is no end */
    double step, keep;        /* the longest, seconds */
    bool stepped, kept, told; /* kept: `keep` was measured */
    bool alarm;
} run;

static const char *const reasons[] = {[ALD_STOP_NO] = "",
                                      [ALD_STOP_JOB] = "the end of its job",
                                      [ALD_STOP_LIMIT] = "runtime.time_limit",
                                      [ALD_STOP_SIGNAL] = "a signal",
                                      [ALD_STOP_ALARM] = "monitor.alarm"};

void ald_stop_start(void)
{
    run.start = ald_time();
}

int64_t ald_stop_job_end(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    const int64_t now = (int64_t)time(NULL), years = 10LL * 365 * 86400;
    char *rest = NULL;
    const long long end = text == NULL ? 0 : strtoll(text, &rest, 10);
    const bool whole = text != NULL && rest != text && *rest == '\0';
    return whole && end > now && end < now + years ? end : 0;
}

void ald_stop_limit(double seconds)
{
    const int64_t job = ald_stop_job_end();
    run.why = seconds > 0.0 ? ALD_STOP_LIMIT : job > 0 ? ALD_STOP_JOB : ALD_STOP_NO;
    run.end = run.start + seconds;
    if (run.why == ALD_STOP_JOB)
        run.end = ald_time() + (double)(job - (int64_t)time(NULL));
    else if (run.why == ALD_STOP_NO && getenv("SLURM_JOB_END_TIME") != NULL)
        ald_log_info("SLURM_JOB_END_TIME=%s: no time that is still to come; no time limit",
                     getenv("SLURM_JOB_END_TIME"));
    if (run.why != ALD_STOP_NO)
        ald_log_info("%.0f s are left before %s: the run stops in time, and goes on by the same "
                     "command",
                     fmax(run.end - ald_time(), 0.0), reasons[run.why]);
}

/* Seconds that one more step and keeping need. */
static double needed(int64_t keeps)
{
    return margin * (run.step + (double)keeps * run.keep) + slack;
}

void ald_stop_begin(const char *stage)
{
    if (run.why == ALD_STOP_NO || run.stepped || run.told || ald_time() + needed(1) <= run.end)
        return;
    run.told = true;
    ald_log_warn("%s: no time is left for a step before %s; one is taken all the same, or the run "
                 "would never get on",
                 stage, reasons[run.why]);
}

void ald_stop_stepped(double seconds)
{
    run.stepped = true;
    run.step = seconds > run.step ? seconds : run.step;
}

void ald_stop_kept(double seconds)
{
    run.keep = seconds > run.keep || !run.kept ? seconds : run.keep;
    run.kept = true;
}

void ald_stop_expect(double bytes)
{
    if (!run.kept)
        run.keep = bytes / 1e8;
}

void ald_stop_alarm(void)
{
    run.alarm = true;
}

ald_stop_t ald_stop_due(int64_t left, int64_t keeps)
{
    if (run.alarm)
        return ALD_STOP_ALARM;
    if (ald_signals_seen())
        return ALD_STOP_SIGNAL;
    if (run.why == ALD_STOP_NO || !run.stepped || left == 0)
        return ALD_STOP_NO;
    return ald_time() + needed(keeps) > run.end ? run.why : ALD_STOP_NO;
}

ald_stop_t ald_stop_agree(const ald_comm_t *comm, ald_stop_t mine)
{
    int why = (int)mine;
    MPI_Allreduce(MPI_IN_PLACE, &why, 1, MPI_INT, MPI_MAX, comm->mpi);
    return (ald_stop_t)why;
}

/* A time as one says it. */
static void put_time(double seconds, char *out, size_t size)
{
    if (seconds < 100.0)
        snprintf(out, size, "about %.0f s", seconds < 1.0 ? 1.0 : seconds);
    else if (seconds < 6000.0)
        snprintf(out, size, "about %.0f min", seconds / 60.0);
    else
        snprintf(out, size, "about %.1f h", seconds / 3600.0);
}

ald_status_t ald_stop_raise(ald_stop_t why, const ald_stop_work_t *work)
{
    char rest[48] = "none of them was timed";
    if (work->done > 0)
        put_time(work->seconds / (double)work->done * (double)work->left, rest, sizeof rest);
    return ald_status_raise(ALD_STATUS_STOPPED,
                            "%s: stopped by %s after %s %lld of %lld; run the same command again "
                            "%sto go on: %lld %ss left, %s",
                            work->stage, reasons[why], work->unit, (long long)work->at,
                            (long long)work->total,
                            why == ALD_STOP_ALARM ? "with another monitor.alarm, or none, " : "",
                            (long long)work->left, work->unit, rest);
}
