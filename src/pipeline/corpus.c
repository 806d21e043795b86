/* The shards of off-policy training. One folder and several sources with weights are opened alike,
 * so that what draws from them doesn't know the difference. */
#include "pipeline/corpus_impl.h"

#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/record/metrics.h"
#include "ald/shard/format.h"
#include "ald/shard/manifest.h"
#include "ald/shard/mix.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"

/* The names of metrics, which must last as long as the program. */
static const char *const SHARE[ALD_SOURCES_MAX] = {
    "source/0",  "source/1",  "source/2",  "source/3", "source/4",  "source/5",
    "source/6",  "source/7",  "source/8",  "source/9", "source/10", "source/11",
    "source/12", "source/13", "source/14", "source/15"};

ald_status_t ald_corpus_open(const ald_config_t *config, const ald_shard_header_t *expected,
                             ald_corpus_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_sources_t *sources = &config->shards.sources;
    int64_t folders = sources->count > 0 ? sources->count : 1;
    *out = (ald_corpus_t){.folders = (const char *const *)&config->shards.directory};
    if (sources->count > 0) {
        out->folders = (const char *const *)sources->directory;
        out->weights = sources->weight;
    }
    for (int64_t f = 0; f < folders; ++f) {
        bool complete = false;
        ALD_TRY(ald_manifest_check(out->folders[f], &complete));
        out->unlisted += !complete;
    }
    ALD_TRY(ald_shardset_open_folders(out->folders, folders, expected, &out->set));
    for (int64_t f = 0; f < folders; ++f)
        ALD_CHECK(out->set.folder_start[f] < out->set.folder_start[f + 1], ALD_STATUS_INPUT,
                  "%s: its shards hold no sequences", out->folders[f]);
done:
    return status;
}

void ald_corpus_sha256(const ald_corpus_t *corpus, char hex[ALD_SHA256_HEX])
{
    const ald_shardset_t *set = &corpus->set;
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    for (int64_t i = 0; i < set->shard_count; ++i) {
        const ald_shard_header_t *h = ald_shard_header(set->shards[i]);
        const int64_t counts[] = {ald_shard_count(set->shards[i]), ald_shard_tokens(set->shards[i]),
                                  (int64_t)h->encoding, h->top_k};
        ald_sha256_update(&sha, h->dpo.sha256, sizeof h->dpo.sha256);
        ald_sha256_update(&sha, h->contrasts[h->contrast].sha256, sizeof h->dpo.sha256);
        ald_sha256_update(&sha, h->sha256_data, sizeof h->sha256_data);
        ald_sha256_update(&sha, counts, sizeof counts);
    }
    ald_sha256_update(&sha, set->folder_start, sizeof(int64_t) * (size_t)(set->folders + 1));
    if (corpus->weights != NULL)
        ald_sha256_update(&sha, corpus->weights, sizeof(double) * (size_t)set->folders);
    ald_sha256_final(&sha, hex);
}

void ald_corpus_reset(ald_corpus_t *corpus)
{
    ald_shardset_reset(&corpus->set);
    *corpus = (ald_corpus_t){0};
}

void ald_corpus_report(const ald_corpus_t *corpus)
{
    const ald_shardset_t *set = &corpus->set;
    for (int64_t f = 0; f < set->folders; ++f)
        ald_log_info("distill: %lld sequences of %s, weight %g",
                     (long long)(set->folder_start[f + 1] - set->folder_start[f]),
                     corpus->folders[f], corpus->weights == NULL ? 1.0 : corpus->weights[f]);
    ald_log_info("distill: %lld sequences in %lld shards, encoding %s", (long long)set->count,
                 (long long)set->shard_count,
                 ald_encoding_name(ald_shard_header(set->shards[0])->encoding));
    if (corpus->unlisted > 0)
        ald_log_warn("%s: no manifest.json in %lld of %lld folders: nothing says that the set is "
                     "complete",
                     corpus->folders[0], (long long)corpus->unlisted, (long long)set->folders);
}

ald_status_t ald_corpus_mix(const ald_corpus_t *corpus, const ald_config_t *config, ald_mix_t *out)
{
    return ald_mix_init(corpus->set.folder_start, corpus->weights, corpus->set.folders,
                        (uint64_t)config->seed, config->optimizer.batch_size, out);
}

void ald_corpus_metrics(const ald_corpus_t *corpus, const int64_t *items, int64_t count,
                        ald_metrics_t *metrics)
{
    double tokens[ALD_SOURCES_MAX] = {0}, total = 0.0;
    /* No role waits for another here; a trainer's wait for the disk is wait/read. */
    ald_metrics_set(metrics, "wait/generate", 0.0);
    ald_metrics_set(metrics, "wait/score", 0.0);
    ald_metrics_set(metrics, "wait/train", 0.0);
    for (int64_t i = 0; i < count; ++i) {
        const ald_entry_t *entry = &corpus->set.entries[items[i]];
        tokens[entry->folder] += (double)ald_entry_tokens(entry);
        total += (double)ald_entry_tokens(entry);
    }
    for (int64_t f = 0; f < corpus->set.folders && corpus->weights != NULL; ++f)
        ald_metrics_set(metrics, SHARE[f], tokens[f] / total);
}

ald_json_t *ald_corpus_names(const ald_config_t *config)
{
    const ald_sources_t *sources = &config->shards.sources;
    if (sources->count == 0)
        return ald_json_new_string(config->shards.directory);
    ald_json_t *list = ald_json_new_array();
    for (int64_t i = 0; i < sources->count; ++i) {
        ald_json_t *source = ald_json_new_object();
        ald_json_set(source, "directory", ald_json_new_string(sources->directory[i]));
        ald_json_set(source, "weight", ald_json_new_number(sources->weight[i]));
        ald_json_push(list, source);
    }
    return list;
}
