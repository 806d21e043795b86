/* Private to pipeline: what the two ways to distil share. */
#ifndef ALD_PIPELINE_DISTILL_IMPL_H
#define ALD_PIPELINE_DISTILL_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/role/roles.h"
#include "pipeline/corpus_impl.h"

/* Claims distill.output, and with `shards` the folder of the shards. Collective. */
ald_status_t ald_distill_claim(const ald_comm_t *world, const ald_config_t *config, bool shards);
/* Makes a run's recipe (ald_recipe) on root: off-policy of what is in the corpus, on-policy (corpus
 * NULL) of the teachers; the caller adds its data. Collective over the trainers. */
ald_status_t ald_distill_recipe(const ald_comm_t *trainers, const ald_config_t *config,
                                const ald_corpus_t *corpus, ald_json_t **out);
/* What a run is made from, for its done.json. */
ald_json_t *ald_distill_inputs(const ald_config_t *config);

/* Says with --verbose what memory training on the corpus, from the engine's step on, will take.
 * Local. */
ald_status_t ald_distill_memory(const ald_roles_t *roles, const ald_corpus_t *corpus);
/* The same for all of a rank's roles in an on-policy run, each of whose samples may become as long
 * as the configuration allows. Collective over the world. */
ald_status_t ald_distill_memory_on_policy(const ald_roles_t *roles);
/* Trains on shards that are there, or that it makes of the data file first. Collective over the
 * world. */
ald_status_t ald_distill_off_policy(ald_roles_t *roles);

#endif
