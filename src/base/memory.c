/* How much memory this node has left, by the kernel and by the limits of the control group. Batch
 * systems set such limits far below the machine, and a job that passes them is killed. */
#include "ald/base/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The number that a file of the control group holds; SIZE_MAX when it holds none ("max": no
 * limit) or the file isn't there. */
static size_t read_number(const char *folder, const char *name)
{
    char path[4200];
    unsigned long long value;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    bool there = file != NULL && fscanf(file, "%llu", &value) == 1;
    if (file != NULL)
        fclose(file);
    return there ? (size_t)value : SIZE_MAX;
}

/* The memory that the kernel thinks can be had without swapping; all memory of the machine where
 * it doesn't say. */
static size_t of_machine(void)
{
    char line[256];
    unsigned long long kib;
    size_t bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            bytes = (size_t)kib * 1024;
    if (file != NULL)
        fclose(file);
    return bytes;
}

/* The folder of this process's control group (version 2); "" when it has none. */
static void control_group(char *path, size_t size)
{
    char line[4096];
    FILE *file = fopen("/proc/self/cgroup", "r");
    path[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0)
            snprintf(path, size, "/sys/fs/cgroup%s", line + 3);
    }
    if (file != NULL)
        fclose(file);
}

size_t ald_memory_available(void)
{
    char folder[4160];
    size_t least = of_machine();
    control_group(folder, sizeof folder);
    while (strncmp(folder, "/sys/fs/cgroup", 14) ==
           0) { /* a group's limit also binds the groups in it */
        size_t limit = read_number(folder, "memory.max");
        size_t used = read_number(folder, "memory.current");
        size_t left = limit == SIZE_MAX || used == SIZE_MAX ? SIZE_MAX
                      : limit > used                        ? limit - used
                                                            : 0;
        least = left < least ? left : least;
        *strrchr(folder, '/') = '\0';
    }
    return least;
}
