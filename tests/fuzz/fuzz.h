/* What the fuzz programs share: the input as a file, and what must hold after each. */
#ifndef ALD_TESTS_FUZZ_H
#define ALD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The path of a file with these bytes: the same file each time, in TMPDIR (tests/fuzz.sh makes and
 * removes one in memory). HDF5 opens no file without a name. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[256];
    static int file = -1;
    if (file < 0) {
        const char *folder = getenv("TMPDIR");
        snprintf(path, sizeof path, "%s/ald-fuzz-XXXXXX", folder == NULL ? "/tmp" : folder);
        file = mkstemp(path);
    }
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

/* A failure is one of input or of its size, never of ours; nothing stays behind. */
static inline void fuzz_end(ald_status_t status)
{
    if (status == ALD_STATUS_INTERNAL || ald_memory_blocks() != 0) {
        fprintf(stderr, "status %d: %s; %zu blocks held\n", status, ald_status_message(),
                ald_memory_blocks());
        abort();
    }
}

#endif
