/* What stages leave on the disk: bytes and numbers of files. Local. Layer: plan. */
#ifndef ALD_PLAN_STORAGE_H
#define ALD_PLAN_STORAGE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/plan/rows.h"
#include "ald/plan/shapes.h"
#include "ald/shard/format.h"
#include "ald/shard/weigh.h"

typedef struct {
    double bytes, files;
    double most; /* bytes while the stage runs, at most */
} ald_storage_t;

/* A training stage of so many steps on so many trainers: model directory, checkpoints that stay,
 * records of `metrics` numbers a step. */
ald_status_t ald_storage_training(const ald_config_t *config, const ald_plan_model_t *model,
                                  int64_t steps, int trainers, int64_t metrics, ald_storage_t *out);
/* Adds to it the numbers of dpo's reference for so many pairs. */
void ald_storage_reference(int64_t pairs, ald_storage_t *storage);
/* Adds `times` shards of such content. One of a small shard is written into a temporary folder, to
 * be weighed. */
void ald_storage_shards(const ald_shard_header_t *header, const ald_shard_content_t *content,
                        int64_t times, ald_storage_t *storage);
/* An evaluation's reports with so many answers of so many tokens; `text`: bytes of an answer's text
 * and of those written beside it, its prompt's and the chosen response's. */
void ald_storage_eval(int64_t answers, double tokens, double text, int64_t vocab_size,
                      ald_storage_t *out);

#endif
