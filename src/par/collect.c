/* Collectives in pieces of at most ald_comm_piece() elements of the whole array, so that neither a
 * count nor a displacement passes an int, whatever the model's size. An array that is shorter goes
 * in one piece. */
#include "ald/par/collect.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/par/comm.h"

/* Of a buffer for sums: long messages, and little beside a model, though MPI takes copies of it. */
#define SUM_BYTES ((int64_t)4 << 20)

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

bool ald_collect_next(const ald_spread_t *spread, ald_piece_t *piece)
{
    const ald_spread_t *s = spread;
    const int size = s->comm->size, rank = s->comm->rank;
    const int64_t total = s->starts[size], first = piece->end;
    const int64_t end = clamp(total, first, first + ald_comm_piece());
    if (first >= total)
        return false;
    piece->first = first;
    piece->end = end;
    for (int r = 0; r < size; ++r) {
        const int64_t low = clamp(s->starts[r], first, end);
        piece->starts[r] = (int)(low - first);
        piece->counts[r] = (int)(clamp(s->starts[r + 1], first, end) - low);
    }
    piece->mine = piece->counts[rank] > 0 ? first + piece->starts[rank] - s->starts[rank] : 0;
    return true;
}

static int64_t size_of(MPI_Datatype type)
{
    int size;
    MPI_Type_size(type, &size);
    return size;
}

/* `array` + `elements`; NULL stays NULL. */
static void *element(const void *array, int64_t elements, MPI_Datatype type)
{
    return array == NULL ? NULL : (char *)array + elements * size_of(type);
}

void ald_collect_starts(const ald_comm_t *comm, int64_t count, int64_t *starts)
{
    MPI_Allgather(&count, 1, MPI_INT64_T, starts + 1, 1, MPI_INT64_T, comm->mpi);
    starts[0] = 0;
    for (int r = 0; r < comm->size; ++r)
        starts[r + 1] += starts[r];
}

void ald_collect_reduce(const ald_comm_t *comm, void *values, int64_t count, MPI_Datatype type,
                        MPI_Op op)
{
    const int64_t piece = ald_comm_piece();
    for (int64_t at = 0; at < count && comm->size > 1; at += piece)
        MPI_Allreduce(MPI_IN_PLACE, element(values, at, type), (int)clamp(count - at, 0, piece),
                      type, op, comm->mpi);
}

/* Puts a part of every rank's share, at most `most` elements from `skip` on, into `buffer` one
 * after the other; false when there are no more. */
static bool pack_parts(const ald_spread_t *s, int64_t skip, int64_t most, const void *all,
                       int *counts, void *buffer)
{
    int64_t packed = 0;
    for (int r = 0; r < s->comm->size; ++r) {
        const int64_t left = s->starts[r + 1] - s->starts[r] - skip;
        counts[r] = (int)clamp(left, 0, most);
        if (counts[r] > 0)
            memcpy(element(buffer, packed, s->type), element(all, s->starts[r] + skip, s->type),
                   (size_t)(counts[r] * size_of(s->type)));
        packed += counts[r];
    }
    return packed > 0;
}

ald_status_t ald_collect_sum_shares(const ald_spread_t *spread, void *all)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_spread_t *s = spread;
    const int size = s->comm->size;
    const int64_t first = s->starts[s->comm->rank];
    const int64_t fits = clamp(SUM_BYTES / size_of(s->type), 1, ald_comm_piece());
    int64_t longest = 1;
    for (int r = 0; r < size; ++r)
        longest = clamp(s->starts[r + 1] - s->starts[r], longest, fits);
    const int64_t most = clamp(fits / size, 1, longest);
    int counts[size];
    void *buffer = ald_alloc((size_t)(most * size * size_of(s->type)));
    if (buffer == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: sums over ranks");
    ALD_TRY(ald_comm_agree(s->comm, status));
    for (int64_t at = 0; pack_parts(s, at, most, all, counts, buffer); at += most) {
        const int64_t mine = counts[s->comm->rank] > 0 ? first + at : 0;
        MPI_Reduce_scatter(buffer, element(all, mine, s->type), counts, s->type, MPI_SUM,
                           s->comm->mpi);
    }
done:
    ald_free(buffer);
    return status;
}

void ald_collect_share(const ald_spread_t *spread, void *all)
{
    const ald_spread_t *s = spread;
    int counts[s->comm->size], starts[s->comm->size];
    for (ald_piece_t p = {.counts = counts, .starts = starts}; ald_collect_next(s, &p);)
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, element(all, p.first, s->type), counts,
                       starts, s->type, s->comm->mpi);
}

void ald_collect_gather(const ald_spread_t *spread, const void *mine, void *all)
{
    const ald_spread_t *s = spread;
    int counts[s->comm->size], starts[s->comm->size];
    for (ald_piece_t p = {.counts = counts, .starts = starts}; ald_collect_next(s, &p);)
        MPI_Gatherv(element(mine, p.mine, s->type), counts[s->comm->rank], s->type,
                    element(all, p.first, s->type), counts, starts, s->type, 0, s->comm->mpi);
}
