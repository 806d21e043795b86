/* Prints a report, which is JSON, as text that fits a screen.
 * It knows no kind of report: --json and text show the same, and a new kind needs nothing here. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/show.h"
#include "cli/inspect_impl.h"

enum { NAME_WIDTH = 20, BARS = 40 }; /* a name, bars and a few numbers: 80 columns of a screen */

static void print_scalar(const ald_json_t *value)
{
    if (ald_json_is_string(value))
        ald_print_word(ald_json_text(value, NULL));
    else if (ald_json_is_integer(value))
        printf("%lld", (long long)ald_json_integer(value, 0));
    else if (ald_json_is_number(value))
        printf("%.5g", ald_json_number(value, 0));
    else if (ald_json_is_bool(value))
        fputs(ald_json_bool(value, false) ? "yes" : "no", stdout);
    else
        putchar('-');
}

/* The mean of the numbers that fall into bar b of `bars`. */
static double bar_mean(const ald_json_t *array, size_t b, size_t bars)
{
    const size_t count = ald_json_count(array), end = (b + 1) * count / bars;
    double sum = 0;
    size_t some = 0;
    for (size_t i = b * count / bars; i < end; ++i) {
        double value = ald_json_number(ald_json_at(array, i), NAN);
        some += isfinite(value);
        sum += isfinite(value) ? value : 0;
    }
    return some > 0 ? sum / (double)some : NAN;
}

static void print_bars(const ald_json_t *array)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const size_t count = ald_json_count(array), bars = count < BARS ? count : BARS;
    double low = DBL_MAX, high = -DBL_MAX;
    for (size_t b = 0; b < bars; ++b) {
        double value = bar_mean(array, b, bars);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    for (size_t b = 0; b < bars; ++b) {
        double value = bar_mean(array, b, bars);
        int level = high > low ? (int)((value - low) / (high - low) * 7.99) : 0;
        fputs(isfinite(value) ? blocks[level < 0 ? 0 : level > 7 ? 7 : level] : " ", stdout);
    }
}

/* "name value  name value", an array of numbers as bars. */
static void print_members(const ald_json_t *object)
{
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    const char *gap = "";
    while (ald_json_next(object, &iterator, &name, &value)) {
        fputs(gap, stdout);
        if (ald_json_is_array(value)) {
            print_bars(value);
        } else {
            ald_print("%s ", name);
            print_scalar(value);
        }
        gap = "  ";
    }
}

/* A list of objects with the same members: a heading, then a line each. */
static void print_table(const ald_json_t *rows)
{
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    printf("  ");
    while (ald_json_next(ald_json_at(rows, 0), &iterator, &name, &value))
        ald_print("%10s", name);
    putchar('\n');
    for (size_t i = 0; i < ald_json_count(rows); ++i) {
        printf("  ");
        for (iterator = NULL; ald_json_next(ald_json_at(rows, i), &iterator, &name, &value);) {
            if (ald_json_is_integer(value))
                printf("%10lld", (long long)ald_json_integer(value, 0));
            else if (ald_json_is_number(value))
                printf("%10.4f", ald_json_number(value, 0));
            else {
                fputs(ald_json_is_null(value) ? "         -" : "  ", stdout);
                ald_print_word(ald_json_is_null(value) ? "" : ald_json_text(value, NULL));
            }
        }
        putchar('\n');
    }
}

static void print_lines(const ald_json_t *texts)
{
    for (size_t i = 0; i < ald_json_count(texts); ++i) {
        printf("\n    ");
        ald_print_word(ald_json_text(ald_json_at(texts, i), NULL));
    }
}

void ald_inspect_print(const ald_json_t *report)
{
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    while (ald_json_next(report, &iterator, &name, &value)) {
        if (strcmp(name, "path") == 0) {
            print_scalar(value);
            putchar('\n');
        } else if (ald_json_is_array(value) && ald_json_is_object(ald_json_at(value, 0))) {
            print_table(value);
        } else {
            ald_print("  %-*s ", NAME_WIDTH, name);
            if (ald_json_is_object(value))
                print_members(value);
            else if (ald_json_is_string(ald_json_at(value, 0)))
                print_lines(value);
            else if (ald_json_is_array(value) && ald_json_count(value) > 0)
                print_bars(value);
            else if (ald_json_is_array(value))
                fputs("none", stdout);
            else
                print_scalar(value);
            putchar('\n');
        }
    }
}
