/* Messages between roles, each a header with a status and then the data. A failure travels to
 * whoever waits for its result, and a deadline ends a wait for a rank that will never send. */
#include "ald/par/message.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"

/* A message is a header of fixed size, then the data. The header holds the status, the length, and
 * the text of a failure: two words, and 128 for 1 KiB of text. MPI counts bytes in an int. */
#define HEADER_WORDS 130
#define LARGEST      (((int64_t)1 << 31) - 1)

/* MPI_Test with ald_comm_pause, until the deadline. */
static void wait_for(const ald_comm_t *comm, MPI_Request *request, int peer, int tag,
                     double deadline)
{
    double start = ald_time();
    int looks = 0;
    for (int finished = 0; !finished;) {
        MPI_Test(request, &finished, MPI_STATUS_IGNORE);
        if (finished)
            break;
        if (ald_time() - start > deadline)
            ald_comm_abort(ald_status_raise(ALD_STATUS_INTERNAL,
                                            "rank %d waited %.0f s for rank %d, tag %d", comm->rank,
                                            deadline, peer, tag));
        ald_comm_pause(&looks);
    }
}

static ald_status_t make_header(int64_t bytes, ald_sending_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_fail_point("message_send"));
    ALD_CHECK(bytes <= LARGEST, ALD_STATUS_INTERNAL,
              "a message of %lld bytes; expected at most %lld", (long long)bytes,
              (long long)LARGEST);
    out->header = ald_calloc(HEADER_WORDS, sizeof(int64_t));
    ALD_CHECK_MEMORY(out->header, HEADER_WORDS * sizeof(int64_t));
done:
    return status;
}

void ald_message_send(const ald_comm_t *comm, int to, ald_tag_t tag, ald_status_t code,
                      const void *data, int64_t bytes, ald_sending_t *out)
{
    *out = (ald_sending_t){
        .request = MPI_REQUEST_NULL, .header_request = MPI_REQUEST_NULL, .to = to, .tag = tag};
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", ald_status_message());
    ald_status_t made = make_header(bytes, out);
    if (made != ALD_STATUS_OK)
        ald_comm_abort(made);
    out->header[0] = code;
    out->header[1] = code == ALD_STATUS_OK ? bytes : 0;
    if (code != ALD_STATUS_OK)
        memcpy(out->header + 2, reason, sizeof reason);
    MPI_Isend(out->header, HEADER_WORDS, MPI_INT64_T, to, tag, comm->mpi, &out->header_request);
    if (out->header[1] > 0)
        MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, comm->mpi, &out->request);
}

void ald_message_finish(const ald_comm_t *comm, ald_sending_t *sending, double deadline)
{
    if (sending->header == NULL)
        return;
    wait_for(comm, &sending->header_request, sending->to, sending->tag, deadline);
    wait_for(comm, &sending->request, sending->to, sending->tag, deadline);
    ald_free(sending->header);
    *sending = (ald_sending_t){.request = MPI_REQUEST_NULL, .header_request = MPI_REQUEST_NULL};
}

/* Makes room for the data that follows a header. */
static ald_status_t make_room(ald_vec_t *data, int64_t bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_fail_point("message_receive"));
    ALD_TRY(ald_vec_append(data, NULL, (size_t)bytes));
done:
    return status;
}

ald_status_t ald_message_receive(const ald_comm_t *comm, int from, ald_tag_t tag, double deadline,
                                 ald_vec_t *data)
{
    int64_t header[HEADER_WORDS];
    MPI_Request request;
    data->count = 0;
    MPI_Irecv(header, HEADER_WORDS, MPI_INT64_T, from, tag, comm->mpi, &request);
    wait_for(comm, &request, from, tag, deadline);
    if (header[0] != ALD_STATUS_OK)
        return ald_status_raise((ald_status_t)header[0], "%s", (const char *)(header + 2));
    ald_status_t room = make_room(data, header[1]);
    if (room != ALD_STATUS_OK)
        ald_comm_abort(room);
    if (header[1] > 0) {
        MPI_Irecv(data->data, (int)header[1], MPI_BYTE, from, tag, comm->mpi, &request);
        wait_for(comm, &request, from, tag, deadline);
    }
    return ALD_STATUS_OK;
}
