/* What the fuzz programs share: the input as files, and what must hold after each. */
#ifndef ALD_TESTS_FUZZ_H
#define ALD_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where files of the input go: a new folder in TMPDIR (tests/fuzz.sh makes and removes one in
 * memory), the same one each time. Warnings, which most inputs would give, aren't written. */
static inline const char *fuzz_folder(void)
{
    static char path[256];
    const char *place = getenv("TMPDIR");
    if (path[0] != '\0')
        return path;
    ald_log_setup(ALD_LOG_QUIET, false);
    snprintf(path, sizeof path, "%s/ald-fuzz-XXXXXX", place == NULL ? "/tmp" : place);
    if (mkdtemp(path) == NULL)
        abort();
    return path;
}

/* Writes these bytes as fuzz_folder()/NAME and returns that path, which holds until the next call.
 * A file without bytes is removed if `optional`. */
static inline const char *fuzz_file(const char *name, const void *data, size_t size, bool optional)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    if (size == 0 && optional) {
        unlink(path);
        return path;
    }
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, data, size) != (ssize_t)size || close(file) != 0)
        abort();
    return path;
}

/* Cuts an input of several files: they are separated by bytes 0xFF, which no text has. Sets parts
 * [0, count) to where each begins and its length; those that aren't there are empty. */
typedef struct {
    const uint8_t *data;
    size_t size;
} fuzz_part_t;

static inline void fuzz_cut(const uint8_t *data, size_t size, int count, fuzz_part_t *parts)
{
    for (int i = 0; i < count; ++i) {
        const uint8_t *end = i + 1 < count && size > 0 ? memchr(data, 0xFF, size) : NULL;
        const size_t length = end == NULL ? size : (size_t)(end - data);
        parts[i] = (fuzz_part_t){data, length};
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
}

/* A failure is one of input or of its size, never of ours; nothing stays behind but the `held`
 * blocks that were made for all inputs. */
static inline void fuzz_end(ald_status_t status, size_t held)
{
    if (status == ALD_STATUS_INTERNAL || ald_memory_blocks() != held) {
        fprintf(stderr, "status %d: %s; %zu blocks held\n", status, ald_status_message(),
                ald_memory_blocks());
        abort();
    }
}

#endif
