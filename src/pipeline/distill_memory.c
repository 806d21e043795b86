/* What off-policy distillation will take on a trainer. */
#include <string.h>

#include "ald/file.h"
#include "ald/memory_plan.h"
#include "pipeline/distill.h"

/* The largest that the steps to come make. */
typedef struct {
    int64_t T, R;  /* tokens and positions of a micro-batch */
    int64_t ahead; /* bytes that are read ahead of it */
} largest_t;

/* Pages of the teachers' output matrices. */
static double matrix_bytes(const ald_config_t *config, const ald_shard_header_t *h)
{
    ald_model_config_t shape;
    if (!ald_encoding_is_hidden(h->encoding) || config->teacher.dpo[0] == '\0' ||
        ald_model_config_read(config->teacher.dpo, &shape) != ALD_STATUS_OK)
        return 0.0;
    return 2.0 * (double)(shape.vocab_size * shape.hidden_size * ald_dtype_size(shape.dtype));
}

/* Room of the open files, of which a small set has less. */
static double reader_bytes(const ald_shardset_t *set)
{
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    const int64_t awake =
        set->shard_count < ALD_SHARDS_AWAKE ? set->shard_count : (int64_t)ALD_SHARDS_AWAKE;
    const double room = (double)(ald_shard_reader_bytes(header) / ALD_SHARDS_AWAKE * awake);
    double whole = 0.0;
    for (int64_t i = 0; i < set->shard_count; ++i)
        whole += (double)ald_file_size(set->paths[i]);
    return whole < room ? whole : room;
}

/* Raises the largest micro-batch by those of a step. work[3 count + 1]. */
static void look_at_step(const ald_config_t *config, const ald_shardset_t *set,
                         const int64_t *items, int64_t count, int64_t *work, largest_t *largest)
{
    int64_t *tokens = work, *positions = work + count, *start = work + 2 * count;
    for (int64_t i = 0; i < count; ++i) {
        tokens[i] = ald_entry_tokens(&set->entries[items[i]]);
        positions[i] = set->entries[items[i]].response_count;
    }
    const int64_t micros =
        ald_micro_split(tokens, count, config->optimizer.micro_batch_tokens, start);
    ald_micro_largest(tokens, positions, start, micros, &largest->T, &largest->R);
}

/* Goes through the steps to come; of one and the next this rank's sequences may be ahead. */
static ald_status_t look_at_steps(const ald_distill_t *distill, const ald_corpus_t *corpus,
                                  largest_t *largest)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &distill->trainer.engine;
    ald_mix_t mix = {0};
    int64_t *work = NULL, planned = 0, kept = 0;
    *largest = (largest_t){0};
    ALD_TRY(ald_corpus_mix(corpus, distill->config, &mix));
    work = ald_alloc(sizeof *work * (size_t)(5 * mix.batch + 1));
    ALD_CHECK_MEMORY(work, sizeof *work * (size_t)(5 * mix.batch + 1));
    int64_t *mine = work + 3 * mix.batch + 1; /* [2 batch] */
    for (int64_t step = engine->step; step < engine->steps; ++step) {
        int64_t more, bytes;
        const int64_t count = ald_mix_draw(&mix, step);
        look_at_step(distill->config, &corpus->set, mix.items, count, work, largest);
        ALD_TRY(ald_trainer_share(&distill->trainer, &corpus->set, mix.items, count, mine + planned,
                                  &more));
        bytes = ald_readahead_bytes(&corpus->set, mine, planned + more, kept);
        largest->ahead = bytes > largest->ahead ? bytes : largest->ahead;
        kept = ald_readahead_kept(&corpus->set, mine, planned, kept);
        memmove(mine, mine + planned, sizeof *mine * (size_t)more);
        planned = more;
    }
done:
    ald_free(work);
    ald_mix_reset(&mix);
    return status;
}

ald_status_t ald_distill_memory(const ald_distill_t *distill, const ald_corpus_t *corpus)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *header = ald_shard_header(corpus->set.shards[0]);
    ald_memory_plan_t plan;
    largest_t largest;
    ALD_TRY(look_at_steps(distill, corpus, &largest));
    ald_memory_begin("distill", &plan);
    ald_memory_add_training(&plan, &distill->trainer.engine, largest.T, largest.R,
                            ald_encoding_has_k(header->encoding) ? 0 : 2);
    ald_memory_add(&plan, (double)(largest.R * ald_shard_position_bytes(header)), "teacher data");
    ald_memory_add(&plan, (double)largest.ahead, "read ahead");
    ald_memory_add(&plan, reader_bytes(&corpus->set), "of the reader");
    ald_memory_add(&plan, matrix_bytes(distill->config, header), "mapped output matrices");
    ald_memory_say(&plan);
done:
    return status;
}
