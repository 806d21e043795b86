/* A data file read with the tokenizer and the chat format of a model. Layer: data. */
#ifndef ALD_DATA_DATASET_H
#define ALD_DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/record/metrics.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"

typedef struct {
    ald_tokenizer_t *tokenizer;
    ald_chat_t chat;
    ald_pairs_t pairs;
    int32_t stop[24]; /* tokens that end a sampled response: the chat's end token, the model's
                         eos_token_id */
    int stops;
} ald_dataset_t;

/* Opens MODEL's tokenizer and chat format, and reads part `part` of `parts` of the rows of `path`
 * (named by the key `key`; "" is USAGE). INPUT also when the tokenizer has ids beyond the model's
 * `vocab_size`. Local. */
ald_status_t ald_dataset_open(const ald_config_t *config, const char *model, int64_t vocab_size,
                              const char *path, const char *key, ald_pairs_need_t need, int part,
                              int parts, ald_dataset_t *out);
/* Logs what was read, cut and left out. */
void ald_dataset_log(const ald_dataset_t *dataset, const char *path);
void ald_dataset_reset(ald_dataset_t *dataset); /* takes a zeroed one */
/* The counts of rows cut and skipped, as metrics. */
void ald_dataset_metrics(const ald_dataset_t *dataset, ald_metrics_t *metrics);

/* Whether the token ends a response. */
bool ald_dataset_stops(const ald_dataset_t *dataset, int32_t id);

/* An item of one response, or of chosen and rejected. */
ald_item_t ald_item_of(const ald_pair_t *pair, const ald_text_t *first, const ald_text_t *second);

#endif
