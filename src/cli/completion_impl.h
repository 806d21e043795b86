/* The completion for bash, `aligndistil --help=bash`. Private to the command line. */
#ifndef ALD_CLI_COMPLETION_IMPL_H
#define ALD_CLI_COMPLETION_IMPL_H

#include <stddef.h>

#include "ald/base/status.h"
#include "cli/commands_impl.h"

/* Prints a file for share/bash-completion/completions: commands, their options, keys behind --set,
 * the choices of both, and files. RESOURCE where stdout takes no more. */
ald_status_t ald_completion_print(const ald_command_t *const *commands, size_t count);

#endif
