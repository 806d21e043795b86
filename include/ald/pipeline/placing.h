/* Which ranks do what, where the configuration leaves it open: from a calibration. Layer: pipeline.
 */
#ifndef ALD_PIPELINE_PLACING_H
#define ALD_PIPELINE_PLACING_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* Sets roles.* of an on-policy or mixed run that has none, on several ranks, to the split with which
 * a step takes least (ald_plan_split): all ranks measure what the model's work takes, at the same
 * time, since they share their nodes' memory. Every role on every rank stays where no split is a
 * tenth faster, and with roles.calibrate = "auto" where the whole run is assumed to take less than
 * some minutes. Results don't depend on it. RESOURCE without memory. Collective over the world. */
ald_status_t ald_place_roles(ald_config_t *config, const ald_comm_t *world);

#endif
