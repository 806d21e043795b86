/* Messages between roles: point to point, with a status in each and a deadline on each wait, so that
 * a failure travels to whoever waits for its result. Layer: par. */
#ifndef ALD_MESSAGE_H
#define ALD_MESSAGE_H

#include "ald/comm.h"
#include "ald/vec.h"

typedef enum {
    ALD_TAG_SAMPLES = 11, /* generator to scorer: sampled responses */
    ALD_TAG_SHARD,        /* scorer to trainer: path of a finished shard */
    ALD_TAG_WEIGHTS,      /* trainer to generator: the policy */
} ald_tag_t;

/* A send under way; its data must stay until ald_message_finish. */
typedef struct {
    MPI_Request request;
    int64_t *header; /* owned */
    MPI_Request header_request;
} ald_sending_t;

/* Sends `bytes` of data and the sender's status; with a status other than OK, no data: the receiver
 * gets it as its own failure. Doesn't block; also to itself. */
ald_status_t ald_message_send(const ald_comm_t *comm, int to, ald_tag_t tag, ald_status_t code,
                              const void *data, int64_t bytes, ald_sending_t *out);
/* Waits until the data may be reused. INTERNAL naming rank, peer and tag after `deadline` seconds. */
ald_status_t ald_message_finish(const ald_comm_t *comm, ald_sending_t *sending, double deadline);
/* Receives into `data` (a vec of bytes, overwritten). The sender's failure is returned as such. */
ald_status_t ald_message_receive(const ald_comm_t *comm, int from, ald_tag_t tag, double deadline,
                                 ald_vec_t *data);

#endif
