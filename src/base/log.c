/* Messages and progress on stderr; results go to stdout and files alone. One rank speaks, so that
 * a job of many ranks reads like a job of one. */
#include "ald/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/show.h"

static ald_log_level_t log_level = ALD_LOG_NORMAL;
static bool log_speaks = true;
static bool bar_open; /* the cursor stands behind a bar */

void ald_log_setup(ald_log_level_t level, int speaks)
{
    log_level = level;
    log_speaks = speaks != 0;
}

double ald_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A line goes out in one write, so that the lines of several ranks don't mix; what it tells of
 * files commands no terminal and stays one line. */
static void write_line(const char *prefix, const char *format, va_list arguments)
{
    char text[2048], line[4096];
    int used = snprintf(line, sizeof line, "%s%s", bar_open ? "\r\033[K" : "", prefix);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    size_t end = (size_t)used +
                 ald_show(text, strlen(text), false, line + used, sizeof line - (size_t)used - 1);
    line[end] = '\n';
    bar_open = false;
    ssize_t ignored = write(STDERR_FILENO, line, end + 1);
    (void)ignored;
}

#define WRITE_LINE(condition, prefix)                                                              \
    do {                                                                                           \
        if (condition) {                                                                           \
            va_list arguments;                                                                     \
            va_start(arguments, format);                                                           \
            write_line((prefix), format, arguments);                                               \
            va_end(arguments);                                                                     \
        }                                                                                          \
    } while (0)

void ald_log_error(const char *format, ...)
{
    WRITE_LINE(true, "aligndistil: error: ");
}

void ald_log_warn(const char *format, ...)
{
    WRITE_LINE(log_speaks && log_level > ALD_LOG_QUIET, "aligndistil: warning: ");
}

void ald_log_info(const char *format, ...)
{
    WRITE_LINE(log_speaks && log_level > ALD_LOG_QUIET, "");
}

void ald_log_verbose(const char *format, ...)
{
    WRITE_LINE(log_speaks && log_level > ALD_LOG_NORMAL, "");
}

void ald_progress_begin(ald_progress_t *progress, const char *name, int64_t total)
{
    double now = ald_time();
    *progress = (ald_progress_t){.name = name, .total = total, .started = now, .shown = now - 9.0};
}

static void draw_bar(const ald_progress_t *progress, int64_t done, double elapsed,
                     const char *detail)
{
    char bar[25];
    int filled = progress->total > 0 ? (int)(24 * done / progress->total) : 0;
    for (int i = 0; i < 24; ++i)
        bar[i] = i < filled ? '#' : '.';
    bar[24] = '\0';
    double left = done > 0 ? elapsed / (double)done * (double)(progress->total - done) : 0.0;
    fprintf(stderr, "\r\033[K%s [%s] %lld/%lld %s  %.0f s left", progress->name, bar,
            (long long)done, (long long)progress->total, detail, left);
    bar_open = true;
}

void ald_progress_update(ald_progress_t *progress, int64_t done, const char *detail)
{
    if (!log_speaks || log_level == ALD_LOG_QUIET)
        return;
    double now = ald_time();
    bool terminal = isatty(STDERR_FILENO);
    if (now - progress->shown < (terminal ? 0.2 : 10.0) && done < progress->total)
        return;
    progress->shown = now;
    if (terminal)
        draw_bar(progress, done, now - progress->started, detail != NULL ? detail : "");
    else
        ald_log_info("%s %lld/%lld %s (%.0f s)", progress->name, (long long)done,
                     (long long)progress->total, detail != NULL ? detail : "",
                     now - progress->started);
}

void ald_progress_end(ald_progress_t *progress)
{
    (void)progress;
    if (bar_open)
        fputc('\n', stderr);
    bar_open = false;
}
