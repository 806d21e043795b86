/* On-policy and mixed distillation: the training loop (ald/train/loop.h) over a feed whose steps
 * the roles make. Layer: role. */
#ifndef ALD_ROLE_LOOP_H
#define ALD_ROLE_LOOP_H

#include "ald/base/status.h"
#include "ald/role/roles.h"

/* Trains on what the policy samples, step by step; ranks do what their roles are ready for, in
 * batches up to distill.max_staleness steps ahead of the trainers. `say` tells what memory it will
 * take, once all is begun. Collective over the world. */
ald_status_t ald_roles_run(ald_roles_t *roles, ald_status_t (*say)(const ald_roles_t *roles));

#endif
