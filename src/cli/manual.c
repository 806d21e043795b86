/* The manual page from the tables that parsing and help have, so that it can't say anything else.
 * It is in roff with the macros of man(7), as groff and mandoc read it. */
#include "cli/manual_impl.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/config/print.h"
#include "cli/help_impl.h"
#include "cli/options_impl.h"

/* Prints whole lines so that no character of theirs is a request or becomes another: roff takes a
 * line that begins with a dot or a quote as one of its own, and a plain minus for a hyphen. A list
 * of choices may be broken behind a bar. */
static void put_text(const char *text)
{
    static const char special[] = "\\-'`^~|";
    static const char *const spelled[] = {"\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti", "|\\:"};
    for (const char *at = text; *at != '\0'; ++at) {
        const char *found = strchr(special, *at);
        if (*at == '.' && (at == text || at[-1] == '\n'))
            fputs("\\&", stdout);
        if (found != NULL)
            fputs(spelled[found - special], stdout);
        else
            putchar(*at);
    }
}

/* A line that begins with a macro's name. */
static void put_line(const char *macro, const char *text)
{
    fputs(macro, stdout);
    put_text(text);
    putchar('\n');
}

static void put_usage(const ald_command_t *command)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return;
    ald_help_usage(out, command);
    fclose(out);
    puts(".PP\n.nf");
    put_text(text);
    puts(".fi");
    free(text);
}

static void put_command(const ald_command_t *command)
{
    put_line(".SS ", command->name);
    put_line("", command->summary);
    put_usage(command);
    puts(".PP");
    put_text(command->help);
    if (command->notes != NULL) {
        puts(".PP");
        put_text(command->notes);
    }
}

/* The option, its meaning, and the commands that take it. */
static void put_option(const ald_option_t *option, const ald_command_t *const *commands,
                       size_t count)
{
    ald_help_line_t name = {0}, meaning = {0};
    const char *before = " [";
    ald_help_add_name(&name, option);
    ald_help_add_meaning(&meaning, option);
    put_line(".TP\n.B ", name.text);
    put_text(meaning.text);
    for (size_t i = 0; i < count; ++i)
        if (option->commands & commands[i]->bit) {
            printf("%s%s", before, commands[i]->name);
            before = ", ";
        }
    puts("]");
}

static void put_keys(void)
{
    ald_config_about_t key;
    for (size_t i = 0; ald_config_about(i, &key); ++i) {
        put_line(".TP\n.B ", key.path);
        put_text(key.help);
        if (key.choices != NULL) {
            fputs(" (", stdout);
            put_text(key.choices);
            putchar(')');
        }
        printf("; %s, default ", key.kind);
        put_line("", key.standard);
    }
}

ald_status_t ald_manual_print(const ald_command_t *const *commands, size_t count)
{
    puts(".TH ALIGNDISTIL 1 \"" ALD_RELEASED "\" \"aligndistil " ALD_VERSION
         "\" \"User Commands\"\n.ad l\n.nh\n.SH NAME");
    put_line("aligndistil \\- ", ald_help_title);
    puts(".SH SYNOPSIS\n.nf");
    put_line("", ald_help_synopsis);
    puts(".fi\n.SH DESCRIPTION");
    put_text(ald_help_running);
    puts(".SH COMMANDS");
    for (size_t i = 0; i < count; ++i)
        put_command(commands[i]);
    puts(".SH OPTIONS\nThe commands that take an option are in brackets.");
    for (size_t i = 0; i < ald_option_count; ++i)
        put_option(&ald_option_table[i], commands, count);
    puts(".SH CONFIGURATION\nThe keys of \\fIFILE.cfg\\fR, which is in the syntax of libconfig.");
    put_keys();
    puts(".SH EXIT STATUS");
    put_text(ald_help_codes);
    return fflush(stdout) == 0 ? ALD_STATUS_OK : ALD_STATUS_RESOURCE;
}
