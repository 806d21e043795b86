/* The message that belongs to a status code, one a thread. A function returns only the code; the
 * text waits here for whoever prints it, sends it to other ranks or adds a place to it. */
#include "ald/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024]; /* two long paths and a sentence */

ald_status_t ald_status_raise(ald_status_t code, const char *format, ...)
{
    char text[sizeof message]; /* arguments may point into the old message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return code;
}

ald_status_t ald_status_prefix(ald_status_t code, const char *format, ...)
{
    char prefix[sizeof message], text[sizeof message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    memcpy(text, message, sizeof text);
    size_t used = strlen(prefix);
    snprintf(message, sizeof message, "%s", prefix);
    if (used + 3 < sizeof message)
        snprintf(message + used, sizeof message - used, ": %s", text);
    return code;
}

const char *ald_status_message(void)
{
    return message;
}

ald_status_t ald_status_of_errno(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EFBIG:
        return ALD_STATUS_RESOURCE;
    default:
        return ALD_STATUS_INPUT;
    }
}
