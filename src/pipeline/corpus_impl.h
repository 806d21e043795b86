/* Private to pipeline: the shards that off-policy training draws from, of one folder or of several
 * sources. All functions are local. */
#ifndef ALD_PIPELINE_CORPUS_IMPL_H
#define ALD_PIPELINE_CORPUS_IMPL_H

#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/record/metrics.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/set.h"

typedef struct {
    const char *const *folders; /* [set.folders] of the configuration */
    const double *weights;      /* [set.folders]; NULL: one folder */
    ald_shardset_t set;
    int64_t unlisted; /* number of folders without a manifest */
} ald_corpus_t;

/* Opens shards.sources, or shards.directory where there are none. INPUT when a folder is not what
 * its manifest says, is empty, or doesn't fit. The configuration must outlive it. */
ald_status_t ald_corpus_open(const ald_config_t *config, const ald_shard_header_t *expected,
                             ald_corpus_t *out);
/* Digests what the shards are of, by their headers: models, data, encoding and counts, and the
 * weights of sources. */
void ald_corpus_sha256(const ald_corpus_t *corpus, char hex[ALD_SHA256_HEX]);
void ald_corpus_reset(ald_corpus_t *corpus); /* takes a zeroed one */
/* Logs what was opened, and warns of folders that nothing says are complete. */
void ald_corpus_report(const ald_corpus_t *corpus);
/* The order of a run with this configuration's seed and batch size. */
ald_status_t ald_corpus_mix(const ald_corpus_t *corpus, const ald_config_t *config, ald_mix_t *out);
/* Metrics of a step that was drawn: the waits (none), and with sources each one's share of the
 * tokens. */
void ald_corpus_metrics(const ald_corpus_t *corpus, const int64_t *items, int64_t count,
                        ald_metrics_t *metrics);
/* What done.json has of the sources: a folder, or an array of {directory, weight}. */
ald_json_t *ald_corpus_names(const ald_config_t *config);

#endif
