/* The scorer: turns (prompt, response) into per-token teacher distributions. Layer: role. */
#ifndef ALD_ROLE_SCORER_H
#define ALD_ROLE_SCORER_H

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/role/frozen.h"
#include "ald/shard/format.h"

/* Both models of the teacher, and the settings of a shard. */
typedef struct {
    const ald_config_t *config;
    ald_frozen_t dpo;
    ald_frozen_t contrasts[ALD_CONTRAST_COUNT]; /* by ald_contrast_t: that of teacher.contrast,
                                                    and with shards.with_reference the reference */
    ald_shard_header_t header; /* what every shard of this run says; sha256_data, policy_step,
                                  created are the caller's */
    char *config_text;         /* header.config */
    ald_arena_t arena;
} ald_scorer_t;
/* Loads the models and checks that they share the tokenizer. header.vocab_size is the number of
 * tokens that all have (ald/model/vocabulary.h), over which everything is scored.
 * Collective over `comm`. */
ald_status_t ald_scorer_init(const ald_config_t *config, const ald_comm_t *comm, ald_scorer_t *out);
void ald_scorer_reset(ald_scorer_t *scorer);

#endif
