/* What `aligndistil COMMAND --help` prints, and its pieces, from which the manual page is made.
 * Private to the command line. */
#ifndef ALD_CLI_HELP_IMPL_H
#define ALD_CLI_HELP_IMPL_H

#include <stddef.h>
#include <stdio.h>

#include "cli/commands_impl.h"
#include "cli/options_impl.h"

/* What the program does; how it is called; whole lines on how it runs, and on its exit codes. */
extern const char ald_help_title[], ald_help_synopsis[], ald_help_running[], ald_help_codes[];

/* Usage, the command's prose, its options and, where it has a configuration, all keys; to stdout.
 */
void ald_help_print(const ald_command_t *command);

/* "usage: aligndistil COMMAND ...", as lines that fit a terminal. */
void ald_help_usage(FILE *out, const ald_command_t *command);

/* A line that begins zeroed and is added to; what is too long is cut. */
typedef struct {
    char text[1024];
    size_t length;
} ald_help_line_t;
/* The option as one writes it; what it means, with its standard value. */
void ald_help_add_name(ald_help_line_t *line, const ald_option_t *option);
void ald_help_add_meaning(ald_help_line_t *line, const ald_option_t *option);

#endif
