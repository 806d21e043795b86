/* `aligndistil --time-left`, for scripts: what SLURM_JOB_END_TIME says, else what the controller is
 * asked by squeue, which knows of jobs that were extended. */
#include "cli/time_left_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/par/stop.h"

/* The seconds of "[DAYS-][HOURS:]MINUTES:SECONDS", as squeue prints them; -1: it is something else.
 */
static int64_t parse_left(const char *text)
{
    static const int in_days[] = {24, 60, 60}; /* behind the days: hours, minutes, seconds */
    int64_t days = 0, parts[3] = {0}, seconds = 0;
    int end = 0, count;
    if (sscanf(text, "%" SCNd64 "-%n", &days, &end) == 1 && end > 0)
        text += end;
    else
        days = 0;
    end = 0;
    count = sscanf(text, "%" SCNd64 ":%" SCNd64 "%n:%" SCNd64 "%n", &parts[0], &parts[1], &end,
                   &parts[2], &end);
    if (count < 2 || text[end] != '\0' || parts[0] < 0 || parts[1] < 0 || parts[2] < 0)
        return -1;
    if (count == 2)
        return parts[0] * 60 + parts[1];
    seconds = days;
    for (int i = 0; i < 3; ++i)
        seconds = seconds * in_days[i] + parts[i];
    return seconds;
}

/* What squeue says of a job, a line without its end; false where it says nothing. */
static bool ask_controller(const char *job, char *out, int size)
{
    char command[96];
    out[0] = '\0';
    if (job[0] == '\0' || strlen(job) > 41 || strspn(job, "0123456789_") != strlen(job))
        return false; /* no word of a command */
    snprintf(command, sizeof command, "squeue -h -j %s -o %%L 2>/dev/null", job);
    FILE *answer = popen(command, "r");
    if (answer == NULL)
        return false;
    const bool said = fgets(out, size, answer) != NULL;
    pclose(answer);
    out[strcspn(out, " \n")] = '\0';
    return said;
}

/* This job as squeue knows it alone: a task of an array may have the number of the whole array. */
static const char *own_job(void)
{
    static char task[64];
    const char *array = getenv("SLURM_ARRAY_JOB_ID"), *id = getenv("SLURM_ARRAY_TASK_ID");
    if (array == NULL || id == NULL)
        return getenv("SLURM_JOB_ID");
    snprintf(task, sizeof task, "%s_%s", array, id);
    return task;
}

int ald_time_left_print(void)
{
    const int64_t end = ald_stop_job_end();
    const char *job = own_job();
    char said[64];
    int64_t left = end - (int64_t)time(NULL);
    if (end == 0 && job != NULL) {
        const bool asked = ask_controller(job, said, sizeof said);
        left = asked ? parse_left(said) : -1;
        if (left < 0 && strcmp(said, "UNLIMITED") != 0) {
            ald_log_error("--time-left: neither SLURM_JOB_END_TIME nor squeue tell the end of job "
                          "%s%s%s",
                          job, asked ? ": " : "", said);
            return ALD_STATUS_USAGE;
        }
    } else if (end == 0) {
        left = -1;
    }
    if (left < 0)
        puts("unlimited");
    else
        printf("%" PRId64 "\n", left);
    return ALD_STATUS_OK;
}
