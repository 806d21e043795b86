/* The memory domains of a node. The system keeps the pages of a file once, in the domain whose CPU
 * first read them; a copy in another is a memory file that a rank of that domain writes, since a
 * page is of the domain whose CPU first touches it. It has no name that could outlive its ranks. */
#include "ald/par/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/memory.h"
#include "ald/base/status.h"

static ald_domain_t mine = {.count = 1};
static bool copying;

/* Sets the numbers of a list such as "0-3,8" in the file; none where there is no such file. */
static void read_list(const char *path, cpu_set_t *out)
{
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    CPU_ZERO(out);
    if (file == NULL)
        return;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    for (char *at = text; *at >= '0' && *at <= '9'; at += *at == ',') {
        const long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;
        for (long i = first; i <= last && i < CPU_SETSIZE; ++i)
            CPU_SET((int)i, out);
    }
}

void ald_domain_find(const char *root, const cpu_set_t *cpus, ald_domain_t *out)
{
    char path[4200];
    cpu_set_t online, all, here;
    bool found = false;
    *out = (ald_domain_t){.cpus = *cpus};
    snprintf(path, sizeof path, "%s/online", root);
    read_list(path, &online);
    for (int node = 0; node < CPU_SETSIZE; ++node) {
        if (!CPU_ISSET(node, &online))
            continue;
        snprintf(path, sizeof path, "%s/node%d/cpulist", root, node);
        read_list(path, &all);
        CPU_AND(&here, &all, cpus);
        if (CPU_COUNT(&here) > 0 && !found) {
            out->own = out->count;
            out->cpus = here;
        }
        out->several = out->several || (found && CPU_COUNT(&here) > 0);
        found = found || CPU_COUNT(&here) > 0;
        out->count += CPU_COUNT(&all) > 0; /* one of memory alone is nobody's */
    }
    out->count = out->count > 0 ? out->count : 1;
}

/* --- what is said ----------------------------------------------------------------------------- */

typedef struct {
    char host[64];
    char text[256]; /* "" for a node of one domain */
} said_t;

/* Describes this node, on its first rank. Collective over the node. */
static void describe(const ald_comm_t *node, said_t *out)
{
    enum { MOST = 64 }; /* domains whose ranks are counted */
    int ranks[MOST + 1] = {0};
    char list[128] = "";
    *out = (said_t){0};
    gethostname(out->host, sizeof out->host - 1);
    ranks[mine.own < MOST ? mine.own : MOST - 1] = 1;
    ranks[MOST] = mine.several;
    MPI_Allreduce(MPI_IN_PLACE, ranks, MOST + 1, MPI_INT, MPI_SUM, node->mpi);
    for (int i = 0; i < mine.count && i < MOST; ++i) {
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%d", i > 0 ? ", " : "", ranks[i]);
    }
    if (mine.count > 1)
        snprintf(out->text, sizeof out->text, "%d NUMA domains with %s ranks", mine.count, list);
    const size_t used = strlen(out->text);
    if (mine.count > 1 && ranks[MOST] > 0)
        snprintf(out->text + used, sizeof out->text - used,
                 ", %d of them with CPUs of several, which count to their first", ranks[MOST]);
}

/* Says each description once, with the first node that has it and the number of others. */
static void say(const said_t *all, int count)
{
    for (int i = 0; i < count; ++i) {
        int alike = 0;
        bool before = all[i].text[0] == '\0';
        for (int j = 0; j < count; ++j) {
            const bool same = strcmp(all[i].text, all[j].text) == 0;
            before = before || (same && j < i);
            alike += same && j > i;
        }
        char more[40] = "";
        if (alike > 0)
            snprintf(more, sizeof more, " and %d more", alike);
        if (!before)
            ald_log_info("node %s%s: %s; frozen models are %s (runtime.frozen_copies)", all[i].host,
                         more, all[i].text, copying ? "copied into each" : "shared by all");
    }
}

void ald_domain_setup(const ald_comm_t *world, const char *root, bool copies)
{
    cpu_set_t cpus;
    ald_comm_t node, firsts;
    said_t said;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    ald_domain_find(root[0] != '\0' ? root : "/sys/devices/system/node", &cpus, &mine);
    copying = copies;
    ald_comm_node(world, &node);
    describe(&node, &said);
    ald_comm_subset(world, node.rank == 0, &firsts);
    if (firsts.size > 0) {
        said_t *all = ald_calloc((size_t)firsts.size, sizeof *all);
        int enough = all != NULL;
        MPI_Allreduce(MPI_IN_PLACE, &enough, 1, MPI_INT, MPI_MIN, firsts.mpi);
        if (enough)
            MPI_Gather(&said, sizeof said, MPI_BYTE, all, sizeof said, MPI_BYTE, 0, firsts.mpi);
        if (enough && firsts.rank == 0)
            say(all, firsts.size);
        ald_free(all);
    }
    ald_comm_free(&firsts);
    ald_comm_free(&node);
}

/* --- copies ----------------------------------------------------------------------------------- */

/* Appends a mapping to a file; the source's pages go again, piece by piece. */
static ald_status_t append(int file, const ald_map_t *map, const char *name)
{
    enum { PIECE = 16 << 20 };
    ald_status_t status = ALD_STATUS_OK;
    for (size_t done = 0; done < map->size;) {
        const size_t left = map->size - done, piece = left < PIECE ? left : PIECE;
        const ssize_t written = write(file, map->data + done, piece);
        if (written < 0 && errno == EINTR)
            continue;
        ALD_CHECK(written > 0, ALD_STATUS_RESOURCE,
                  "%s: copy for a NUMA domain: %s after %zu of %zu bytes; runtime.frozen_copies = "
                  "\"node\" needs none",
                  name, strerror(errno), done, map->size);
        done += (size_t)written;
        if (done % PIECE == 0)
            madvise((void *)(map->data + done - PIECE), PIECE, MADV_DONTNEED);
    }
done:
    return status;
}

/* Makes a memory file of the mapping's bytes, while this thread is in its domain; the caller closes
 * the file. */
static ald_status_t make_copy(const ald_map_t *map, const char *name, int *file)
{
    ald_status_t status = ALD_STATUS_OK;
    cpu_set_t before;
    const bool moved = sched_getaffinity(0, sizeof before, &before) == 0 &&
                       sched_setaffinity(0, sizeof mine.cpus, &mine.cpus) == 0;
    *file = memfd_create("aligndistil-weights", MFD_CLOEXEC);
    ALD_CHECK(*file >= 0, ALD_STATUS_RESOURCE, "%s: copy for a NUMA domain: %s", name,
              strerror(errno));
    ALD_TRY(append(*file, map, name));
done:
    if (moved)
        sched_setaffinity(0, sizeof before, &before);
    return status;
}

/* How the others find a copy, and know that it is the one. */
typedef struct {
    int64_t process, file; /* file < 0: there is none */
    int64_t device, inode;
} place_t;

static place_t place_of(int file)
{
    struct stat info;
    if (file < 0 || fstat(file, &info) != 0)
        return (place_t){.file = -1};
    return (place_t){getpid(), file, (int64_t)info.st_dev, (int64_t)info.st_ino};
}

static ald_status_t open_copy(const place_t *place, const char *name, int *file)
{
    ald_status_t status = ALD_STATUS_OK;
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)place->process,
             (long long)place->file);
    *file = open(path, O_RDONLY | O_CLOEXEC);
    const place_t found = place_of(*file);
    ALD_CHECK(found.file >= 0 && found.device == place->device && found.inode == place->inode,
              ALD_STATUS_RESOURCE,
              "%s: copy for a NUMA domain: %s can't be opened by another rank of the node; "
              "runtime.frozen_copies = \"node\" needs none",
              name, path);
done:
    return status;
}

/* Exchanges one mapping for the copy that the first of these ranks makes. Collective, whatever
 * `status` is, which a failure before it left. */
static ald_status_t exchange(const ald_comm_t *ranks, ald_map_t *map, const char *name,
                             ald_status_t status)
{
    int file = -1;
    if (ranks->rank == 0 && status == ALD_STATUS_OK && map->size > 0)
        status = make_copy(map, name, &file);
    place_t place = place_of(status == ALD_STATUS_OK ? file : -1);
    MPI_Bcast(&place, sizeof place, MPI_BYTE, 0, ranks->mpi);
    if (ranks->rank > 0 && status == ALD_STATUS_OK && place.file >= 0)
        status = open_copy(&place, name, &file);
    if (status == ALD_STATUS_OK && place.file >= 0)
        status = ald_map_exchange(map, file, name);
    MPI_Barrier(ranks->mpi); /* all have opened it */
    if (file >= 0)
        close(file);
    return status;
}

/* RESOURCE on ranks that would make a copy, `makers` on this node, where memory is too short. */
static ald_status_t check_room(ald_map_t *const *maps, int64_t count, int makers, const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = 0;
    const size_t room = ald_memory_available();
    for (int64_t i = 0; i < count; ++i)
        bytes += maps[i]->size;
    ALD_CHECK(bytes <= room / (size_t)makers, ALD_STATUS_RESOURCE,
              "%s: out of memory: %d copies of %zu bytes for NUMA domains, %zu bytes are free; "
              "runtime.frozen_copies = \"node\" needs none",
              name, makers, bytes, room);
    ald_log_verbose("%s: a copy of %zu bytes in each of %d NUMA domains", name, bytes, makers);
done:
    return status;
}

ald_status_t ald_domain_copy(const ald_comm_t *comm, ald_map_t *const *maps, int64_t count,
                             const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_comm_t node, ranks;
    if (!copying)
        return status;
    ald_comm_node(comm, &node);
    ald_comm_split(&node, mine.own, &ranks);
    int makers = ranks.rank == 0;
    MPI_Allreduce(MPI_IN_PLACE, &makers, 1, MPI_INT, MPI_SUM, node.mpi);
    if (mine.count > 1) {
        if (ranks.rank == 0)
            status = check_room(maps, count, makers, name);
        for (int64_t i = 0; i < count; ++i)
            status = exchange(&ranks, maps[i], name, status);
    }
    ald_comm_free(&ranks);
    ald_comm_free(&node);
    return ald_comm_agree(comm, status);
}
