/* What a command starts from: configuration, sweep, part, threads. Private to the command line. */
#ifndef ALD_CLI_SETUP_IMPL_H
#define ALD_CLI_SETUP_IMPL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/config/sweep.h"
#include "ald/par/comm.h"
#include "cli/options_impl.h"

typedef struct {
    ald_config_t config;
    ald_sweep_t sweep; /* without runs where there is no --sweep */
} ald_setup_t;

/* Loads the configuration and the sweep that the options name, compares them over the ranks, and
 * sets threads, products and the site that is to fail. Collective; `out` must be reset in any case.
 */
ald_status_t ald_setup_load(const ald_options_t *options, const ald_comm_t *world,
                            ald_setup_t *out);
/* Where the command lines of a job differ in --role, numbers the ranks anew, trainers first, then
 * scorers, and sets roles.* as if by --set. USAGE when some have a role and others none. Collective
 * over the world. */
ald_status_t ald_setup_roles(ald_options_t *options, ald_comm_t *world);
void ald_setup_reset(ald_setup_t *setup);

/* The part of --part I/N; for NULL that of this task of a Slurm array. Collective over `world`. */
ald_status_t ald_setup_part(const char *text, const ald_config_t *config, const ald_comm_t *world,
                            int64_t *part, int64_t *parts);

/* Appends the settings (ald_eval_point_t) that the lists of --strengths and --plausibilities name,
 * every one with every other; a list that is NULL has the configuration's value. Nothing when both
 * are NULL. USAGE for a list that isn't of numbers in range. Local. */
ald_status_t ald_setup_points(const ald_options_t *options, const ald_config_t *config,
                              ald_vec_t *out);

/* Sets this rank's threads: `asked`, or with 0 those of OMP_NUM_THREADS, or this rank's share of
 * the cores at hand; *given becomes what ald_threads_set gave. Collective over `world`; ranks may
 * get different numbers. */
ald_status_t ald_setup_threads(int64_t asked, const ald_comm_t *world, int *given);

#endif
