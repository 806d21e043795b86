/* Storage. Weights, moments and shards are counted by those who write them; the rest, a thousandth
 * of it in any run that is worth planning, by what such files have been seen to take. */
#include "ald/plan/storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/model/hf_save.h"
#include "ald/record/arrays.h"
#include "ald/shard/format.h"
#include "ald/shard/weigh.h"

enum {
    CONFIG = 700,  /* config.json */
    BLOCK = 65536, /* parameters, of which whole ones belong to a trainer */
    JOINED = 6144, /* a file of virtual datasets */
    DONE = 1500,
    STATE = 4300,  /* done.json, state.json of a checkpoint */
    LINE = 30,     /* a number in metrics.jsonl and the event file */
    SERIES = 2400, /* a series of metrics.h5, and what a step adds to it */
    SERIES_STEP = 22,
    REFERENCE = 8800,   /* reference.h5 without its numbers */
    REPORT = 14600,     /* eval.json, eval.html, done.json */
    ANSWER = 215,       /* what answers.jsonl has of an answer besides texts and ids */
    CARRIED = 11 << 20, /* tokenizer and other files of a directory that isn't there */
    CARRIED_FILES = 4,
};
#define TRIAL 6.4e7 /* bytes of a shard up to which one is written to see */

/* A model directory of this type. */
static ald_status_t add_model(const ald_config_t *config, const ald_plan_model_t *model,
                              ald_dtype_t dtype, ald_storage_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t bytes = CONFIG, files = 1;
    ALD_TRY(ald_hf_weigh(model->directory, &model->params, dtype,
                         ald_config_bytes(config->runtime.max_shard_size), &bytes, &files));
    if (model->directory == NULL) {
        bytes += CARRIED;
        files += CARRIED_FILES;
    }
    out->bytes += (double)bytes;
    out->files += (double)files;
done:
    return status;
}

/* The moments: a file, or one of each trainer that has some, and one that joins them. Trainers have
 * about as many each (ald/train/optimizer.h). */
static void add_moments(int64_t total, int trainers, ald_storage_t *out)
{
    const int64_t blocks = (total + BLOCK - 1) / BLOCK,
                  files = trainers < blocks ? trainers : blocks;
    out->files += (double)(files + (files > 1));
    out->bytes += (double)(files * ald_arrays_bytes(2, (total + files - 1) / files)) +
                  (files > 1 ? JOINED : 0.0);
}

ald_status_t ald_storage_training(const ald_config_t *config, const ald_plan_model_t *model,
                                  int64_t steps, int trainers, int64_t metrics, ald_storage_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t every = config->checkpoint.every_steps, keep = config->checkpoint.keep_last;
    const int64_t made = every > 0 && steps > 0 ? (steps - 1) / every : 0;
    const int64_t kept = keep > 0 && keep < made ? keep : made;
    ald_storage_t one = {.bytes = STATE, .files = 1};
    *out = (ald_storage_t){.bytes = DONE, .files = 4};
    ALD_TRY(add_model(config, model, ald_hf_dtype(config->runtime.dtype), out));
    ALD_TRY(add_model(config, model, ALD_DTYPE_F32, &one));
    add_moments(model->params.total, trainers, &one);
    out->bytes += (double)metrics * ((double)steps * (LINE + SERIES_STEP) + SERIES);
    out->bytes += (double)kept * one.bytes;
    out->files += (double)kept * one.files;
    out->most =
        out->bytes + (made > kept ? one.bytes : 0.0); /* the next one, before the oldest goes */
done:
    return status;
}

void ald_storage_reference(int64_t pairs, ald_storage_t *storage)
{
    storage->bytes += REFERENCE + 16.0 * (double)pairs;
    storage->most += REFERENCE + 16.0 * (double)pairs;
    storage->files += 1;
}

/* The bytes of one shard: of a small one that is written, where that can be done. */
static double shard_bytes(const ald_shard_header_t *header, const ald_shard_content_t *content)
{
    const char *parent = getenv("TMPDIR");
    const double estimate = ald_shard_bytes(header, content);
    char folder[4096];
    double bytes = estimate;
    snprintf(folder, sizeof folder, "%s/aligndistil-plan-XXXXXX",
             parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    if (estimate > TRIAL || mkdtemp(folder) == NULL)
        return estimate;
    char *path = ald_path_join(folder, "shard.h5");
    if (path == NULL || ald_shard_trial(path, header, content, &bytes) != ALD_STATUS_OK)
        bytes = estimate;
    ald_free(path);
    ald_dir_discard(folder);
    return bytes;
}

void ald_storage_shards(const ald_shard_header_t *header, const ald_shard_content_t *content,
                        int64_t times, ald_storage_t *storage)
{
    if (times == 0 || content->sequences == 0)
        return;
    storage->bytes += (double)times * shard_bytes(header, content);
    storage->files += (double)times;
    storage->most = storage->most > storage->bytes ? storage->most : storage->bytes;
}

void ald_storage_eval(int64_t answers, double tokens, double text, int64_t vocab_size,
                      ald_storage_t *out)
{
    const double id = log10((double)vocab_size) + 2.0; /* its digits, a comma, a space */
    *out = (ald_storage_t){.bytes = REPORT + (double)answers * (ANSWER + tokens * id + text),
                           .files = 4};
    out->most = out->bytes;
}
