/* The commands, one file each in src/cli but for the stages, which share one. Private to the
 * command line. */
#ifndef ALD_CLI_COMMANDS_IMPL_H
#define ALD_CLI_COMMANDS_IMPL_H

#include "ald/base/status.h"
#include "ald/par/comm.h"
#include "cli/options_impl.h"

/* Usage and the list of options come from the table. */
typedef struct {
    ald_command_bit_t bit;
    const char *name, *summary;
    const char *help;  /* whole lines before the list of options */
    const char *notes; /* whole lines behind it, or NULL */
    /* Collective over the world; the same status on every rank. */
    ald_status_t (*run)(const ald_options_t *options, const ald_comm_t *world);
} ald_command_t;

extern const ald_command_t ald_command_audit;
extern const ald_command_t ald_command_sft;
extern const ald_command_t ald_command_dpo;
extern const ald_command_t ald_command_score;
extern const ald_command_t ald_command_generate;
extern const ald_command_t ald_command_distill;
extern const ald_command_t ald_command_eval;
extern const ald_command_t ald_command_inspect;
extern const ald_command_t ald_command_tokenize;
extern const ald_command_t ald_command_bench;
extern const ald_command_t ald_command_plan;

#endif
