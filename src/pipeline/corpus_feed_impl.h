/* Private to pipeline: the feed of off-policy training, for one run or for those of a sweep. */
#ifndef ALD_PIPELINE_CORPUS_FEED_IMPL_H
#define ALD_PIPELINE_CORPUS_FEED_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/par/comm.h"
#include "ald/role/reader.h"
#include "ald/train/loop.h"
#include "pipeline/corpus_impl.h"

/* The feed. ald_run_t.order of a run is its ald_mix_t. */
typedef struct {
    ald_corpus_t *corpus;
    const ald_dataset_t
        *data; /* the data that this call has made the shards of; NULL or without rows: none */
    ald_reader_t reader;
    bool ahead;      /* there is one run: the next step is read while a step is computed */
    int64_t planned; /* the step that was drawn last, and is being read; -1: none */
    int64_t count;   /* its items, in the mix */
    int64_t *items;  /* of the step at hand, owned */
    int64_t used;    /* sequences that runs have learnt from, each as often as it was */
} ald_corpus_feed_t;

/* `most`: the largest batch_size of the runs. RESOURCE without memory or a thread. Local. */
ald_status_t ald_corpus_feed_init(ald_corpus_t *corpus, const ald_dataset_t *data,
                                  const ald_comm_t *trainers, bool ahead, int64_t most,
                                  ald_corpus_feed_t *out);
void ald_corpus_feed_reset(ald_corpus_feed_t *feed); /* takes a zeroed one */
ald_feed_t ald_corpus_feed(ald_corpus_feed_t *feed);

#endif
