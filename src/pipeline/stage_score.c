#include "ald/stages.h"

#include <string.h>

#include "ald/file.h"
#include "ald/log.h"
#include "ald/shardset.h"
#include "pipeline/data.h"
#include "pipeline/scoring.h"

static ald_scored_t scored_of(const ald_pair_t *pair, const ald_text_t *response,
                              ald_source_t source)
{
    return (ald_scored_t){.id = pair->id,
                          .source = source,
                          .prompt = pair->prompt.text,
                          .response = response->text,
                          .prompt_ids = pair->prompt.ids,
                          .prompt_count = pair->prompt.count,
                          .response_ids = response->ids,
                          .response_count = response->count,
                          .logprob_policy = source == ALD_SOURCE_POLICY ? pair->logprobs : NULL};
}

ald_status_t ald_scoring_list(const ald_config_t *config, const ald_dataset_t *data,
                              ald_scored_t **out, int64_t *count, int64_t *per_row)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *responses = config->data.responses;
    bool sampled = data->pairs.rows[0].response.count > 0;
    bool chosen = !sampled && strcmp(responses, "rejected") != 0;
    bool rejected = !sampled && strcmp(responses, "chosen") != 0;
    *per_row = sampled ? 1 : chosen + rejected;
    *count = 0;
    *out = ald_calloc((size_t)(data->pairs.count * *per_row), sizeof **out);
    ALD_CHECK(*out != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld rows",
              (long long)data->pairs.count);
    for (int64_t i = 0; i < data->pairs.count; ++i) {
        const ald_pair_t *pair = &data->pairs.rows[i];
        if (sampled)
            (*out)[(*count)++] = scored_of(pair, &pair->response, ALD_SOURCE_POLICY);
        if (chosen)
            (*out)[(*count)++] = scored_of(pair, &pair->chosen, ALD_SOURCE_CHOSEN);
        if (rejected)
            (*out)[(*count)++] = scored_of(pair, &pair->rejected, ALD_SOURCE_REJECTED);
    }
done:
    return status;
}

/* Reads all of it, which holds every checksum to the data. */
static ald_status_t read_whole(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_arena_init(&arena);
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_scored_t sequence;
        ald_arena_mark_t mark = ald_arena_mark(&arena);
        ALD_TRY(ald_shard_read(shard, i, true, &arena, &sequence));
        ald_arena_release(&arena, mark);
    }
done:
    ald_arena_reset(&arena);
    return status;
}

/* Whether the shard is there, whole, and holds these sequences; a damaged or missing one is to be
 * made, one of other teachers or for another program is an error. */
static ald_status_t shard_is_good(const char *path, const ald_shard_header_t *wanted,
                                  const ald_scored_t *sequences, int64_t count, bool *good)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    *good = false;
    if (!ald_path_exists(path))
        return status;
    bool foreign = ald_shard_is_foreign(path);
    status = ald_shard_open(path, &shard);
    if (status == ALD_STATUS_INPUT && !foreign) {
        ald_log_warn("%s; it is made anew", ald_status_message());
        return ALD_STATUS_OK;
    }
    ALD_TRY(status);
    ALD_TRY(ald_shard_fits(path, ald_shard_header(shard), wanted));
    *good =
        ald_shard_count(shard) == count && ald_shard_header(shard)->encoding == wanted->encoding;
    for (int64_t i = 0; i < count && *good; ++i) {
        ald_scored_t peek;
        ALD_TRY(ald_shard_peek(shard, i, &peek));
        *good = peek.id == sequences[i].id && peek.source == sequences[i].source &&
                peek.response_count == sequences[i].response_count;
    }
    status = *good ? read_whole(shard) : ALD_STATUS_OK;
    if (status == ALD_STATUS_INPUT) {
        ald_log_warn("%s; it is made anew", ald_status_message());
        status = ALD_STATUS_OK;
        *good = false;
    }
done:
    ald_shard_close(shard);
    return status;
}

/* This rank's shards. */
static ald_status_t run_share(ald_scorer_t *scorer, const ald_comm_t *comm, ald_scored_t *list,
                              int64_t count, int64_t per_shard, int64_t part, int64_t parts,
                              int64_t made[2])
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = NULL;
    int64_t shards = (count + per_shard - 1) / per_shard;
    ald_progress_t progress;
    ald_progress_begin(&progress, "score", (shards + parts - 1) / parts);
    for (int64_t k = part + parts * comm->rank; k < shards; k += parts * comm->size) {
        int64_t first = k * per_shard;
        int64_t here = count - first < per_shard ? count - first : per_shard;
        bool good;
        ALD_CHECK(!ald_signals_seen(), ALD_STATUS_STOPPED,
                  "score: stopped by a signal; run the same command again for the shards that are "
                  "missing");
        ald_free(path);
        path = ald_shard_path(scorer->config->shards.directory, k);
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(shard_is_good(path, &scorer->header, list + first, here, &good));
        if (!good)
            ALD_TRY(ald_scorer_write(scorer, path, list + first, here));
        made[good] += 1;
        ald_progress_update(&progress, made[0] + made[1], NULL);
    }
done:
    ald_progress_end(&progress);
    ald_free(path);
    return status;
}

ald_status_t ald_scoring_run(ald_scorer_t *scorer, const ald_comm_t *comm,
                             const ald_dataset_t *data, int64_t part, int64_t parts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scored_t *list = NULL;
    int64_t count = 0, per_row = 1, made[2] = {0, 0};
    double begun = ald_time();
    strcpy(scorer->header.sha256_data, data->pairs.sha256);
    strcpy(scorer->header.chat_format, data->chat.name);
    scorer->header.policy_step = -1;
    if (comm->rank == 0)
        status = ald_dir_make(scorer->config->shards.directory);
    ALD_TRY(ald_comm_agree(comm, status));
    status = ald_scoring_list(scorer->config, data, &list, &count, &per_row);
    if (status == ALD_STATUS_OK) {
        int64_t per_shard = scorer->config->shards.sequences_per_shard / per_row * per_row;
        status = run_share(scorer, comm, list, count, per_shard > 0 ? per_shard : per_row, part,
                           parts, made);
    }
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Allreduce(MPI_IN_PLACE, made, 2, MPI_INT64_T, MPI_SUM, comm->mpi);
    ald_log_info("score: %lld shards made, %lld there already, in %s, %.1f s", (long long)made[0],
                 (long long)made[1], scorer->config->shards.directory, ald_time() - begun);
done:
    ald_free(list);
    return status;
}

ald_status_t ald_stage_score(const ald_config_t *config, const ald_comm_t *world, int64_t part,
                             int64_t parts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scorer_t scorer = {0};
    ald_dataset_t data = {0};
    ALD_TRY(ald_scorer_init(config, world, &scorer));
    ALD_TRY(ald_data_open(world, config, config->teacher.dpo, scorer.header.vocab_size,
                          config->data.train, "data.train", ALD_PAIRS_SCORED, &data));
    ALD_TRY(ald_scoring_run(&scorer, world, &data, part, parts));
done:
    ald_dataset_reset(&data);
    ald_scorer_reset(&scorer);
    return status;
}
