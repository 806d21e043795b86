/* Versions of the policy on their way from trainers to the generators that don't train. Version v
 * has taken v steps. Each trainer sends its share of the weights to each generator, which receives
 * the next version while it samples from the one at hand: no rank holds more than one other copy.
 */
#ifndef ROLE_WEIGHTS_IMPL_H
#define ROLE_WEIGHTS_IMPL_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/role/roles.h"

typedef struct {
    const ald_roles_t *roles;
    int64_t first, last; /* the versions that are sampled from; none: last < first */
    ald_vec_t moving;    /* MPI_Request: of sends, or of the receives of the version to come */
    /* Of generators that don't train. */
    ald_params_t params;
    float *values, *coming; /* [params.total] owned; the same array where nothing is sampled while
                               a version comes */
    int64_t version, next;  /* of `values`, -1: none yet; of `coming` */
} ald_weights_t;

/* RESOURCE without memory. `first` and `last` are still to be set. Local; reset it also then. */
ald_status_t ald_weights_init(const ald_roles_t *roles, ald_weights_t *out);
/* Takes back what is still awaited, and waits for what is sent. */
void ald_weights_reset(ald_weights_t *weights); /* takes a zeroed one */
/* Trainers: sends the engine's weights, which are this version, if some generator is to have it. */
void ald_weights_send(ald_weights_t *weights, int64_t version);
/* Trainers: waits until the weights may change. */
void ald_weights_sent(ald_weights_t *weights);
/* Generators: whether this version is at hand; makes it so when it has come. The versions are asked
 * for one after the other. */
bool ald_weights_have(ald_weights_t *weights, int64_t version);
/* The policy that generators sample from, with the trainers' weights on those that train. */
ald_model_t ald_weights_model(const ald_weights_t *weights);

#endif
