/* The commands, one file each in src/cli. Layer: cli. */
#ifndef ALD_CLI_COMMANDS_IMPL_H
#define ALD_CLI_COMMANDS_IMPL_H

#include "ald/cli/options.h"

extern const ald_command_t ald_command_sft;
extern const ald_command_t ald_command_dpo;
extern const ald_command_t ald_command_score;
extern const ald_command_t ald_command_generate;
extern const ald_command_t ald_command_distill;
extern const ald_command_t ald_command_eval;
extern const ald_command_t ald_command_inspect;
extern const ald_command_t ald_command_tokenize;
extern const ald_command_t ald_command_bench;

#endif
