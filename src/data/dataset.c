/* A data file with the tokenizer and the chat format of a model. Every stage opens its data in
 * this way, so that the same rows are left out, and are told in the same words. */
#include "ald/data/dataset.h"

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/layout.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/model_config.h"
#include "ald/record/metrics.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"

static ald_status_t find_stops(const char *model, ald_dataset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(model, &shape));
    if (out->chat.end_token >= 0)
        out->stop[out->stops++] = out->chat.end_token;
    for (int i = 0; i < shape.eos_count; ++i)
        out->stop[out->stops++] = shape.eos[i];
done:
    return status;
}

ald_status_t ald_dataset_open(const ald_config_t *config, const char *model, int64_t vocab_size,
                              const char *path, const char *key, ald_pairs_need_t need, int part,
                              int parts, ald_dataset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_dataset_t){0};
    ALD_TRY(ald_tokenizer_open(model, &out->tokenizer));
    ALD_CHECK(ald_tokenizer_size(out->tokenizer) <= vocab_size, ALD_STATUS_INPUT,
              "%s/tokenizer.json: %lld ids, but config.json says vocab_size %lld", model,
              (long long)ald_tokenizer_size(out->tokenizer), (long long)vocab_size);
    status = ald_chat_open(config->data.chat_format, out->tokenizer, &out->chat);
    if (status != ALD_STATUS_OK)
        ALD_TRY(ald_status_prefix(status, "%s", model));
    ALD_TRY(find_stops(model, out));
    ALD_CHECK(path != NULL && path[0] != '\0', ALD_STATUS_USAGE,
              "%s: not set; expected a JSONL file", key);
    const ald_pairs_options_t options = {.need = need,
                                         .tokenizer = out->tokenizer,
                                         .chat = &out->chat,
                                         .max_prompt = config->data.max_prompt_tokens,
                                         .max_response = config->data.max_response_tokens,
                                         .layout = config->data.layout,
                                         .max_rows = config->data.max_rows,
                                         .shuffle = config->data.shuffle,
                                         .seed = (uint64_t)config->seed,
                                         .part = part,
                                         .parts = parts};
    ALD_TRY(ald_pairs_load(path, &options, &out->pairs));
done:
    return status;
}

void ald_dataset_log(const ald_dataset_t *dataset, const char *path)
{
    const ald_pairs_counts_t *counts = &dataset->pairs.counts;
    ald_pairs_log(&dataset->pairs, path);
    if (ald_tokenizer_eos(dataset->tokenizer) < 0)
        ald_log_warn("%s: the tokenizer has no end token (eos_token in tokenizer_config.json or "
                     "special_tokens_map.json, eos_token_id in generation_config.json or "
                     "config.json)%s",
                     ald_tokenizer_directory(dataset->tokenizer),
                     dataset->chat.end_token < 0 ? ": answers have none" : "");
    ald_log_info("layout %s, chat format %s; cut: %lld prompts, %lld responses; %lld rows whose "
                 "responses are the same, %lld whose scores are, %lld whose prompts and answers "
                 "share a token",
                 ald_layout_name(dataset->pairs.layout), dataset->chat.name,
                 (long long)counts->prompts_cut, (long long)counts->responses_cut,
                 (long long)counts->identical, (long long)counts->ties,
                 (long long)counts->boundaries);
}

void ald_dataset_reset(ald_dataset_t *dataset)
{
    ald_pairs_reset(&dataset->pairs);
    ald_chat_close(&dataset->chat);
    ald_tokenizer_destroy(dataset->tokenizer);
    *dataset = (ald_dataset_t){0};
}

void ald_dataset_metrics(const ald_dataset_t *dataset, ald_metrics_t *metrics)
{
    const ald_pairs_counts_t *counts = &dataset->pairs.counts;
    ald_metrics_set(metrics, "data/rows", (double)dataset->pairs.count);
    ald_metrics_set(metrics, "data/prompts_cut", (double)counts->prompts_cut);
    ald_metrics_set(metrics, "data/responses_cut", (double)counts->responses_cut);
    ald_metrics_set(metrics, "data/identical", (double)counts->identical);
    ald_metrics_set(metrics, "data/boundaries", (double)counts->boundaries);
    ald_metrics_set(metrics, "data/skipped", (double)(counts->read - dataset->pairs.count));
    ald_metrics_set(metrics, "data/ties", (double)counts->ties);
}

bool ald_dataset_stops(const ald_dataset_t *dataset, int32_t id)
{
    for (int i = 0; i < dataset->stops; ++i)
        if (dataset->stop[i] == id)
            return true;
    return false;
}

ald_item_t ald_item_of(const ald_pair_t *pair, const ald_text_t *first, const ald_text_t *second)
{
    ald_item_t item = {.prompt = pair->prompt.ids,
                       .prompt_count = pair->prompt.count,
                       .responses = second == NULL ? 1 : 2,
                       .response = {first->ids, NULL},
                       .response_count = {first->count, 0}};
    if (second != NULL) {
        item.response[1] = second->ids;
        item.response_count[1] = second->count;
    }
    return item;
}
