/* Collectives on arrays of any length: MPI counts in an int, so longer ones go in pieces. An array
 * may be spread over the ranks: rank r owns the elements [starts[r], starts[r + 1]) of
 * starts[size], all int64_t. Layer: par. */
#ifndef ALD_PAR_COLLECT_H
#define ALD_PAR_COLLECT_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

typedef struct {
    const ald_comm_t *comm;
    const int64_t *starts; /* [size + 1]; borrowed */
    MPI_Datatype type;     /* a predefined one */
} ald_spread_t;

/* Fills starts[size + 1] for ranks that own `count` elements each, one after the other.
 * Collective. */
void ald_collect_starts(const ald_comm_t *comm, int64_t count, int64_t *starts);
/* values[count] become their reductions over all ranks. Collective. */
void ald_collect_reduce(const ald_comm_t *comm, void *values, int64_t count, MPI_Datatype type,
                        MPI_Op op);
/* This rank's share of its `all` becomes that of the sums of all ranks' arrays; the rest stays.
 * RESOURCE without memory for a buffer of 4 MiB, on all ranks. Collective. */
ald_status_t ald_collect_sum_shares(const ald_spread_t *spread, void *all);
/* Every rank gets the shares of the others into its `all`, where its own is. Collective. */
void ald_collect_share(const ald_spread_t *spread, void *all);
/* All shares into `all` on rank 0 (else untouched, may be NULL). Collective. */
void ald_collect_gather(const ald_spread_t *spread, const void *mine, void *all);

/* A piece of an array, as the calls above give it to MPI. */
typedef struct {
    int64_t first, end;   /* elements of the array */
    int *counts, *starts; /* [size] what each rank owns of it, from `first` on; borrowed */
    int64_t mine;         /* the first of this rank's elements, counted from its share's */
} ald_piece_t;
/* Moves on from a piece, at first {.counts, .starts}, to the next; false behind the last. Local. */
bool ald_collect_next(const ald_spread_t *spread, ald_piece_t *piece);

#endif
