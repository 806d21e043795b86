/* Files: read, mapped, and written under a temporary name until they are complete. So whatever
 * has its final name is whole, also after a crash, and two runs never see half of a result. */
#include "ald/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"

#define RAISE_ERRNO(what, path)                                                                    \
    ALD_CHECK(0, ald_status_of_errno(errno), "%s: cannot %s: %s", (path), (what), strerror(errno))

ald_status_t ald_map_open(const char *path, ald_map_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    struct stat info;
    *out = (ald_map_t){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info) != 0)
        RAISE_ERRNO("read", path);
    ALD_CHECK(S_ISREG(info.st_mode), ALD_STATUS_INPUT, "%s: expected a regular file", path);
    if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED)
            RAISE_ERRNO("map", path);
        *out = (ald_map_t){data, (size_t)info.st_size};
    } else {
        out->data = (const uint8_t *)"";
    }
done:
    if (file >= 0)
        close(file);
    return status;
}

void ald_map_close(ald_map_t *map)
{
    if (map->size > 0)
        munmap((void *)map->data, map->size);
    *map = (ald_map_t){0};
}

ald_status_t ald_map_exchange(ald_map_t *map, int file, const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    struct stat info;
    if (fstat(file, &info) != 0)
        RAISE_ERRNO("map", name);
    ALD_CHECK((size_t)info.st_size == map->size, ALD_STATUS_INPUT,
              "%s: %zu bytes, of which another rank has found %lld", name, map->size,
              (long long)info.st_size);
    if (mmap((void *)map->data, map->size, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) ==
        MAP_FAILED)
        RAISE_ERRNO("map", name);
done:
    return status;
}

ald_status_t ald_file_read(const char *path, char **data, size_t *size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_map_t map = {0};
    *data = NULL;
    *size = 0;
    ALD_TRY(ald_map_open(path, &map));
    *data = ald_alloc(map.size + 1);
    ALD_CHECK_MEMORY(*data, map.size + 1);
    memcpy(*data, map.data, map.size);
    (*data)[map.size] = '\0';
    *size = map.size;
done:
    ald_map_close(&map);
    return status;
}

struct ald_writer {
    int file;
    char *path, *temporary;
};

ald_status_t ald_writer_open(const char *path, ald_writer_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = ald_calloc(1, sizeof *writer);
    *out = NULL;
    ALD_CHECK_MEMORY(writer, sizeof *writer);
    writer->file = -1;
    writer->path = ald_strdup(path);
    ALD_CHECK_MEMORY(writer->path, strlen(path));
    writer->temporary = ald_path_temporary(path);
    ALD_CHECK_MEMORY(writer->temporary, strlen(path));
    writer->file = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->file < 0)
        RAISE_ERRNO("write", path);
    *out = writer;
    writer = NULL;
done:
    ald_writer_discard(writer);
    return status;
}

static ald_status_t write_all(int file, const char *path, const void *data, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *bytes = data;
    while (size > 0) {
        ssize_t written = write(file, bytes, size < (1u << 30) ? size : 1u << 30);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            RAISE_ERRNO("write", path);
        bytes += written;
        size -= (size_t)written;
    }
done:
    return status;
}

ald_status_t ald_writer_write(ald_writer_t *writer, const void *data, size_t size)
{
    return write_all(writer->file, writer->path, data, size);
}

static void writer_free(ald_writer_t *writer)
{
    ald_free(writer->path);
    ald_free(writer->temporary);
    ald_free(writer);
}

void ald_writer_discard(ald_writer_t *writer)
{
    if (writer == NULL)
        return;
    if (writer->file >= 0) {
        close(writer->file);
        unlink(writer->temporary);
    }
    writer_free(writer);
}

/* fsync of the folder that holds `path`, so that a rename in it lasts. A folder that is gone by now
 * has been taken over by another process, which saw the new name at once, as root does with a
 * trainer's share of a checkpoint: what lasts is for that one to see to. */
static ald_status_t sync_folder(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    int file = -1;
    char *folder = ald_path_folder(path);
    ALD_CHECK_MEMORY(folder, strlen(path));
    file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT)
        goto done;
    if (file < 0 || (fsync(file) != 0 && errno != EINVAL))
        RAISE_ERRNO("sync", folder);
done:
    if (file >= 0)
        close(file);
    ald_free(folder);
    return status;
}

static ald_status_t rename_and_sync(const char *temporary, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    if (rename(temporary, path) != 0)
        RAISE_ERRNO("rename to this name", path);
    ALD_TRY(sync_folder(path));
done:
    return status;
}

ald_status_t ald_writer_commit(ald_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    int synced = fsync(writer->file);
    int error = errno;
    int closed = close(writer->file);
    writer->file = -1;
    errno = synced != 0 ? error : errno;
    if (synced != 0 || closed != 0)
        RAISE_ERRNO("write", writer->path);
    ALD_TRY(rename_and_sync(writer->temporary, writer->path));
done:
    if (status != ALD_STATUS_OK)
        unlink(writer->temporary);
    writer_free(writer);
    return status;
}

ald_status_t ald_file_write(const char *path, const void *data, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    ALD_TRY(ald_writer_open(path, &writer));
    ALD_TRY(ald_writer_write(writer, data, size));
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    return status;
}

ald_status_t ald_file_copy(const char *from, const char *to)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_map_t map = {0};
    ALD_TRY(ald_map_open(from, &map));
    ALD_TRY(ald_file_write(to, map.data, map.size));
done:
    ald_map_close(&map);
    return status;
}

ald_status_t ald_file_publish(const char *temporary, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    int file = open(temporary, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fsync(file) != 0)
        RAISE_ERRNO("write", path);
    ALD_TRY(rename_and_sync(temporary, path));
done:
    if (file >= 0)
        close(file);
    return status;
}

ald_status_t ald_file_append(const char *path, const void *data, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0)
        RAISE_ERRNO("write", path);
    off_t end = lseek(file, 0, SEEK_END);
    status = write_all(file, path, data, size);
    if (status != ALD_STATUS_OK && end >= 0 && ftruncate(file, end) != 0)
        status = ald_status_prefix(status, "%s: its last line is cut", path);
done:
    if (file >= 0)
        close(file);
    return status;
}

int64_t ald_file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}
