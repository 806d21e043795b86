/* The roles of a distillation on this rank. A rank may have several, one after the other in each
 * step, so what it holds for them is side by side in one struct. */
#include "ald/role/roles.h"

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/objective/distill.h"
#include "ald/par/comm.h"
#include "ald/role/placement.h"
#include "ald/role/scorer.h"
#include "ald/train/engine.h"

void ald_roles_init(const ald_config_t *config, const ald_comm_t *world, ald_roles_t *out)
{
    *out = (ald_roles_t){.config = config,
                         .world = world,
                         .trainers = {.mpi = MPI_COMM_NULL},
                         .scorers = {.mpi = MPI_COMM_NULL}};
}

ald_status_t ald_roles_split(bool scoring, bool generating, ald_roles_t *roles)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *world = roles->world;
    ALD_TRY(ald_placement_make(roles->config, world->size, &roles->place));
    roles->trains = ald_ranks_have(&roles->place.trainers, world->rank);
    roles->scores = scoring && ald_ranks_have(&roles->place.scorers, world->rank);
    roles->generates = generating && ald_ranks_have(&roles->place.generators, world->rank);
    ald_comm_subset(world, roles->trains, &roles->trainers);
    ald_comm_subset(world, roles->scores, &roles->scorers);
done:
    return status;
}

void ald_roles_reset(ald_roles_t *roles)
{
    if (roles->trains) {
        ald_distiller_reset(&roles->distiller);
        ald_engine_reset(&roles->engine);
    }
    if (roles->scores)
        ald_scorer_reset(&roles->scorer);
    ald_dataset_reset(&roles->data);
    ald_comm_free(&roles->trainers);
    ald_comm_free(&roles->scorers);
}
