/* Messages that a rank has sent and goes on without, and the end of all messages. Layer: par. */
#ifndef ALD_PAR_POST_H
#define ALD_PAR_POST_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"

typedef struct {
    ald_vec_t sent; /* what isn't received yet, each with its copy of the data */
} ald_post_t;

void ald_post_init(ald_post_t *post);
/* ald_message_send with a copy of the data. */
void ald_post_send(ald_post_t *post, const ald_comm_t *comm, int to, ald_tag_t tag,
                   ald_status_t code, const void *data, int64_t bytes);
/* Frees what has been received. To be called now and then, as MPI may move data only then. Local.
 */
void ald_post_look(ald_post_t *post);
/* Ends all messages of all ranks: takes those that nobody waits for any more and throws them away,
 * until every rank's own are gone; then frees the post. Collective. */
void ald_post_end(ald_post_t *post, const ald_comm_t *comm);

#endif
