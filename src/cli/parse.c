/* The command line by the table of options: no option is known here by name, none checked by hand.
 * Checks are of what was given, not of values: giving a standard value counts as well. */
#include "cli/parse_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"

typedef struct {
    const ald_command_t *command;
    ald_options_t *out;
    bool given[ALD_OPTIONS_MOST]; /* of each row of the table */
    int64_t positional;
} parse_t;

static bool is_given(const parse_t *parse, size_t row)
{
    return parse->given[row];
}

bool ald_parse_integer(const char *text, int64_t low, int64_t high, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *out >= low && *out <= high;
}

static ald_status_t store_integer(const ald_option_t *option, const char *value, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char most[32] = "";
    if (option->high < INT64_MAX)
        snprintf(most, sizeof most, " to %lld", (long long)option->high);
    ALD_CHECK(ald_parse_integer(value, option->low, option->high, out), ALD_STATUS_USAGE,
              "%s %s: expected a whole number from %lld%s", option->name, value,
              (long long)option->low, most);
done:
    return status;
}

/* Reads "3" or "0:5". */
static bool parse_range(const char *text, ald_range_t *out)
{
    const char *colon = strchr(text, ':');
    char first[32];
    const size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    snprintf(first, sizeof first, "%.*s", (int)length, text);
    return length < sizeof first && ald_parse_integer(first, 0, INT64_MAX, &out->first) &&
           ald_parse_integer(colon == NULL ? first : colon + 1, out->first, INT64_MAX, &out->last);
}

static ald_status_t store_ranges(const ald_option_t *option, const char *value, ald_ranges_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (const char *at = value, *comma; at != NULL; at = comma == NULL ? NULL : comma + 1) {
        char piece[64];
        ald_range_t range;
        comma = strchr(at, ',');
        const size_t length = comma == NULL ? strlen(at) : (size_t)(comma - at);
        snprintf(piece, sizeof piece, "%.*s", (int)length, at);
        ALD_CHECK(length < sizeof piece && parse_range(piece, &range), ALD_STATUS_USAGE,
                  "%s %s: expected a whole number from 0, or some as in 0,4,8:11", option->name,
                  value);
        ALD_TRY(ald_vec_push(&out->list, &range));
    }
done:
    return status;
}

/* Enumerations are unsigned, as those of the configuration. */
static ald_status_t store_constant(const ald_option_t *option, const char *value, unsigned *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = option->constant;
    ALD_CHECK(value == NULL || ald_choice_find(option->choices, value, out), ALD_STATUS_USAGE,
              "%s %s: expected one of %s", option->name, value, ald_choice_names(option->choices));
done:
    return status;
}

static ald_status_t store(const ald_option_t *option, const char *value, ald_options_t *out)
{
    void *target = (char *)out + option->offset;
    switch (option->kind) {
    case ALD_OPTION_FLAG:
        *(bool *)target = true;
        break;
    case ALD_OPTION_TEXT:
        *(const char **)target = value;
        break;
    case ALD_OPTION_INTEGER:
        return store_integer(option, value, target);
    case ALD_OPTION_RANGES:
        return store_ranges(option, value, target);
    case ALD_OPTION_LIST:
        return ald_vec_push(target, &value);
    case ALD_OPTION_CONSTANT:
        return store_constant(option, value, target);
    }
    return ALD_STATUS_OK;
}

/* Notes that the option was given. USAGE when one that excludes it was given before. */
static ald_status_t note(parse_t *parse, const ald_option_t *option)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_option_count; ++i)
        ALD_CHECK(!is_given(parse, i) || !ald_option_exclude(&ald_option_table[i], option),
                  ALD_STATUS_USAGE, "%s: %s and %s exclude each other; expected one of them",
                  parse->command->name, ald_option_table[i].name, option->name);
    parse->given[option - ald_option_table] = true;
done:
    return status;
}

/* Takes an option with its value, or a positional argument; *used becomes the number of words. */
static ald_status_t take(parse_t *parse, const char *word, const char *next, int *used)
{
    ald_status_t status = ALD_STATUS_OK;
    const unsigned command = parse->command->bit;
    const bool dashed = word[0] == '-';
    const ald_option_t *option = dashed ? ald_option_find(command, word)
                                        : ald_option_positional(command, parse->positional++);
    ALD_CHECK(option != NULL, ALD_STATUS_USAGE, "%s: unknown %s; see aligndistil %s --help", word,
              dashed ? "option" : "argument", parse->command->name);
    const bool valued = option->argument != NULL;
    ALD_CHECK(!valued || (next != NULL && next[0] != '\0'), ALD_STATUS_USAGE,
              "%s: expected a value behind it, %s", option->name, option->argument);
    *used = valued ? 2 : 1;
    ALD_TRY(note(parse, option));
    ALD_TRY(store(option, !dashed ? word : valued ? next : NULL, parse->out));
done:
    return status;
}

/* Whether the option was given, or a required one that excludes it. */
static bool is_fulfilled(const parse_t *parse, const ald_option_t *option)
{
    bool found = false;
    for (size_t i = 0; i < ald_option_count; ++i) {
        const ald_option_t *other = &ald_option_table[i];
        found =
            found || (is_given(parse, i) &&
                      (other == option || (other->required && ald_option_exclude(option, other))));
    }
    return found;
}

/* USAGE that names the required option and those in its stead, or says what it is. */
static ald_status_t raise_missing(const parse_t *parse, const ald_option_t *option)
{
    char more[256] = "";
    size_t length = 0;
    for (size_t i = 0; i < ald_option_count && length < sizeof more; ++i) {
        const ald_option_t *other = &ald_option_table[i];
        if (other->commands & parse->command->bit && other->required &&
            ald_option_exclude(option, other))
            length += (size_t)snprintf(more + length, sizeof more - length, " or %s%s%s",
                                       other->name, other->argument != NULL ? " " : "",
                                       other->argument != NULL ? other->argument : "");
    }
    if (length == 0)
        snprintf(more, sizeof more, " (%s)", option->help);
    const bool valued = option->argument != NULL;
    return ald_status_raise(ALD_STATUS_USAGE, "%s: expected %s%s%s%s", parse->command->name,
                            option->name, valued ? " " : "", valued ? option->argument : "", more);
}

static ald_status_t check_required(const parse_t *parse)
{
    for (size_t i = 0; i < ald_option_count; ++i) {
        const ald_option_t *option = &ald_option_table[i];
        if (option->required && option->commands & parse->command->bit &&
            !is_fulfilled(parse, option))
            return raise_missing(parse, option);
    }
    return ALD_STATUS_OK;
}

static ald_status_t check_needs(const parse_t *parse)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_option_count; ++i) {
        const char *needs = ald_option_table[i].needs;
        bool met = !is_given(parse, i) || needs == NULL;
        for (size_t j = 0; j < ald_option_count; ++j)
            met = met ||
                  (is_given(parse, j) && ald_option_is_listed(needs, ald_option_table[j].name));
        ALD_CHECK(met, ALD_STATUS_USAGE, "%s: %s: only with %s", parse->command->name,
                  ald_option_table[i].name, needs);
    }
done:
    return status;
}

ald_status_t ald_parse(const ald_command_t *command, int argc, char **argv, ald_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    parse_t parse = {.command = command, .out = out};
    *out = ald_options_standard;
    out->command = command->name;
    for (int i = 1, used = 1; i < argc; i += used)
        ALD_TRY(take(&parse, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used));
    ALD_TRY(check_needs(&parse));
    ALD_TRY(check_required(&parse));
done:
    return status;
}
