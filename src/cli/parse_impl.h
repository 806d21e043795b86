/* From words to options. Private to the command line. */
#ifndef ALD_CLI_PARSE_IMPL_H
#define ALD_CLI_PARSE_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"

/* Parses a command's words, argv[1 .. argc-1], by the table. USAGE naming the option for one that
 * the command doesn't take, a value that is missing or not as expected, options that exclude each
 * other, one without those that it needs, and what is required and missing. Local; `out` is valid
 * in any case and must be reset. */
ald_status_t ald_parse(const ald_command_t *command, int argc, char **argv, ald_options_t *out);

/* False unless the whole text is a number from `low` to `high`. */
bool ald_parse_integer(const char *text, int64_t low, int64_t high, int64_t *out);

#endif
