/* What `aligndistil COMMAND --help` prints. Private to the command line. */
#ifndef ALD_CLI_HELP_IMPL_H
#define ALD_CLI_HELP_IMPL_H

#include "cli/commands_impl.h"

/* Usage, the command's prose, its options and, where it has a configuration, all keys; to stdout.
 */
void ald_help_print(const ald_command_t *command);

#endif
