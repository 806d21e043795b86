/* How the ranks of a node end together. Layer: par.
 *
 * A launcher ends its ranks one after the other, each with a grace of a second or of half a minute,
 * and some wait for ever when one of them was killed. So the ranks of a node share a page of memory
 * that says which of them are there and whether one has ended the job. */
#ifndef ALD_PAR_ENDING_H
#define ALD_PAR_ENDING_H

#include <mpi.h>
#include <stdbool.h>

/* Makes the page of the ranks of `node`; where that can't be, this rank has one of its own and is
 * ended by the launcher alone. `rank`: this process's in the world. Collective over `node`. */
void ald_ending_share(MPI_Comm node, int rank);
/* This process's rank in the world is another one now. Local. */
void ald_ending_number(int rank);
/* From here on this rank's end is none that the others need to follow. Local. */
void ald_ending_leave(void);
/* Whether this rank is the first of its node to end the job, with this exit code: the others then
 * say nothing. From any thread. Local. */
bool ald_ending_claim(int code);
/* Ends this process, without a word and with the code of the first, when another rank of the node
 * has ended the job. From any thread. Local. */
void ald_ending_follow(void);
/* A rank of the node that is gone and hasn't left: killed, or crashed; -1 when there is none. *pid
 * becomes what its process was. Local. */
int ald_ending_gone(int *pid);

#endif
