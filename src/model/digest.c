/* Digests of weight files, remembered beside them. Hashing a gigabyte takes about a second, and
 * every task of a Slurm array asks for the same digests. */
#include "ald/model/digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/safetensors.h"

enum {
    SETTLED = 2, /* seconds after a change; before, a second change may get the same time: that is
                    the coarsest clock of a file system */
    TEXT_MAX = 192, /* bytes of a note: a digest, four numbers and their words */
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* FOLDER/.NAME.sha256, freed by ald_free. */
static char *note_path(const char *path)
{
    const size_t bytes = strlen(path) + 16;
    char *out = ald_alloc(bytes);
    if (out != NULL)
        snprintf(out, bytes, "%.*s.%s.sha256", (int)(base_name(path) - path), path,
                 base_name(path));
    return out;
}

/* Writes the part of a note that follows the digest: size, times and inode of the file. The time of
 * the last change of the inode is among them, since that of the content can be set back. */
static void describe(const struct stat *info, char *out, size_t room)
{
    snprintf(out, room, " size %lld modified %lld.%09ld changed %lld.%09ld inode %llu\n",
             (long long)info->st_size, (long long)info->st_mtim.tv_sec, info->st_mtim.tv_nsec,
             (long long)info->st_ctim.tv_sec, info->st_ctim.tv_nsec,
             (unsigned long long)info->st_ino);
}

static bool note_read(const char *note, const char *known, char hex[ALD_SHA256_HEX])
{
    char text[TEXT_MAX + ALD_SHA256_HEX] = "";
    FILE *file = fopen(note, "re");
    if (file == NULL)
        return false;
    const size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    if (size <= ALD_SHA256_HEX || strspn(text, "0123456789abcdef") != ALD_SHA256_HEX - 1 ||
        strcmp(text + ALD_SHA256_HEX - 1, known) != 0)
        return false;
    memcpy(hex, text, ALD_SHA256_HEX - 1);
    hex[ALD_SHA256_HEX - 1] = '\0';
    return true;
}

/* Failures are silent: in a folder that can't be written to nothing is remembered. */
static void note_write(const char *note, const char *known, const char hex[ALD_SHA256_HEX])
{
    char text[TEXT_MAX + ALD_SHA256_HEX];
    snprintf(text, sizeof text, "%s%s", hex, known);
    (void)ald_file_write(note, text, strlen(text));
}

/* The digest of one file: from its note, if the file is still as the note says. */
static ald_status_t file_digest(const char *path, bool remember, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    struct stat before = {0}, after = {0};
    char known[TEXT_MAX], *note = note_path(path);
    ALD_CHECK_MEMORY(note, strlen(path));
    const bool there = stat(path, &before) == 0;
    describe(&before, known, sizeof known);
    if (there && note_read(note, known, hex))
        goto done;
    ALD_TRY(ald_sha256_file(path, hex));
    char later[TEXT_MAX];
    const bool still = stat(path, &after) == 0;
    describe(&after, later, sizeof later);
    if (remember && there && still && strcmp(known, later) == 0 &&
        time(NULL) > after.st_mtime + SETTLED)
        note_write(note, known, hex);
done:
    ald_free(note);
    return status;
}

/* The digest of the lines that sha256sum prints for several files. */
static void digest_of_lines(const char *const *paths, int64_t count,
                            const char (*each)[ALD_SHA256_HEX], char hex[ALD_SHA256_HEX])
{
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    for (int64_t i = 0; i < count; ++i) {
        ald_sha256_update(&sha, each[i], ALD_SHA256_HEX - 1);
        ald_sha256_update(&sha, "  ", 2);
        ald_sha256_update(&sha, base_name(paths[i]), strlen(base_name(paths[i])));
        ald_sha256_update(&sha, "\n", 1);
    }
    ald_sha256_final(&sha, hex);
}

static ald_status_t folder_digest(const char *directory, bool remember, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    ald_safetensors_t *set = NULL;
    const char *const *paths = NULL;
    char(*each)[ALD_SHA256_HEX] = NULL;
    ald_status_t *results = NULL;
    ALD_TRY(ald_safetensors_open(directory, &set));
    const int64_t count = ald_safetensors_files(set, &paths);
    each = ald_calloc((size_t)count, sizeof *each);
    results = ald_calloc((size_t)count, sizeof *results);
    ALD_CHECK(each != NULL && results != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld digests",
              (long long)count);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < count; ++i)
        results[i] = file_digest(paths[i], remember, each[i]);
    for (int64_t i = 0; i < count; ++i)
        if (results[i] !=
            ALD_STATUS_OK) /* called again for its message, which stayed with the other thread */
            ALD_TRY(file_digest(paths[i], remember, each[i]));
    if (count == 1)
        memcpy(hex, each[0], sizeof *each);
    else
        digest_of_lines(paths, count, (const char(*)[ALD_SHA256_HEX])each, hex);
done:
    ald_free(each);
    ald_free(results);
    ald_safetensors_close(set);
    return status;
}

ald_status_t ald_hf_sha256(const char *directory, char hex[ALD_SHA256_HEX])
{
    return folder_digest(directory, true, hex);
}

ald_status_t ald_hf_sha256_look(const char *directory, char hex[ALD_SHA256_HEX])
{
    return folder_digest(directory, false, hex);
}

ald_status_t ald_hf_sha256_tokenizer(const char *directory, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(directory, "tokenizer.json");
    ALD_CHECK_MEMORY(path, strlen(directory));
    ALD_TRY(ald_sha256_file(path, hex));
done:
    ald_free(path);
    return status;
}
