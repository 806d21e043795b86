/* Every collective call of MPI, noted while it lasts. They return when all ranks have come, or
 * never; MPI's profiling interface lets a program stand before each of them, and so none is
 * forgotten. */
#include "ald/par/watch.h"

#include <mpi.h>
#include <stdatomic.h>
#include <stddef.h>

#include "ald/base/log.h"

/* The call under way, NULL between calls, and its begin. */
static _Atomic(const char *) call;
static _Atomic double begun;

static void begin(const char *name)
{
    atomic_store(&begun, ald_time());
    atomic_store(&call, name);
}

static void end(void)
{
    atomic_store(&call, NULL);
}

#define WATCHED(name, parameters, arguments)                                                       \
    int MPI_##name parameters                                                                      \
    {                                                                                              \
        begin("MPI_" #name);                                                                       \
        int code = PMPI_##name arguments;                                                          \
        end();                                                                                     \
        return code;                                                                               \
    }
#define TYPE MPI_Datatype
#define COMM MPI_Comm comm

WATCHED(Barrier, (COMM), (comm))
WATCHED(Bcast, (void *at, int n, TYPE type, int root, COMM), (at, n, type, root, comm))
WATCHED(Reduce, (const void *from, void *to, int n, TYPE type, MPI_Op op, int root, COMM),
        (from, to, n, type, op, root, comm))
WATCHED(Allreduce, (const void *from, void *to, int n, TYPE type, MPI_Op op, COMM),
        (from, to, n, type, op, comm))
WATCHED(Reduce_scatter,
        (const void *from, void *to, const int counts[], TYPE type, MPI_Op op, COMM),
        (from, to, counts, type, op, comm))
WATCHED(Gather, (const void *from, int n, TYPE type, void *to, int m, TYPE got, int root, COMM),
        (from, n, type, to, m, got, root, comm))
WATCHED(Gatherv,
        (const void *from, int n, TYPE type, void *to, const int counts[], const int starts[],
         TYPE got, int root, COMM),
        (from, n, type, to, counts, starts, got, root, comm))
WATCHED(Scatterv,
        (const void *from, const int counts[], const int starts[], TYPE type, void *to, int n,
         TYPE got, int root, COMM),
        (from, counts, starts, type, to, n, got, root, comm))
WATCHED(Allgather, (const void *from, int n, TYPE type, void *to, int m, TYPE got, COMM),
        (from, n, type, to, m, got, comm))
WATCHED(Allgatherv,
        (const void *from, int n, TYPE type, void *to, const int counts[], const int starts[],
         TYPE got, COMM),
        (from, n, type, to, counts, starts, got, comm))
WATCHED(Comm_split, (COMM, int color, int key, MPI_Comm *out), (comm, color, key, out))
WATCHED(Comm_split_type, (COMM, int type, int key, MPI_Info info, MPI_Comm *out),
        (comm, type, key, info, out))
WATCHED(Comm_free, (MPI_Comm * comm), (comm))
WATCHED(Finalize, (void), ())

const char *ald_watch_call(double *since)
{
    *since = atomic_load(&begun);
    return atomic_load(&call);
}
