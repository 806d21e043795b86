/* Status codes and the one message that goes with them. Layer: base. */
#ifndef ALD_BASE_STATUS_H
#define ALD_BASE_STATUS_H

#include <stddef.h>

/* The values are the process's exit codes (src/config/README.md); `main` alone turns them into one.
 */
typedef enum {
    ALD_STATUS_OK = 0,
    ALD_STATUS_USAGE = 2,    /* the command line or the configuration is wrong */
    ALD_STATUS_INPUT = 3,    /* an input file is missing, damaged or doesn't fit the others */
    ALD_STATUS_RESOURCE = 4, /* memory or disk ran out */
    ALD_STATUS_INTERNAL = 5, /* a bug, or MPI broke */
    ALD_STATUS_STOPPED = 75, /* by a signal, with what is done so far kept */
} ald_status_t;

/* Records the message (truncated at 1 KiB) for this thread and returns `code`. Local. */
ald_status_t ald_status_raise(ald_status_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "text: " before this thread's message, for a caller who knows the file or the place better.
 * Returns `code`. Local. */
ald_status_t ald_status_prefix(ald_status_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The message of the last raise on this thread; "" when there was none. Owned by the library. */
const char *ald_status_message(void);

/* The code that belongs to errno: RESOURCE for ENOSPC, EDQUOT, ENOMEM, EMFILE, EFBIG; else INPUT.
 */
ald_status_t ald_status_of_errno(int error);

/* Raises unless the condition holds. Needs `ald_status_t status` and a label `done:` in scope. */
#define ALD_CHECK(condition, code, ...)                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            status = ald_status_raise((code), __VA_ARGS__);                                        \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/* Propagates a failure to `done:`. */
#define ALD_TRY(call)                                                                              \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != ALD_STATUS_OK)                                                               \
            goto done;                                                                             \
    } while (0)

/* Raises RESOURCE when an allocation returned NULL. */
#define ALD_CHECK_MEMORY(pointer, bytes)                                                           \
    ALD_CHECK((pointer) != NULL, ALD_STATUS_RESOURCE, "out of memory: %zu bytes for %s",           \
              (size_t)(bytes), #pointer)

#endif
