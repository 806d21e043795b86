/* The calls of MPI that wait for other ranks. Layer: par. */
#ifndef ALD_PAR_WATCH_H
#define ALD_PAR_WATCH_H

/* The collective call that is under way in this process, "MPI_Bcast"; NULL between calls. *since
 * becomes its begin (ald_time). From any thread. Local. */
const char *ald_watch_call(double *since);

#endif
