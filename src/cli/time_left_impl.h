/* The time that is left of a Slurm job. Private to the command line. */
#ifndef ALD_CLI_TIME_LEFT_IMPL_H
#define ALD_CLI_TIME_LEFT_IMPL_H

/* Prints the whole seconds that are left of this job, or "unlimited", also outside one; returns the
 * exit code: USAGE with one line on stderr where it can't be told. Local. */
int ald_time_left_print(void);

#endif
