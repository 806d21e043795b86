/* Communicators, agreement, and the end of a job. Layer: par. */
#ifndef ALD_PAR_COMM_H
#define ALD_PAR_COMM_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

typedef struct {
    MPI_Comm mpi; /* MPI_COMM_NULL: this rank isn't in it */
    int rank, size;
} ald_comm_t;

/* MPI_Init_thread (FUNNELED); an error of MPI ends the job by ald_comm_abort. Collective over the
 * world. */
void ald_comm_start(int *argc, char ***argv, ald_comm_t *world);
/* MPI_Finalize. A process that is alone ends at once with `code` where that doesn't return within 20
 * seconds: nothing is left to do then. Collective over the world. */
void ald_comm_finish(const ald_comm_t *world, int code);

/* Numbers the ranks of the world anew, lower keys first, and equal ones as they were. Collective
 * over the world, before anything is told by rank. */
void ald_comm_sort(ald_comm_t *world, int key);

/* The ranks of `parent` that say `member`, in their order; the others get rank -1 and size 0.
 * Collective over `parent`. Free with ald_comm_free. */
void ald_comm_subset(const ald_comm_t *parent, bool member, ald_comm_t *out);
/* The ranks of `parent` that say the same `part`, which is 0 or more; as ald_comm_subset. */
void ald_comm_split(const ald_comm_t *parent, int part, ald_comm_t *out);
/* The ranks of `parent` on this node. Collective over `parent`. */
void ald_comm_node(const ald_comm_t *parent, ald_comm_t *out);
void ald_comm_free(ald_comm_t *comm); /* collective over it; takes one that this rank isn't in */

/* Cores for this rank: each core that it may use counts, divided among the ranks of `world` that
 * may use it too, at least 1. So ranks that their launcher bound apart keep what they have, and
 * ranks that weren't bound share the node. Collective over `world`; ranks may get different
 * numbers. */
int ald_comm_cores(const ald_comm_t *world);

/* Seconds that a rank waits for others (runtime.deadline); 10 hours until they are set. Local. */
void ald_comm_deadline_set(double seconds);
/* Sets them, and from here on has the collective calls of MPI too end the job when they are late,
 * and ends it when a rank of this node is gone. RESOURCE where the thread that looks after them
 * can't be started. Local. */
ald_status_t ald_comm_deadline_start(const ald_comm_t *world, double seconds);
/* The pause of a rank that waits since `since` (ald_time) between two looks at what it waits for:
 * at first yields, then sleeps that grow to 1 ms, so that it doesn't take the core of a working
 * rank. *looks is 0 before the first. A wait longer than the deadline ends the job by
 * ald_comm_abort, with a line that names this rank, the deadline, whom it waited for and in what;
 * the lower of two ranks is late first. Local. */
void ald_comm_idle(double since, int *looks, const char *whom, const char *what);
/* Sleeps until the request is finished (ald_comm_idle). Local. */
void ald_comm_wait(MPI_Request *request, const char *whom, const char *what);

/* All ranks return the status of the lowest rank that failed, with its message; OK when none did.
 * Collective: every rank must call it, whatever its own status is. Allocates nothing. */
ald_status_t ald_comm_agree(const ald_comm_t *comm, ald_status_t status);
/* USAGE on all ranks unless all have the same `size` bytes (compared by digest); `what` names them
 * in the message. Collective. */
ald_status_t ald_comm_compare(const ald_comm_t *comm, const void *data, size_t size,
                              const char *what);
/* values[count] become their sums over all ranks, which sleep until all are here. Collective. */
void ald_comm_sum(const ald_comm_t *comm, int64_t *values, int64_t count);
/* Broadcast of any size, in pieces. Collective. */
void ald_comm_broadcast(const ald_comm_t *comm, void *data, size_t bytes, int root);
/* The most elements (2^27, at most 1 GiB) that one call of MPI is given: more go in pieces. Tests
 * set it, to small numbers too; the same on all ranks. Local. */
int64_t ald_comm_piece(void);
void ald_comm_piece_set(int64_t elements);

/* Ends the job after a failure that the other ranks can't be told of: one line with this thread's
 * message, then MPI_Abort with the code. The others of the node end by themselves, without a line
 * and at once (ald/par/ending.h). */
_Noreturn void ald_comm_abort(ald_status_t code);

#endif
