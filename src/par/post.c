/* Messages on their way. A role that waited for its receiver would wait for a rank that is at work,
 * so what is sent is copied and looked after now and then. */
#include "ald/par/post.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"

typedef struct {
    ald_sending_t sending;
    void *data; /* owned */
} posted_t;

void ald_post_init(ald_post_t *post)
{
    ald_vec_init(&post->sent, sizeof(posted_t));
}

void ald_post_send(ald_post_t *post, const ald_comm_t *comm, int to, ald_tag_t tag,
                   ald_status_t code, const void *data, int64_t bytes)
{
    const int64_t size = code == ALD_STATUS_OK ? bytes : 0;
    posted_t posted = {.data = ald_alloc((size_t)size + 1)};
    if (posted.data == NULL || ald_vec_push(&post->sent, &posted) != ALD_STATUS_OK)
        ald_comm_abort(ald_status_raise(ALD_STATUS_RESOURCE,
                                        "out of memory: a message of %lld bytes", (long long)size));
    if (size > 0)
        memcpy(posted.data, data, (size_t)size);
    posted_t *kept = &ALD_VEC_AT(&post->sent, posted_t, post->sent.count - 1);
    ald_message_send(comm, to, tag, code, kept->data, size, &kept->sending);
}

void ald_post_look(ald_post_t *post)
{
    size_t left = 0;
    for (size_t i = 0; i < post->sent.count; ++i) {
        posted_t *posted = &ALD_VEC_AT(&post->sent, posted_t, i);
        if (ald_message_received(&posted->sending))
            ald_free(posted->data);
        else
            ALD_VEC_AT(&post->sent, posted_t, left++) = *posted;
    }
    post->sent.count = left;
}

/* Takes a message that has come, whatever it is; false: there is none. */
static bool throw_away(const ald_comm_t *comm)
{
    MPI_Message message;
    MPI_Status found;
    int there, bytes;
    MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm->mpi, &there, &message, &found);
    if (!there)
        return false;
    MPI_Get_count(&found, MPI_BYTE, &bytes);
    void *data = ald_alloc((size_t)bytes + 1);
    if (data == NULL)
        ald_comm_abort(ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %d bytes", bytes));
    MPI_Mrecv(data, bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE);
    ald_free(data);
    return true;
}

void ald_post_end(ald_post_t *post, const ald_comm_t *comm)
{
    MPI_Request barrier = MPI_REQUEST_NULL;
    const double begun = ald_time();
    int looks = 0, over = 0;
    bool waits = false; /* this rank's are gone: it waits for the others' */
    while (!over) {
        while (throw_away(comm))
            looks = 0;
        ald_post_look(post);
        if (!waits && post->sent.count == 0) {
            MPI_Ibarrier(comm->mpi, &barrier);
            waits = true;
        }
        if (waits)
            MPI_Test(&barrier, &over, MPI_STATUS_IGNORE);
        if (!over)
            ald_comm_idle(begun, &looks, "the others", "the end of their messages");
    }
    ald_vec_reset(&post->sent);
}
