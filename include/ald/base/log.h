/* Messages on stderr, and progress as a bar on a terminal or as a line now and then. Layer: base.
 */
#ifndef ALD_BASE_LOG_H
#define ALD_BASE_LOG_H

#include <stdint.h>

typedef enum {
    ALD_LOG_QUIET,   /* errors only */
    ALD_LOG_NORMAL,  /* what happens, once, and progress */
    ALD_LOG_VERBOSE, /* memory plan, files, timings */
} ald_log_level_t;

/* Sets the level, and whether this rank speaks (rank 0 does). Errors are always written. Local. */
void ald_log_setup(ald_log_level_t level, int speaks);

void ald_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ald_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ald_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ald_log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The progress of a task of `total` units. It is shown at most 5 times a second on a terminal,
 * which is as fast as one reads, and every 10 s in a log, which one reads later. */
typedef struct {
    const char *name; /* not owned */
    int64_t total;
    double started, shown;
} ald_progress_t;

void ald_progress_begin(ald_progress_t *progress, const char *name, int64_t total);
/* `detail` may be NULL. */
void ald_progress_update(ald_progress_t *progress, int64_t done, const char *detail);
/* Ends the bar's line; call it once, also after a failure. */
void ald_progress_end(ald_progress_t *progress);

/* Seconds since some fixed instant, monotonic. */
double ald_time(void);

#endif
