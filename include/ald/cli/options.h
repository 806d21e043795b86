/* Command line parts that commands share. Layer: cli. */
#ifndef ALD_CLI_OPTIONS_H
#define ALD_CLI_OPTIONS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/sweep.h"
#include "ald/par/comm.h"

/* A command: its own arguments without the program's name (argv[0] is the command). Collective over
 * the world; the same status on every rank. */
typedef struct {
    const char *name, *arguments, *summary, *help;
    ald_status_t (*run)(int argc, char **argv, const ald_comm_t *world);
} ald_command_t;

/* Options that every command with a configuration takes. `config` must be reset after. */
typedef struct {
    ald_config_t config;
    int64_t show;        /* eval --show ROW, else -1 */
    int64_t part, parts; /* score --part I/N, else from the Slurm array, else 0 of 1 */
    ald_sweep_t sweep;   /* distill --sweep FILE, else without runs; must be reset after */
} ald_options_t;
/* Parses -c, --set, --quiet, --verbose and what `extra` names ("show", "part", "sweep" or ""),
 * loads and compares the configuration, sets threads and logging. Collective. */
ald_status_t ald_options_parse(int argc, char **argv, const char *extra, const ald_comm_t *world,
                               ald_options_t *out);

/* Notes in *chosen (NULL at first) which of several options that exclude each other was given.
 * USAGE that names both for a second one; `command` is where they belong. Local. */
ald_status_t ald_option_choose(const char *command, const char *word, const char **chosen);

/* Sets this rank's threads and returns their number: `asked`, or with 0 those of OMP_NUM_THREADS,
 * or this rank's share of the cores at hand. Collective over `world`; ranks may get different
 * numbers. */
int ald_threads_choose(int64_t asked, const ald_comm_t *world);

#endif
