/* The memory domains (NUMA) of a node, and copies of files' mappings that the ranks of one domain
 * share. Layer: par. */
#ifndef ALD_PAR_DOMAIN_H
#define ALD_PAR_DOMAIN_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/par/comm.h"

typedef struct {
    int count;      /* domains of this node that have CPUs; 1 where the system doesn't say */
    int own;        /* the first of them, from 0, that the CPUs are of */
    bool several;   /* they are of others, too */
    cpu_set_t cpus; /* those that are of `own` */
} ald_domain_t;
/* Of these CPUs, by a folder as /sys/devices/system/node is. Local. */
void ald_domain_find(const char *root, const cpu_set_t *cpus, ald_domain_t *out);

/* Finds the domain of this rank; `root` may be "" for the system's folder. Says once for nodes that
 * are alike how many domains they have, where there are several, and where frozen models are. From
 * here on ald_domain_copy makes copies, if `copies`. Collective over the world. */
void ald_domain_setup(const ald_comm_t *world, const char *root, bool copies);

/* Where copies are wanted and the node has several domains, exchanges the mappings of `count` files
 * for copies in memory, one in each domain, that the ranks of `comm` there share; the pages are of
 * the domain. Pointers into the mappings stay valid, and they are closed as before. A copy is gone
 * with the last process that has it. `name` is for messages. RESOURCE where there is no memory for
 * them. Collective; the same status on all ranks. */
ald_status_t ald_domain_copy(const ald_comm_t *comm, ald_map_t *const *maps, int64_t count,
                             const char *name);

#endif
