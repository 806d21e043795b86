/* A folder of its own for each test, and files in it. */
#ifndef ALD_TESTS_SCRATCH_H
#define ALD_TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/status.h"

/* Setup: *state becomes the folder's path; teardown removes it and checks the memory balance. */
static inline int scratch_begin(void **state)
{
    const char *root = getenv("TMPDIR");
    char *path = malloc(256);
    snprintf(path, 256, "%s/ald-test-XXXXXX", root != NULL && strlen(root) < 200 ? root : "/tmp");
    *state = mkdtemp(path);
    return *state == NULL;
}

static inline int scratch_end(void **state)
{
    ald_dir_remove(*state);
    free(*state);
    if (ald_memory_blocks() != 0)
        print_error("%zu blocks are still held\n", ald_memory_blocks());
    return ald_memory_blocks() != 0;
}

/* "FOLDER/NAME" in one of eight static buffers. */
static inline const char *scratch_path(void **state, const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

static inline const char *scratch_file(void **state, const char *name, const void *data,
                                       size_t size)
{
    const char *path = scratch_path(state, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* The status, and that the message has these words. */
static inline void expect_failure(ald_status_t found, ald_status_t expected, const char *words)
{
    if (found != expected || strstr(ald_status_message(), words) == NULL)
        fail_msg("expected %d with \"%s\", got %d: %s", expected, words, found,
                 found == ALD_STATUS_OK ? "" : ald_status_message());
}

static inline void expect_ok(ald_status_t found)
{
    if (found != ALD_STATUS_OK)
        fail_msg("status %d: %s", found, ald_status_message());
}

#define SCRATCH_TEST(function) cmocka_unit_test_setup_teardown(function, scratch_begin, scratch_end)

#endif
