/* Frozen models: both models of a teacher, the reference, a model that is sampled from. Layer:
 * role. */
#ifndef ALD_ROLE_FROZEN_H
#define ALD_ROLE_FROZEN_H

#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/par/comm.h"
#include "ald/shard/format.h"

/* A frozen model, used as it lies in its mapped files, which a node's ranks share, or in a copy in
 * each memory domain (ald/par/domain.h). */
typedef struct {
    ald_params_t params;
    ald_mapped_t *mapped;
    ald_model_t model;           /* points to the two above: this struct must stay where it is */
    char sha256[ALD_SHA256_HEX]; /* of its weight files, by ald_frozen_digest */
    ald_head_digest_t head;      /* of its output matrix, by ald_frozen_digest_head */
} ald_frozen_t;
/* Collective over `comm`; the same status on all. `key` names the setting in messages. */
ald_status_t ald_frozen_load(const ald_comm_t *comm, const char *directory, const char *key,
                             ald_frozen_t *out);
/* *common becomes the tokens that both have (ald/model/vocabulary.h). INPUT naming both unless they
 * have the same tokenizer. Local. */
ald_status_t ald_frozen_compare(const char *a, const ald_frozen_t *one, const char *b,
                                const ald_frozen_t *two, int64_t *common);
/* Fills sha256; root reads all of the weights unless their digest is remembered. Collective. */
ald_status_t ald_frozen_digest(const ald_comm_t *comm, const char *directory, ald_frozen_t *frozen);
/* Fills head; root reads the output matrix. Collective. */
ald_status_t ald_frozen_digest_head(const ald_comm_t *comm, ald_frozen_t *frozen);
void ald_frozen_reset(ald_frozen_t *frozen); /* takes a zeroed one */

#endif
