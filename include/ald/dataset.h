/* A data file seen through a model's tokenizer and chat format. Layer: data. */
#ifndef ALD_DATASET_H
#define ALD_DATASET_H

#include "ald/batch.h"
#include "ald/chat.h"
#include "ald/config.h"
#include "ald/metrics.h"
#include "ald/pairs.h"
#include "ald/tokenizer.h"

typedef struct {
    ald_tokenizer_t *tokenizer;
    ald_chat_t chat;
    ald_pairs_t pairs;
} ald_dataset_t;

/* Opens MODEL's tokenizer and chat format, and reads `path` (NULL or "": no rows). INPUT also when
 * the tokenizer has ids beyond the model's `vocab_size`. Logs what was read and cut. Local. */
ald_status_t ald_dataset_open(const ald_config_t *config, const char *model, int64_t vocab_size,
                              const char *path, const char *key, ald_pairs_need_t need,
                              ald_dataset_t *out);
void ald_dataset_reset(ald_dataset_t *dataset); /* takes a zeroed one */
/* The counts of rows cut and skipped, as metrics. */
void ald_dataset_metrics(const ald_dataset_t *dataset, ald_metrics_t *metrics);

/* Puts the text of a response into `text` (a vec of bytes, overwritten): special tokens written out,
 * the chat's end token left off; `ended` (may be NULL) says whether there was one. */
ald_status_t ald_dataset_decode(const ald_dataset_t *dataset, const int32_t *ids, int64_t count,
                                ald_vec_t *text, bool *ended);

/* An item of one response, or of chosen and rejected. */
ald_item_t ald_item_of(const ald_pair_t *pair, const ald_text_t *first, const ald_text_t *second);

#endif
