/* The completion for bash: tables as shell functions, from those of the program, and one function
 * that looks up in them what may stand where the cursor is. */
#include "cli/completion_impl.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/print.h"
#include "cli/options_impl.h"

/* "files" in a table stands for the names of files. Bash may cut "--set key=value" into "key", "="
 * and "value": `setting` is put together again, and only `word` is completed. */
static const char completer[] =
    "_aligndistil()\n"
    "{\n"
    "    local at=$COMP_CWORD word=${COMP_WORDS[COMP_CWORD]} values=files\n"
    "    local setting=$word before=''\n"
    "    while ((at > 1)) && [[ ${COMP_WORDS[at]} == [=:]* || ${COMP_WORDS[at - 1]} == [=:]* ]]; "
    "do\n"
    "        ((at--))\n"
    "        setting=${COMP_WORDS[at]}$setting\n"
    "    done\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        values=$_aligndistil_commands\n"
    "    elif [[ ${COMP_WORDS[at - 1]} == --set && $setting == *=* ]]; then\n"
    "        ((at == COMP_CWORD)) && before=${setting%%=*}=\n"
    "        values=$(_aligndistil_values \"${setting%%=*}\")\n"
    "        word=${setting#*=}\n"
    "    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --set ]]; then\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        values=$_aligndistil_keys\n"
    "    elif [[ $word == -* ]]; then\n"
    "        values=$(_aligndistil_options \"${COMP_WORDS[1]}\")\n"
    "    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == -* ]]; then\n"
    "        values=$(_aligndistil_values \"${COMP_WORDS[COMP_CWORD - 1]}\")\n"
    "    fi\n"
    "    if [[ $values == files ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"$before\" -f -- \"$word\")\n"
    "    else\n"
    "        mapfile -t COMPREPLY < <(compgen -P \"$before\" -W \"$values\" -- \"$word\")\n"
    "    fi\n"
    "}\n"
    "complete -F _aligndistil aligndistil\n";

/* "a|b" as "a b". */
static void put_choices(const char *choices)
{
    for (; *choices != '\0'; ++choices)
        putchar(*choices == '|' ? ' ' : *choices);
}

/* Whether an option's value, or a positional argument, is the path of something. */
static bool is_path(const ald_option_t *option)
{
    const char *what = option->argument != NULL ? option->argument : option->name;
    return strncmp(what, "FILE", 4) == 0 || strcmp(what, "PATH") == 0 ||
           strstr(what, "DIR") != NULL;
}

static void put_options(const ald_command_t *command)
{
    printf("    %s) echo '", command->name);
    for (size_t i = 0; i < ald_option_count; ++i)
        if (ald_option_table[i].commands & command->bit &&
            !ald_option_is_positional(&ald_option_table[i]))
            printf("%s ", ald_option_table[i].name);
    puts("--help' ;;");
}

/* A row of the table of values; nothing follows an option without one but what may stand there. */
static void put_option_values(const ald_option_t *option)
{
    printf("    %s) echo '", option->name);
    if (option->choices != ALD_CHOICES_NONE)
        put_choices(ald_choice_names(option->choices));
    else if (is_path(option) || option->argument == NULL)
        fputs("files", stdout);
    puts("' ;;");
}

static void put_key_values(const ald_config_about_t *key)
{
    if (key->choices == NULL && strcmp(key->kind, "path") != 0)
        return;
    printf("    %s) echo '", key->path);
    put_choices(key->choices != NULL ? key->choices : "files");
    puts("' ;;");
}

ald_status_t ald_completion_print(const ald_command_t *const *commands, size_t count)
{
    ald_config_about_t key;
    puts("# Completion of aligndistil " ALD_VERSION " for bash; made by aligndistil --help=bash.\n"
         "# shellcheck shell=bash");
    fputs("_aligndistil_commands='", stdout);
    for (size_t i = 0; i < count; ++i)
        printf("%s ", commands[i]->name);
    fputs("--help --version --time-left'\n_aligndistil_keys='", stdout);
    for (size_t i = 0; ald_config_about(i, &key); ++i)
        printf("%s%s=", i > 0 ? " " : "", key.path);
    puts("'\n_aligndistil_options()\n{\n    case $1 in");
    for (size_t i = 0; i < count; ++i)
        put_options(commands[i]);
    puts("    esac\n}\n_aligndistil_values()\n{\n    case $1 in");
    for (size_t i = 0; i < ald_option_count; ++i)
        if (!ald_option_is_positional(&ald_option_table[i]))
            put_option_values(&ald_option_table[i]);
    for (size_t i = 0; ald_config_about(i, &key); ++i)
        put_key_values(&key);
    puts("    esac\n}");
    fputs(completer, stdout);
    return fflush(stdout) == 0 ? ALD_STATUS_OK : ALD_STATUS_RESOURCE;
}
