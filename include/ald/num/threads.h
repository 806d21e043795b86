/* The threads of this process, and what the libraries behind them need to start. Layer: num. */
#ifndef ALD_NUM_THREADS_H
#define ALD_NUM_THREADS_H

#include "ald/base/status.h"

/* Lets parallel regions have no more threads than this process has cores, whatever OMP_NUM_THREADS
 * says, until ald_threads_set. Local. */
void ald_threads_begin(void);

/* Sets the threads of OpenMP's pool, which OpenBLAS shares: `threads`, or with 0 the cores that
 * this process may use; fewer where OpenMP (OMP_THREAD_LIMIT) or OpenBLAS (as it was built) gives
 * fewer. *given becomes their number, which each parallel region really has. Tries all that these
 * libraries don't return a failure of: RESOURCE when threads can't be started, or when OpenBLAS
 * can't map its buffers. Local; call it where no other thread is at work. */
ald_status_t ald_threads_set(int threads, int *given);

/* Lets parallel regions that the calling thread begins have one thread: a thread beside the one
 * that works would get a pool of its own, and take the cores of the other. Local. */
void ald_threads_single(void);

#endif
