/* Runs a fuzz program without a fuzzer: over the files of a folder, and over so many changed copies
 * of them, the same ones each time.
 *
 * usage: smoke_NAME FOLDER ROUNDS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/path.h"
#include "fuzz.h"

enum { SECONDS = 20, GROWTH = 64, CHANGES = 6 };

static uint64_t state = 88172645463325252u;

static size_t below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit == 0 ? 0 : (size_t)(state % limit);
}

/* Changes a byte, takes a run out, doubles one, or puts a byte in; returns the new size. */
static size_t change(uint8_t *data, size_t size)
{
    static const uint8_t bytes[] = "\x00\xff\x80\x7f\"\\{}[],:0-9e.\n\x1b u";
    const size_t at = below(size), run = 1 + below(size - at < 16 ? size - at : 16);
    switch (size == 0 ? 3 : below(4)) {
    case 0:
        data[at] = (uint8_t)below(256);
        return size;
    case 1:
        memmove(data + at, data + at + run, size - at - run);
        return size - run;
    case 2:
        memmove(data + at + run, data + at, size - at);
        return size + run;
    default:
        memmove(data + at + 1, data + at, size - at);
        data[at] = bytes[below(sizeof bytes)];
        return size + 1;
    }
}

static void run_changed(const uint8_t *seed, size_t size, uint8_t *copy)
{
    memcpy(copy, seed, size);
    for (size_t i = below(CHANGES); i < CHANGES; ++i)
        size = change(copy, size);
    uint8_t *exact = malloc(size + (size == 0)); /* so that a read behind its end is seen */
    memcpy(exact, copy, size);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void run_file(const char *path, long rounds)
{
    char *data = NULL;
    size_t size = 0;
    if (ald_file_read(path, &data, &size) != ALD_STATUS_OK)
        exit(2);
    uint8_t *seed = malloc(size + 1), *copy = malloc(size + CHANGES * GROWTH);
    memcpy(seed, data, size);
    ald_free(data); /* the programs hold the number of blocks against what they began with */
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(seed, size);
    for (long i = 0; i < rounds; ++i)
        run_changed(seed, size, copy);
    free(seed);
    free(copy);
}

int main(int count, char **words)
{
    char **names = NULL, paths[256][512];
    size_t files = 0;
    if (count != 3 || ald_dir_list(words[1], &names, &files) != ALD_STATUS_OK || files > 256)
        return 2;
    for (size_t i = 0; i < files; ++i)
        snprintf(paths[i], sizeof paths[i], "%s/%s", words[1], names[i]);
    ald_names_free(names, files);
    for (size_t i = 0; i < files; ++i)
        run_file(paths[i], 1 + atol(words[2]) / (long)files);
    printf("%zu inputs\n", files);
    return 0;
}
