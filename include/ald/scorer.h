/* The scorer: turns (prompt, response) into per-token teacher distributions. Layer: role. */
#ifndef ALD_SCORER_H
#define ALD_SCORER_H

#include "ald/arena.h"
#include "ald/comm.h"
#include "ald/config.h"
#include "ald/mapped.h"
#include "ald/shard.h"

/* A frozen model, straight from its mapped files: once per node. */
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
/* Fills sha256; root reads all of the weights unless their digest is remembered. Collective. */
ald_status_t ald_frozen_digest(const ald_comm_t *comm, const char *directory, ald_frozen_t *frozen);
/* Fills head; root reads the output matrix. Collective. */
ald_status_t ald_frozen_digest_head(const ald_comm_t *comm, ald_frozen_t *frozen);
void ald_frozen_reset(ald_frozen_t *frozen); /* takes a zeroed one */

/* Both teachers and the settings of a shard. */
typedef struct {
    const ald_config_t *config;
    ald_frozen_t dpo, contrast; /* contrast: teacher.reverse, or teacher.reference */
    ald_frozen_t reference;     /* shards.with_reference only */
    ald_shard_header_t header;  /* what every shard of this run says; sha256_data, policy_step,
                                   created are the caller's */
    char *config_text;          /* header.config */
    ald_arena_t arena;
} ald_scorer_t;
/* Loads the teachers and checks that they share the tokenizer. header.vocab_size is the number of
 * tokens that both have (ald/vocabulary.h), over which everything is scored.
 * Collective over `comm`. */
ald_status_t ald_scorer_init(const ald_config_t *config, const ald_comm_t *comm, ald_scorer_t *out);
void ald_scorer_reset(ald_scorer_t *scorer);
/* The directory of the second teacher. */
const char *ald_contrast_directory(const ald_config_t *config);

/* Fills the scored parts of `count` sequences (ids, texts and sources are the caller's) and appends
 * them to the writer. Neighbours with the same prompt pointer share its computation. Local. */
ald_status_t ald_scorer_run(ald_scorer_t *scorer, ald_scored_t *sequences, int64_t count,
                            ald_shard_writer_t *writer);
/* Scores them into a new shard under this name, whole or not at all. Local. */
ald_status_t ald_scorer_write(ald_scorer_t *scorer, const char *path, ald_scored_t *sequences,
                              int64_t count);
/* Forward passes of teachers that this process has made. Local. */
int64_t ald_scorer_forwards(void);

#endif
