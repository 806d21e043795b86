/* Messages between roles: point to point, with a status in each and a deadline (ald_comm_wait)
 * on each wait, so
 * that a failure travels to whoever waits for its result. A message that can't be carried at all
 * (no memory, a deadline passed: the line names rank, peer and tag) ends the job by ald_comm_abort,
 * since the peer would wait for good. Layer: par. */
#ifndef ALD_PAR_MESSAGE_H
#define ALD_PAR_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"

typedef enum {
    ALD_TAG_SAMPLES = 11, /* generator to scorer: sampled responses; tags only have to differ */
    ALD_TAG_SHARD,        /* scorer to trainer: path of a finished shard */
    ALD_TAG_WEIGHTS,      /* trainer to generator: its share of a version of the policy */
    ALD_TAG_STOP,         /* to rank 0: a signal came */
    ALD_TAG_END,          /* to all: the run is over, or what has failed */
} ald_tag_t;

/* A send under way; its data must stay until ald_message_finish. */
typedef struct {
    MPI_Request *requests; /* owned: of the header, then of each piece of the data */
    int64_t count;         /* of them */
    int64_t *header;       /* owned */
    int to, tag;
} ald_sending_t;

/* Sends `bytes` of data and the sender's status. With a status other than OK no data goes, and the
 * receiver returns that status as its own failure. Doesn't block; a rank may send to itself. */
void ald_message_send(const ald_comm_t *comm, int to, ald_tag_t tag, ald_status_t code,
                      const void *data, int64_t bytes, ald_sending_t *out);
/* Waits until the data may be reused; a send that is finished already is no error. */
void ald_message_finish(ald_sending_t *sending);
/* Whether it has been received; then it is finished, too. Local. */
bool ald_message_received(ald_sending_t *sending);
/* Whether a message of `from` (MPI_ANY_SOURCE: of any rank) has come; *sender becomes its rank.
 * Local. */
bool ald_message_there(const ald_comm_t *comm, int from, ald_tag_t tag, int *sender);
/* Receives into `data` (a vec of bytes, overwritten). The sender's failure is returned as such. */
ald_status_t ald_message_receive(const ald_comm_t *comm, int from, ald_tag_t tag, ald_vec_t *data);

#endif
