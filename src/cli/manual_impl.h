/* The manual page, `aligndistil --help=man`. Private to the command line. */
#ifndef ALD_CLI_MANUAL_IMPL_H
#define ALD_CLI_MANUAL_IMPL_H

#include <stddef.h>

#include "ald/base/status.h"
#include "cli/commands_impl.h"

/* Prints the page in roff, with the commands, all options and all keys of the configuration.
 * RESOURCE where stdout takes no more. */
ald_status_t ald_manual_print(const ald_command_t *const *commands, size_t count);

#endif
