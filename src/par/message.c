#include "ald/message.h"

#include <string.h>
#include <time.h>

#include "ald/arena.h"
#include "ald/log.h"

/* A header of fixed size, then the data in pieces: status, length, and the message of a failure. */
#define HEADER_WORDS 64
#define PIECE ((int64_t)1 << 30)

/* MPI_Test with pauses: a waiting rank must not take the core of a working one. */
static ald_status_t wait_for(const ald_comm_t *comm, MPI_Request *request, int peer, int tag,
                             double deadline)
{
    ald_status_t status = ALD_STATUS_OK;
    double start = ald_time();
    long pause = 2000;
    for (int finished = 0; !finished;) {
        MPI_Test(request, &finished, MPI_STATUS_IGNORE);
        if (finished)
            break;
        ALD_CHECK(ald_time() - start < deadline, ALD_STATUS_INTERNAL,
                  "rank %d waited %.0f s for rank %d, tag %d", comm->rank, deadline, peer, tag);
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        pause = pause < 1000000 ? pause * 2 : 1000000;
    }
done:
    return status;
}

ald_status_t ald_message_send(const ald_comm_t *comm, int to, ald_tag_t tag, ald_status_t code,
                              const void *data, int64_t bytes, ald_sending_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_sending_t){.request = MPI_REQUEST_NULL, .header_request = MPI_REQUEST_NULL};
    ALD_CHECK(bytes < PIECE * 2 - 1, ALD_STATUS_INTERNAL, "a message of %lld bytes",
              (long long)bytes);
    out->header = ald_calloc(HEADER_WORDS, sizeof(int64_t));
    ALD_CHECK_MEMORY(out->header, HEADER_WORDS * sizeof(int64_t));
    out->header[0] = code;
    out->header[1] = code == ALD_STATUS_OK ? bytes : 0;
    if (code != ALD_STATUS_OK)
        strncpy((char *)(out->header + 2), ald_status_message(), (HEADER_WORDS - 2) * 8 - 1);
    MPI_Isend(out->header, HEADER_WORDS, MPI_INT64_T, to, tag, comm->mpi, &out->header_request);
    if (out->header[1] > 0)
        MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, comm->mpi, &out->request);
done:
    return status;
}

ald_status_t ald_message_finish(const ald_comm_t *comm, ald_sending_t *sending, double deadline)
{
    ald_status_t status = ALD_STATUS_OK;
    if (sending->header == NULL)
        return status;
    ALD_TRY(wait_for(comm, &sending->header_request, -1, -1, deadline));
    ALD_TRY(wait_for(comm, &sending->request, -1, -1, deadline));
    ald_free(sending->header);
    *sending = (ald_sending_t){.request = MPI_REQUEST_NULL, .header_request = MPI_REQUEST_NULL};
done:
    return status;
}

ald_status_t ald_message_receive(const ald_comm_t *comm, int from, ald_tag_t tag, double deadline,
                                 ald_vec_t *data)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t header[HEADER_WORDS];
    MPI_Request request;
    data->count = 0;
    MPI_Irecv(header, HEADER_WORDS, MPI_INT64_T, from, tag, comm->mpi, &request);
    ALD_TRY(wait_for(comm, &request, from, tag, deadline));
    if (header[0] != ALD_STATUS_OK) {
        ((char *)header)[sizeof header - 1] = '\0';
        return ald_status_raise((ald_status_t)header[0], "%s", (const char *)(header + 2));
    }
    ALD_TRY(ald_vec_append(data, NULL, (size_t)header[1]));
    if (header[1] > 0) {
        MPI_Irecv(data->data, (int)header[1], MPI_BYTE, from, tag, comm->mpi, &request);
        ALD_TRY(wait_for(comm, &request, from, tag, deadline));
    }
done:
    return status;
}
