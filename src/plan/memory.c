/* What a role takes in memory. A plan adds up what the code of the role will ask for, term by term
 * and in words, so that a reader sees what is large, and a test which term is wrong. */
#include "ald/plan/memory.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/config/choices.h"
#include "ald/model/backward.h"
#include "ald/model/head.h"
#include "ald/model/model_config.h"
#include "ald/num/dtype.h"
#include "ald/plan/micro.h"
#include "ald/role/generator.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/write.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"

#define MEBIBYTE 1048576.0
/* OpenBLAS packs matrices into so much a thread, at most: measured. A panel of one factor, and of
 * the other one as many columns as there are. */
#define PRODUCT_BYTES  (6.0 * MEBIBYTE)
#define PRODUCT_PANEL  (4.0 * 384.0 * 768.0)
#define PRODUCT_COLUMN (4.0 * 384.0)
#define PRODUCT_LEAST  (4.0 * MEBIBYTE) /* of the thread that calls it */

static double resident_bytes(void)
{
    long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0.0;
    if (fscanf(file, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

void ald_memory_begin(const char *stage, ald_memory_plan_t *out)
{
    *out = (ald_memory_plan_t){.stage = stage,
                               .threads = omp_get_max_threads(),
                               .now = resident_bytes(),
                               .peak = (double)ald_memory_peak_rss()};
}

void ald_memory_add(ald_memory_plan_t *plan, double bytes, const char *format, ...)
{
    const size_t used = strlen(plan->text);
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    plan->to_come += bytes;
    snprintf(plan->text + used, sizeof plan->text - used, ", %.1f %s", bytes / MEBIBYTE, name);
}

void ald_memory_say(const ald_memory_plan_t *plan)
{
    double most = plan->now + plan->to_come;
    ald_log_verbose("%s: memory at most %.1f MiB on rank 0: %.1f now%s", plan->stage,
                    (most > plan->peak ? most : plan->peak) / MEBIBYTE, plan->now / MEBIBYTE,
                    plan->text);
}

static double logits_bytes(const ald_model_config_t *shape, int64_t R, int64_t rows)
{
    const int64_t most = ald_head_chunk(shape->vocab_size), chunk = most < R ? most : R;
    return (double)sizeof(float) * (double)chunk *
           (double)(rows * shape->vocab_size + shape->hidden_size);
}

void ald_memory_add_products(ald_memory_plan_t *plan, const ald_model_config_t *shape)
{
    const double columns =
        (double)(shape->vocab_size > shape->intermediate_size ? shape->vocab_size
                                                              : shape->intermediate_size);
    const double each = fmin(PRODUCT_BYTES, PRODUCT_PANEL + PRODUCT_COLUMN * columns);
    ald_memory_add(plan, fmax(each, PRODUCT_LEAST) + each * (plan->threads - 1), "packed matrices");
}

void ald_memory_add_mapped(ald_memory_plan_t *plan, int64_t bytes, const char *key)
{
    plan->mapped += (double)bytes;
    ald_memory_add(plan, (double)bytes, "mapped from %s", key);
}

void ald_memory_add_forward(ald_memory_plan_t *plan, const ald_model_config_t *shape, int models,
                            const ald_micro_most_t *most)
{
    const double hidden = (double)sizeof(float) * (double)(most->T * shape->hidden_size);
    ald_memory_add(plan, (double)ald_model_bytes(shape, most->T, false).alone + models * hidden,
                   "forward passes of %lld tokens", (long long)most->T);
    ald_memory_add(plan, models * logits_bytes(shape, most->R, 1), "logits of %lld positions",
                   (long long)most->R);
}

/* --- trainer ---------------------------------------------------------------------------------- */

double ald_memory_trained(int64_t parameters, int ranks)
{
    /* A weight is a float, a sum of gradients has 64 bits; a rank has its share of two moments. */
    return (double)parameters * (4.0 + 8.0 + 8.0 / (double)ranks);
}

/* What root takes for a checkpoint, which training goes on beside: copies of the files of weights
 * that it writes, and of its moments; 0 where there will be none. */
static double checkpoint_bytes(const ald_training_plan_t *training)
{
    const int64_t every = training->config->checkpoint.every_steps;
    const double weights = (double)sizeof(float) * (double)training->parameters;
    const double limit = (double)ald_config_bytes(training->config->runtime.max_shard_size);
    const double files = fmax(1.0, ceil(weights / limit)), trainers = (double)training->trainers;
    if (every <= 0 || training->steps <= every)
        return 0.0;
    return weights * ceil(files / trainers) / files + 2.0 * weights / trainers;
}

void ald_memory_add_training(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                             int64_t wide)
{
    const int64_t T = training->most.T, R = training->most.R;
    const ald_model_config_t *shape = training->shape;
    const ald_model_bytes_t bytes = ald_model_bytes(shape, T, training->config->runtime.recompute);
    const double hidden = 2.0 * (double)sizeof(float) * (double)(T * shape->hidden_size);
    const double logits = logits_bytes(shape, R, 1);
    double work = (double)(bytes.forward > bytes.backward ? bytes.forward : bytes.backward);
    ald_memory_add(plan, hidden + (double)bytes.kept, "activations of %lld tokens", (long long)T);
    ald_memory_add(plan, work > logits ? work : logits, "logits of %lld positions, or passes",
                   (long long)R);
    ald_memory_add(plan, (double)training->gradients, "gradients of a layer and the vocabulary");
    if (wide > 0)
        ald_memory_add(plan, logits_bytes(shape, R, wide), "teacher's rows");
    ald_memory_add_products(plan, shape);
    const double checkpoint = checkpoint_bytes(training);
    if (checkpoint > 0.0)
        ald_memory_add(plan, checkpoint, "checkpoints");
}

void ald_memory_add_beside(ald_memory_plan_t *plan, const ald_beside_plan_t *beside,
                           const ald_micro_most_t *most)
{
    const double hidden = (double)sizeof(float) * (double)(most->T * beside->shape->hidden_size);
    ald_memory_add_mapped(plan, beside->mapped, beside->key);
    ald_memory_add(plan, hidden + logits_bytes(beside->shape, most->R, 1), "its rows");
}

double ald_memory_open_shards(const ald_shard_header_t *header, int64_t shards)
{
    const int64_t awake = shards < ALD_SHARDS_AWAKE ? shards : (int64_t)ALD_SHARDS_AWAKE;
    return (double)(ald_shard_reader_bytes(header) / ALD_SHARDS_AWAKE * awake);
}

double ald_memory_ahead(const ald_shard_header_t *header, int64_t sequences, int64_t longest)
{
    const int64_t one = longest * ald_shard_position_bytes(header);
    const int64_t most = one > ALD_READAHEAD_BYTES ? one : (int64_t)ALD_READAHEAD_BYTES;
    const int64_t count =
        sequences < ALD_READAHEAD_COUNT ? sequences : (int64_t)ALD_READAHEAD_COUNT;
    return (double)(count * one < most ? count * one : most);
}

void ald_memory_add_distilling(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                               const ald_lessons_plan_t *lessons)
{
    const ald_shard_header_t *header = lessons->header;
    const ald_model_config_t *teacher = lessons->teacher;
    const int64_t read = training->most.R * ald_shard_position_bytes(header);
    const bool rows = training->config->distill.signal == ALD_SIGNAL_DISTRIBUTION;
    ald_memory_add_training(plan, training, rows ? ald_encoding_row(header->encoding)->wide : 0);
    ald_memory_add(plan, (double)read, "teacher data");
    ald_memory_add(plan, lessons->ahead, "read ahead");
    ald_memory_add(plan, lessons->open, "of the reader");
    const double matrices = teacher == NULL
                                ? 0.0
                                : 2.0 * (double)(teacher->vocab_size * teacher->hidden_size *
                                                 ald_dtype_size(teacher->dtype));
    plan->mapped += matrices;
    ald_memory_add(plan, matrices, "mapped output matrices");
}

/* --- scorer, generator ------------------------------------------------------------------------ */

void ald_memory_add_scoring(ald_memory_plan_t *plan, const ald_scoring_plan_t *scoring)
{
    const double position = (double)ald_shard_position_bytes(scoring->header);
    const double whole = (double)scoring->positions * position;
    const double queue = (double)ald_shard_writer_bytes(scoring->header);
    int models = 0;
    for (int m = 0; m < ALD_SCORING_MODELS; ++m) {
        if (scoring->mapped[m] == 0)
            continue;
        ald_memory_add_mapped(plan, scoring->mapped[m],
                              m == 0 ? "teacher.dpo" : ald_contrast_key((ald_contrast_t)(m - 1)));
        models += 1;
    }
    ald_memory_add_forward(plan, scoring->shape, models, &scoring->most);
    ald_memory_add(plan, (double)scoring->most.R * position, "encoded positions");
    /* Its queue is full only behind a slow disk: half of it is taken for what will be there. */
    ald_memory_add(plan, 0.5 * (queue < whole ? queue : whole), "of the writer");
}

void ald_memory_add_generator(ald_memory_plan_t *plan, const ald_model_config_t *shape,
                              int64_t prompt, int64_t longest, int64_t count, double then)
{
    const double stays = (double)ald_generator_bytes(shape, prompt, longest, 0);
    const double goes = (double)ald_generator_bytes(shape, prompt, longest, count) - stays;
    ald_memory_add(plan, stays, "prompts and logits of the generator");
    if (goes > then)
        ald_memory_add(plan, goes - then, "more for keys and values of %lld responses",
                       (long long)count);
}
