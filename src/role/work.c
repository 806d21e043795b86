/* The end of an on-policy run. Roles go at their own pace, so no rank can agree with the others on
 * each step: who fails tells everybody, and rank 0 says when the trainers are done. */
#include "role/work_impl.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/par/post.h"
#include "ald/par/signals.h"
#include "ald/role/roles.h"

ald_status_t ald_work_init(ald_roles_t *roles, ald_work_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_work_t){.roles = roles};
    ald_post_init(&out->post);
    out->order = ald_alloc(sizeof *out->order * (size_t)(roles->data.pairs.count + 1));
    ALD_CHECK(out->order != NULL, ALD_STATUS_RESOURCE, "out of memory: the order of the rows");
done:
    return status;
}

void ald_work_end(ald_work_t *work)
{
    ald_post_end(&work->post, work->roles->world);
    ald_free(work->order);
    *work = (ald_work_t){0};
}

/* Receives a message of the end, or of a signal. */
static ald_status_t receive_end(ald_work_t *work, int from, ald_tag_t tag)
{
    ald_vec_t nothing;
    ald_vec_init(&nothing, 1);
    ald_status_t status = ald_message_receive(work->roles->world, from, tag, &nothing);
    ald_vec_reset(&nothing);
    return status;
}

ald_status_t ald_work_look(ald_work_t *work)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *world = work->roles->world;
    int from;
    ald_post_look(&work->post);
    if (ald_message_there(world, MPI_ANY_SOURCE, ALD_TAG_END, &from)) {
        work->ended = true;
        work->told = true;
        ALD_TRY(receive_end(work, from, ALD_TAG_END));
    }
    if (world->rank == 0 && ald_message_there(world, MPI_ANY_SOURCE, ALD_TAG_STOP, &from)) {
        work->stopped = true;
        ALD_TRY(receive_end(work, from, ALD_TAG_STOP));
    }
    if (!work->roles->trains && ald_signals_seen() && !work->told) {
        ald_post_send(&work->post, world, 0, ALD_TAG_STOP, ALD_STATUS_OK, NULL, 0);
        work->told = true;
    }
done:
    return status;
}

void ald_work_tell(ald_work_t *work, ald_status_t status)
{
    const ald_roles_t *roles = work->roles;
    if (work->ended)
        return;
    work->ended = true;
    for (int rank = 0; rank < roles->world->size; ++rank)
        if (rank != roles->world->rank)
            ald_post_send(&work->post, roles->world, rank, ALD_TAG_END, status, NULL, 0);
}

int64_t ald_work_version(const ald_work_t *work, int64_t step)
{
    const int64_t version = step - work->roles->config->distill.max_staleness;
    return version > work->begin ? version : work->begin;
}

double ald_work_idle(ald_work_t *work)
{
    const double idle = work->idle;
    work->idle = 0.0;
    return idle;
}

void ald_shift_join(ald_shift_t *longest, const ald_shift_t *other)
{
    longest->work = other->work > longest->work ? other->work : longest->work;
    longest->wait = other->wait > longest->wait ? other->wait : longest->wait;
    longest->tokens += other->tokens;
}
