/* What off-policy distillation will take on a trainer. */
#include "ald/file.h"
#include "ald/memory_plan.h"
#include "pipeline/distill.h"

/* Pages of the teachers' output matrices. */
static double matrix_bytes(const ald_config_t *config, const ald_shard_header_t *h)
{
    ald_model_config_t shape;
    if (!ald_encoding_is_hidden(h->encoding) || config->teacher.dpo[0] == '\0' ||
        ald_model_config_read(config->teacher.dpo, &shape) != ALD_STATUS_OK)
        return 0.0;
    return 2.0 * (double)(shape.vocab_size * shape.hidden_size * ald_dtype_size(shape.dtype));
}

ald_status_t ald_distill_memory(const ald_distill_t *distill, const ald_shardset_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &distill->trainer.engine;
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    const int64_t n = set->count;
    ald_memory_plan_t plan;
    int64_t T, R, *tokens = ald_alloc(2 * sizeof *tokens * (size_t)n);
    ALD_CHECK_MEMORY(tokens, 2 * sizeof *tokens * (size_t)n);
    for (int64_t i = 0; i < n; ++i) {
        tokens[i] = set->entries[i].prompt_count + set->entries[i].response_count - 1;
        tokens[n + i] = set->entries[i].response_count;
    }
    ALD_TRY(ald_memory_largest(engine->config, n, engine->steps, tokens, tokens + n, &T, &R));
    double whole = 0.0;
    const double room = (double)ald_shard_reader_bytes(header);
    for (int64_t i = 0; i < set->shard_count; ++i)
        whole += (double)ald_file_size(set->paths[i]);
    ald_memory_begin("distill", &plan);
    ald_memory_add_training(&plan, engine, T, R, header->encoding == ALD_ENCODING_TOPK ? 0 : 2);
    ald_memory_add(&plan, (double)(R * ald_shard_position_bytes(header)), "teacher data");
    ald_memory_add(&plan, whole < room ? whole : room, "of the reader");
    ald_memory_add(&plan, matrix_bytes(distill->config, header), "mapped output matrices");
    ald_memory_say(&plan);
done:
    ald_free(tokens);
    return status;
}
