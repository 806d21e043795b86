/* Folders: made, listed, removed, published as a whole, and cleared of what dead processes left.
 * A model directory is many files, and takes its name only when all of them are there. */
#include "ald/base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

#define RAISE_ERRNO(what, path)                                                                    \
    ALD_CHECK(0, ald_status_of_errno(errno), "%s: cannot %s: %s", (path), (what), strerror(errno))

ald_status_t ald_dir_sweep(const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    if (!ald_path_exists(folder))
        return status;
    ALD_TRY(ald_dir_list(folder, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (ald_path_is_abandoned(names[i]))
            ALD_TRY(ald_dir_remove_in(folder, names[i]));
    }
done:
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_dir_make(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *copy = ald_strdup(path);
    ALD_CHECK_MEMORY(copy, strlen(path));
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            RAISE_ERRNO("make the folder", copy);
        *slash = '/';
    }
    if (mkdir(copy, 0777) != 0 && errno != EEXIST)
        RAISE_ERRNO("make the folder", path);
    ALD_CHECK(ald_path_is_directory(path), ALD_STATUS_INPUT, "%s: expected a folder", path);
done:
    ald_free(copy);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

ald_status_t ald_dir_list(const char *path, char ***names, size_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t list;
    ald_vec_init(&list, sizeof(char *));
    DIR *folder = opendir(path);
    *names = NULL;
    *count = 0;
    if (folder == NULL)
        RAISE_ERRNO("read the folder", path);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *name = ald_strdup(entry->d_name);
        ALD_CHECK_MEMORY(name, strlen(entry->d_name));
        status = ald_vec_push(&list, &name);
        if (status != ALD_STATUS_OK)
            ald_free(name);
        ALD_TRY(status);
    }
    if (list.count > 0)
        qsort(list.data, list.count, sizeof(char *), compare_names);
    *names = list.data;
    *count = list.count;
    ald_vec_init(&list, sizeof(char *));
done:
    if (folder != NULL)
        closedir(folder);
    ald_names_free(list.data, list.count);
    return status;
}

void ald_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        ald_free(names[i]);
    ald_free(names);
}

ald_status_t ald_path_modified(const char *path, const char *end, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *child = NULL;
    size_t count = 0;
    struct stat info;
    *out = 0;
    if (stat(path, &info) != 0)
        return status;
    if (!S_ISDIR(info.st_mode)) {
        *out = info.st_mtime;
        return status;
    }
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        const size_t length = strlen(names[i]), tail = strlen(end);
        ald_free(child);
        child = ald_path_join(path, names[i]);
        ALD_CHECK_MEMORY(child, strlen(path));
        if (length >= tail && strcmp(names[i] + length - tail, end) == 0 && stat(child, &info) == 0)
            *out = info.st_mtime > *out ? info.st_mtime : *out;
    }
done:
    ald_free(child);
    ald_names_free(names, count);
    return status;
}

/* Whether a file in a model directory or a folder of shards is one that is read. */
static bool is_read(const char *name)
{
    static const char *const ends[] = {".safetensors", ".json", ".jinja", ".h5"};
    bool found = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; ++i)
        found = found || ald_path_ends(name, ends[i]);
    return found;
}

ald_status_t ald_path_apart(const char *output_key, const char *output, const char *input_key,
                            const char *input)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *child = NULL;
    size_t count = 0;
    ALD_CHECK(!ald_path_same(input, output), ALD_STATUS_USAGE,
              "%s: %s is %s (%s) too, and would be overwritten; expected another", output_key,
              output, input_key, input);
    if (!ald_path_is_directory(input) || !ald_path_exists(output) || ald_path_is_directory(output))
        return status;
    ALD_TRY(ald_dir_list(input, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        ald_free(child);
        child = ald_path_join(input, names[i]);
        ALD_CHECK_MEMORY(child, strlen(input));
        ALD_CHECK(!is_read(names[i]) || !ald_path_same(child, output), ALD_STATUS_USAGE,
                  "%s: %s is a file of %s (%s) too, and would be overwritten; expected another",
                  output_key, output, input_key, child);
    }
done:
    ald_free(child);
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_dir_remove(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    struct stat info;
    if (lstat(path, &info) != 0)
        return ALD_STATUS_OK;
    if (!S_ISDIR(info.st_mode)) {
        if (unlink(path) != 0 && errno != ENOENT)
            RAISE_ERRNO("remove", path);
        return ALD_STATUS_OK;
    }
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i)
        ALD_TRY(ald_dir_remove_in(path, names[i]));
    if (rmdir(path) != 0 && errno != ENOENT)
        RAISE_ERRNO("remove", path);
done:
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_dir_remove_in(const char *folder, const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, name);
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(ald_dir_remove(path));
done:
    ald_free(path);
    return status;
}

ald_status_t ald_path_rename(const char *from, const char *to)
{
    ald_status_t status = ALD_STATUS_OK;
    if (rename(from, to) != 0)
        RAISE_ERRNO("rename", from);
done:
    return status;
}

void ald_dir_discard(const char *path)
{
    char *message = ald_strdup(ald_status_message());
    ald_dir_remove(path);
    ald_status_raise(ALD_STATUS_OK, "%s", message != NULL ? message : "out of memory");
    ald_free(message);
}

ald_status_t ald_dir_publish(const char *temporary, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = strlen(path) + 32;
    char *aside = ald_alloc(bytes), *parent = ald_path_folder(path);
    int folder = -1;
    bool moved = false;
    ALD_CHECK_MEMORY(aside, bytes);
    ALD_CHECK_MEMORY(parent, bytes);
    snprintf(aside, bytes, "%s.old-%ld", path, (long)getpid());
    if (ald_path_exists(path)) {
        if (rename(path, aside) != 0)
            RAISE_ERRNO("replace", path);
        moved = true;
    }
    if (rename(temporary, path) != 0) {
        status = ald_status_raise(ald_status_of_errno(errno), "%s: cannot rename to this name: %s",
                                  path, strerror(errno));
        if (moved)
            rename(aside, path);
        goto done;
    }
    folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || (fsync(folder) != 0 && errno != EINVAL))
        RAISE_ERRNO("sync", parent);
    if (moved)
        ALD_TRY(ald_dir_remove(aside));
done:
    if (folder >= 0)
        close(folder);
    ald_free(aside);
    ald_free(parent);
    return status;
}
