/* The policy's way to the generators. Receives are posted ahead, so that MPI moves the next version
 * whenever a rank calls it, and a generator finishes what it has begun. */
#include "role/weights_impl.h"

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/role/placement.h"
#include "ald/role/roles.h"
#include "ald/train/engine.h"
#include "ald/train/optimizer.h"

ald_status_t ald_weights_init(const ald_roles_t *roles, ald_weights_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    *out = (ald_weights_t){.roles = roles, .last = -1, .version = -1, .next = -1};
    ald_vec_init(&out->moving, sizeof(MPI_Request));
    if (!roles->generates || roles->trains)
        goto done;
    ALD_TRY(ald_model_config_read(roles->config->distill.policy, &shape));
    ALD_TRY(ald_params_init(&shape, &out->params));
    const size_t bytes = sizeof(float) * (size_t)out->params.total;
    out->values = ald_alloc(bytes);
    ALD_CHECK_MEMORY(out->values, bytes);
    out->coming = roles->config->distill.max_staleness == 0 ? out->values : ald_alloc(bytes);
    ALD_CHECK_MEMORY(out->coming, bytes);
done:
    return status;
}

static MPI_Request *new_request(ald_weights_t *weights)
{
    static const MPI_Request none = MPI_REQUEST_NULL;
    if (ald_vec_push(&weights->moving, &none) != ALD_STATUS_OK)
        ald_comm_abort(ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: the policy's way"));
    return &ALD_VEC_AT(&weights->moving, MPI_Request, weights->moving.count - 1);
}

/* The end of the piece of trainer t's share that begins at `at`. */
static int64_t piece_end(const ald_weights_t *weights, int64_t total, int trainer, int64_t at)
{
    const int64_t end =
        ald_optimizer_share(total, weights->roles->place.trainers.count, trainer + 1);
    return end - at < ald_comm_piece() ? end : at + ald_comm_piece();
}

void ald_weights_send(ald_weights_t *weights, int64_t version)
{
    const ald_roles_t *roles = weights->roles;
    const ald_ranks_t *to = &roles->place.generators;
    const int64_t total = roles->engine.params.total;
    const int t = roles->trainers.rank;
    if (version < weights->first || version > weights->last)
        return;
    const int64_t begin = ald_optimizer_share(total, roles->trainers.size, t);
    const int64_t end = ald_optimizer_share(total, roles->trainers.size, t + 1);
    for (int g = to->first; g < to->first + to->count; ++g)
        if (!ald_ranks_have(&roles->place.trainers, g))
            for (int64_t at = begin, next; at < end; at = next) {
                next = piece_end(weights, total, t, at);
                MPI_Isend(roles->engine.values + at, (int)(next - at), MPI_FLOAT, g,
                          ALD_TAG_WEIGHTS, roles->world->mpi, new_request(weights));
            }
}

static void wait_all(ald_weights_t *weights, const char *whom)
{
    for (size_t i = 0; i < weights->moving.count; ++i)
        ald_comm_wait(&ALD_VEC_AT(&weights->moving, MPI_Request, i), whom, "the policy's way");
    weights->moving.count = 0;
}

void ald_weights_sent(ald_weights_t *weights)
{
    wait_all(weights, "the generators");
}

/* Asks for the version after the one that was asked for last. */
static void expect(ald_weights_t *weights)
{
    const ald_roles_t *roles = weights->roles;
    const ald_ranks_t *from = &roles->place.trainers;
    const int64_t total = weights->params.total;
    weights->next = weights->next < 0 ? weights->first : weights->next + 1;
    for (int t = 0; t < from->count && weights->next <= weights->last; ++t) {
        const int64_t end = ald_optimizer_share(total, from->count, t + 1);
        for (int64_t at = ald_optimizer_share(total, from->count, t), next; at < end; at = next) {
            next = piece_end(weights, total, t, at);
            MPI_Irecv(weights->coming + at, (int)(next - at), MPI_FLOAT, from->first + t,
                      ALD_TAG_WEIGHTS, roles->world->mpi, new_request(weights));
        }
    }
}

bool ald_weights_have(ald_weights_t *weights, int64_t version)
{
    int all = 0;
    if (weights->version == version)
        return true;
    if (weights->moving.count == 0)
        expect(weights);
    MPI_Testall((int)weights->moving.count, weights->moving.data, &all, MPI_STATUSES_IGNORE);
    if (!all || weights->moving.count == 0)
        return false;
    weights->moving.count = 0;
    float *other = weights->values;
    weights->values = weights->coming;
    weights->coming = other;
    weights->version = weights->next;
    if (weights->coming != weights->values)
        expect(weights);
    return weights->version == version;
}

ald_model_t ald_weights_model(const ald_weights_t *weights)
{
    return weights->roles->trains ? ald_engine_model(&weights->roles->engine)
                                  : ald_model_of(&weights->params, weights->values);
}

void ald_weights_reset(ald_weights_t *weights)
{
    if (weights->roles == NULL)
        return;
    for (size_t i = 0; i < weights->moving.count && !weights->roles->trains; ++i)
        if (ALD_VEC_AT(&weights->moving, MPI_Request, i) != MPI_REQUEST_NULL)
            MPI_Cancel(&ALD_VEC_AT(&weights->moving, MPI_Request, i));
    wait_all(weights, "the other ranks");
    ald_vec_reset(&weights->moving);
    if (weights->coming != weights->values)
        ald_free(weights->coming);
    ald_free(weights->values);
    ald_params_reset(&weights->params);
    *weights = (ald_weights_t){0};
}
