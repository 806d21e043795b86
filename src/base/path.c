/* Joining of paths, and temporary names. A temporary name says which process writes the file, so
 * that what the dead have left can be told from what the living are making. */
#include "ald/base/path.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ald/base/arena.h"

#define TEMPORARY ".tmp-"

char *ald_path_join(const char *a, const char *b)
{
    size_t bytes = strlen(a) + strlen(b) + 2;
    char *path = ald_alloc(bytes);
    if (path == NULL)
        return NULL;
    bool alone = b[0] == '/' || a[0] == '\0';
    bool slash = !alone && a[strlen(a) - 1] != '/';
    snprintf(path, bytes, "%s%s%s", alone ? "" : a, slash ? "/" : "", b);
    return path;
}

char *ald_path_beside(const char *path, const char *end)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        --length;
    char *out = ald_alloc(length + strlen(end) + 1);
    if (out != NULL)
        sprintf(out, "%.*s%s", (int)length, path, end);
    return out;
}

bool ald_path_ends(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

char *ald_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = ald_strdup(slash == NULL ? "." : path);
    if (folder != NULL && slash != NULL)
        folder[slash == path ? 1 : slash - path] = '\0';
    return folder;
}

static void host_name(char host[65])
{
    if (gethostname(host, 64) != 0 || host[0] == '\0')
        strcpy(host, "localhost");
    host[64] = '\0';
    for (char *at = host; *at != '\0'; ++at)
        *at = *at == '/' ? '_' : *at;
}

char *ald_path_temporary(const char *path)
{
    char host[65];
    host_name(host);
    size_t bytes = strlen(path) + strlen(host) + 40;
    char *out = ald_alloc(bytes);
    if (out != NULL)
        snprintf(out, bytes, "%s" TEMPORARY "%s-%ld", path, host, (long)getpid());
    return out;
}

int64_t ald_process_begin(int64_t pid)
{
    char path[64], line[1024];
    long long ticks = -1;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    char state = 'X', *at = NULL;
    if (file != NULL && fgets(line, sizeof line, file) != NULL)
        at = strrchr(line, ')'); /* the name before it may hold anything */
    if (file != NULL)
        fclose(file);
    if (at == NULL || sscanf(at + 1,
                             " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
                             "%*d %*d %*d %*d %lld",
                             &state, &ticks) != 2)
        return -1;
    return state == 'Z' || state == 'X' ? -1 : ticks;
}

bool ald_path_is_abandoned(const char *name)
{
    char host[65], *end;
    const char *at = strstr(name, TEMPORARY);
    host_name(host);
    const size_t length = strlen(host);
    if (at == NULL || strncmp(at + strlen(TEMPORARY), host, length) != 0)
        return false;
    at += strlen(TEMPORARY) + length;
    long pid = *at == '-' ? strtol(at + 1, &end, 10) : 0;
    if (pid <= 0 || *end != '\0')
        return false;
    return kill((pid_t)pid, 0) == 0 ? ald_process_begin(pid) < 0 : errno == ESRCH;
}

bool ald_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool ald_path_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool ald_path_same(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}
