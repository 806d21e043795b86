/* The part of a task of a Slurm array. Private to the command line. */
#ifndef ALD_CLI_ARRAY_IMPL_H
#define ALD_CLI_ARRAY_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

/* The part that this task has of as many as the array has tasks: its place where the array is a
 * range without gaps, so that any array of that form makes the same parts. Else nobody tells a task
 * its place: each takes the first that is free, by a symbolic link OUTPUT/jobs/array-JOB/K to its
 * number, which a requeued task finds again. 0 of 1 outside arrays. USAGE for variables that no
 * array has. Collective over the world. */
ald_status_t ald_array_part(const char *output, const ald_comm_t *world, int64_t *part,
                            int64_t *parts);

#endif
