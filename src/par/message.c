/* Messages between roles, each a header with a status and then the data. A failure travels to
 * whoever waits for its result, and a deadline ends a wait for a rank that will never send. */
#include "ald/par/message.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"

/* A message is a header of fixed size, then the data. The header holds the status, the length, and
 * the text of a failure: two words, and 128 for 1 KiB of text. The data goes in pieces, as MPI
 * counts bytes in an int; messages of one tag arrive in the order of their sending. */
#define HEADER_WORDS 130

static void wait_for(MPI_Request *request, int peer, int tag)
{
    char whom[32], what[32];
    snprintf(whom, sizeof whom, "rank %d", peer);
    snprintf(what, sizeof what, "a message of tag %d", tag);
    ald_comm_wait(request, whom, what);
}

/* The pieces that so many bytes go in, and the bytes of one. */
static int64_t pieces_of(int64_t bytes)
{
    return (bytes + ald_comm_piece() - 1) / ald_comm_piece();
}

static int size_of(int64_t bytes, int64_t i)
{
    const int64_t left = bytes - i * ald_comm_piece();
    return (int)(left < ald_comm_piece() ? left : ald_comm_piece());
}

static ald_status_t make_header(int64_t bytes, ald_sending_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_fail_point("message_send"));
    out->count = 1 + pieces_of(bytes);
    out->header = ald_calloc(HEADER_WORDS, sizeof(int64_t));
    ALD_CHECK_MEMORY(out->header, HEADER_WORDS * sizeof(int64_t));
    out->requests = ald_calloc((size_t)out->count, sizeof *out->requests);
    ALD_CHECK_MEMORY(out->requests, (size_t)out->count * sizeof *out->requests);
done:
    return status;
}

void ald_message_send(const ald_comm_t *comm, int to, ald_tag_t tag, ald_status_t code,
                      const void *data, int64_t bytes, ald_sending_t *out)
{
    *out = (ald_sending_t){.to = to, .tag = tag};
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", ald_status_message());
    ald_status_t made = make_header(code == ALD_STATUS_OK ? bytes : 0, out);
    if (made != ALD_STATUS_OK)
        ald_comm_abort(made);
    out->header[0] = code;
    out->header[1] = code == ALD_STATUS_OK ? bytes : 0;
    if (code != ALD_STATUS_OK)
        memcpy(out->header + 2, reason, sizeof reason);
    MPI_Isend(out->header, HEADER_WORDS, MPI_INT64_T, to, tag, comm->mpi, &out->requests[0]);
    for (int64_t i = 0; i + 1 < out->count; ++i)
        MPI_Isend((const char *)data + i * ald_comm_piece(), size_of(bytes, i), MPI_BYTE, to, tag,
                  comm->mpi, &out->requests[1 + i]);
}

void ald_message_finish(ald_sending_t *sending)
{
    if (sending->header == NULL)
        return;
    for (int64_t i = 0; i < sending->count; ++i)
        wait_for(&sending->requests[i], sending->to, sending->tag);
    ald_free(sending->requests);
    ald_free(sending->header);
    *sending = (ald_sending_t){0};
}

bool ald_message_received(ald_sending_t *sending)
{
    int all = 1;
    if (sending->header != NULL)
        MPI_Testall((int)sending->count, sending->requests, &all, MPI_STATUSES_IGNORE);
    if (all)
        ald_message_finish(sending);
    return all != 0;
}

bool ald_message_there(const ald_comm_t *comm, int from, ald_tag_t tag, int *sender)
{
    MPI_Status found;
    int there;
    MPI_Iprobe(from, tag, comm->mpi, &there, &found);
    *sender = there ? found.MPI_SOURCE : -1;
    return there != 0;
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

ald_status_t ald_message_receive(const ald_comm_t *comm, int from, ald_tag_t tag, ald_vec_t *data)
{
    int64_t header[HEADER_WORDS];
    MPI_Request request;
    data->count = 0;
    MPI_Irecv(header, HEADER_WORDS, MPI_INT64_T, from, tag, comm->mpi, &request);
    wait_for(&request, from, tag);
    if (header[0] != ALD_STATUS_OK)
        return ald_status_raise((ald_status_t)header[0], "%s", (const char *)(header + 2));
    ald_status_t room = make_room(data, header[1]);
    if (room != ALD_STATUS_OK)
        ald_comm_abort(room);
    for (int64_t i = 0; i < pieces_of(header[1]); ++i) {
        MPI_Irecv((char *)data->data + i * ald_comm_piece(), size_of(header[1], i), MPI_BYTE, from,
                  tag, comm->mpi, &request);
        wait_for(&request, from, tag);
    }
    return ALD_STATUS_OK;
}
