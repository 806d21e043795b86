/* Help of a command: usage line and list of options from the table, prose from the command.
 * Brackets show alternatives and what goes with another option, by the rows that are checked. */
#include "cli/help_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/print.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"

enum { WIDTH = 98, USAGE_INDENT = 7 }; /* columns; the length of "usage: " */

const char ald_help_title[] = "aligns language models with preferences by token-level distillation";
const char ald_help_synopsis[] =
    "aligndistil COMMAND -c FILE.cfg [--set path=value]... [--quiet | --verbose]";
const char ald_help_running[] =
    "Any command runs alone, under mpirun or under srun.\n"
    "aligndistil COMMAND --help tells more; aligndistil --version the version; aligndistil\n"
    "--time-left the seconds that are left of this Slurm job, or \"unlimited\"; aligndistil\n"
    "--help=man the manual page, --help=bash the completion of commands, options and keys.\n"
    "ALIGNDISTIL_ISA=x86-64-v3 (or x86-64, x86-64-v4) sets the instruction level, by default\n"
    "this CPU's highest, so that unlike nodes give the same bits.\n";
const char ald_help_codes[] =
    "0 done, 2 command line or configuration, 3 input, 4 memory or disk, 5 internal,\n"
    "75 stopped by a signal or in time for the end of the job or of --deadline: the same\n"
    "command goes on\n";

/* A text that is too long is cut. */
static void add(ald_help_line_t *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(ald_help_line_t *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line->text + line->length, sizeof line->text - line->length, format, arguments);
    va_end(arguments);
    line->length = strlen(line->text);
}

/* Writes a piece that isn't broken at `column`, or on a new line; returns the column behind it. */
static int put_piece(FILE *out, const char *piece, int length, int column, int indent)
{
    const bool breaks = column > indent && column + 1 + length > WIDTH;
    const int before = breaks ? indent : column > indent;
    fprintf(out, "%s%*s%.*s", breaks ? "\n" : "", before, "", length, piece);
    return (breaks ? 0 : column) + before + length;
}

void ald_help_add_name(ald_help_line_t *line, const ald_option_t *option)
{
    const bool valued = option->argument != NULL;
    add(line, "%s%s%s", option->name, valued ? " " : "", valued ? option->argument : "");
}

/* Shown inside the brackets of the one option that it needs. */
static bool is_inner(const ald_option_t *option)
{
    return option->needs != NULL && strchr(option->needs, '|') == NULL;
}

/* Row `at` with the options that go with it alone. */
static void add_row(ald_help_line_t *line, const ald_command_t *command, size_t at)
{
    ald_help_add_name(line, &ald_option_table[at]);
    for (size_t i = 0; i < ald_option_count; ++i) {
        const ald_option_t *inner = &ald_option_table[i];
        if (!(inner->commands & command->bit) || !is_inner(inner) ||
            strcmp(inner->needs, ald_option_table[at].name) != 0)
            continue;
        add(line, " [");
        ald_help_add_name(line, inner);
        add(line, "]");
    }
}

/* Whether row `at` excludes each of those from `first` on that stand for themselves. */
static bool is_alternative(const ald_command_t *command, size_t first, size_t at)
{
    bool all = true;
    for (size_t i = first; i < at; ++i) {
        const ald_option_t *before = &ald_option_table[i];
        if (before->commands & command->bit && !is_inner(before))
            all = all && ald_option_exclude(before, &ald_option_table[at]);
    }
    return all;
}

/* Prints the rows from `first` on that exclude each other, in brackets; returns the next row. */
static size_t add_alternatives(ald_help_line_t *line, const ald_command_t *command, size_t first)
{
    const ald_option_t *option = &ald_option_table[first];
    ald_help_line_t inside = {0};
    int count = 0;
    size_t at = first;
    for (; at < ald_option_count; ++at) {
        const ald_option_t *row = &ald_option_table[at];
        if (!(row->commands & command->bit) || is_inner(row))
            continue;
        if (!is_alternative(command, first, at))
            break;
        add(&inside, "%s", count++ > 0 ? " | " : "");
        add_row(&inside, command, at);
    }
    const char *open = !option->required ? "[" : count > 1 ? "(" : "";
    const char *close = !option->required ? "]" : count > 1 ? ")" : "";
    add(line, "%s%s%s%s", open, inside.text, close, option->kind == ALD_OPTION_LIST ? "..." : "");
    return at;
}

void ald_help_usage(FILE *out, const ald_command_t *command)
{
    int column = fprintf(out, "usage: aligndistil %s", command->name);
    for (size_t at = 0; at < ald_option_count;) {
        const ald_option_t *option = &ald_option_table[at];
        if (!(option->commands & command->bit) || is_inner(option)) {
            ++at;
            continue;
        }
        ald_help_line_t line = {0};
        at = add_alternatives(&line, command, at);
        column = put_piece(out, line.text, (int)line.length, column, USAGE_INDENT);
    }
    putc('\n', out);
}

/* The standard value of an option that has one. */
static void add_standard(ald_help_line_t *line, const ald_option_t *option)
{
    const char *member = (const char *)&ald_options_standard + option->offset;
    if (option->kind == ALD_OPTION_INTEGER && *(const int64_t *)member >= option->low)
        add(line, " (%lld)", (long long)*(const int64_t *)member);
    if (option->choices != ALD_CHOICES_NONE)
        add(line, " (%s)", ald_choice_name(option->choices, *(const unsigned *)member));
}

void ald_help_add_meaning(ald_help_line_t *line, const ald_option_t *option)
{
    if (option->needs != NULL)
        add(line, "with %s: ", option->needs);
    add(line, "%s", option->help);
    add_standard(line, option);
}

static void print_option(const ald_option_t *option, int width)
{
    ald_help_line_t name = {0}, help = {0};
    const int indent = width + 4; /* two blanks on either side of the name */
    ald_help_add_name(&name, option);
    ald_help_add_meaning(&help, option);
    int column = printf("  %-*s  ", width, name.text);
    for (const char *at = help.text; *at != '\0'; at += strspn(at, " ")) {
        const int length = (int)strcspn(at, " ");
        column = put_piece(stdout, at, length, column, indent);
        at += length;
    }
    putchar('\n');
}

static void print_options(const ald_command_t *command)
{
    size_t width = 0;
    for (size_t i = 0; i < ald_option_count; ++i) {
        ald_help_line_t name = {0};
        ald_help_add_name(&name, &ald_option_table[i]);
        if (ald_option_table[i].commands & command->bit && name.length > width)
            width = name.length;
    }
    for (size_t i = 0; i < ald_option_count; ++i)
        if (ald_option_table[i].commands & command->bit)
            print_option(&ald_option_table[i], (int)width);
}

void ald_help_print(const ald_command_t *command)
{
    char *keys = NULL;
    ald_help_usage(stdout, command);
    printf("\n%s\n%s", command->summary, command->help);
    print_options(command);
    printf("%s", command->notes != NULL ? command->notes : "");
    if (ald_option_find(command->bit, "-c") != NULL &&
        ald_config_describe(NULL, &keys) == ALD_STATUS_OK)
        printf("\nconfiguration keys:\n%s", keys);
    ald_free(keys);
}
