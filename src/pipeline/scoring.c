/* A data file into shards. Which shards there are depends on data and settings alone, so that any
 * rank or array task can make any of them, and a rerun makes what is missing. */
#include "pipeline/scoring_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/mapped.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/record/measured.h"
#include "ald/role/scorer.h"
#include "ald/role/scorer_run.h"
#include "ald/shard/format.h"
#include "ald/shard/manifest.h"
#include "ald/shard/open.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"

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
    const ald_responses_t responses = config->data.responses;
    bool sampled = data->pairs.rows[0].response.count > 0;
    bool chosen = !sampled && responses != ALD_RESPONSES_REJECTED;
    bool rejected = !sampled && responses != ALD_RESPONSES_CHOSEN;
    *per_row = sampled ? 1 : chosen + rejected;
    *count = 0;
    *out = ald_calloc((size_t)(data->pairs.count * *per_row), sizeof **out);
    ALD_CHECK(*out != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld rows",
              (long long)data->pairs.count);
    for (int64_t i = 0; i < data->pairs.count; ++i) {
        const ald_pair_t *pair = &data->pairs.rows[i];
        ALD_CHECK(
            (pair->response.count > 0) == sampled, ALD_STATUS_INPUT,
            "%s: %s %lld has %s, the first row that is used has %s; expected one kind of rows",
            config->data.train, data->pairs.array ? "item" : "line",
            (long long)pair->line - data->pairs.array,
            sampled ? "chosen and rejected" : "a response",
            sampled ? "a response" : "chosen and rejected");
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

/* This rank's share of a scoring, and what became of it. */
typedef struct {
    ald_scorer_t *scorer;
    ald_manifest_set_t set;
    ald_scored_t *list;
    int64_t count, per_shard, per_row;
    ald_vec_t known, entries; /* ald_manifest_entry_t: what lists say; this rank's shards */
    int64_t kept, made, damaged;
} scoring_t;

/* Its sequences are these. */
static ald_status_t holds(ald_shard_t *shard, const ald_scored_t *sequences, int64_t count,
                          bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = ald_shard_count(shard) == count;
    for (int64_t i = 0; i < count && *out; ++i) {
        ald_scored_t peek;
        ALD_TRY(ald_shard_peek(shard, i, &peek));
        *out = peek.id == sequences[i].id && peek.source == sequences[i].source &&
               peek.response_count == sequences[i].response_count;
    }
done:
    return status;
}

/* A listed shard is whole when its bytes have the sha256 of the newest list; another one when all
 * of it can be read. */
static ald_status_t entry_of(const scoring_t *s, const char *path, int64_t number,
                             ald_manifest_entry_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    for (size_t i = s->known.count; i-- > 0;) {
        const ald_manifest_entry_t *entry = &ALD_VEC_AT(&s->known, ald_manifest_entry_t, i);
        if (entry->number != number)
            continue;
        ALD_TRY(ald_sha256_file(path, hex));
        ALD_CHECK(strcmp(hex, entry->sha256) == 0, ALD_STATUS_INPUT,
                  "%s: its bytes are not those that were listed", path);
        *out = *entry;
        return status;
    }
    return ald_manifest_entry_make(path, out);
done:
    return status;
}

/* Whether the shard is there, whole, and holds these sequences; a damaged or missing one is to be
 * made, one that other models made or that is for another program is an error. */
static ald_status_t look_at(scoring_t *s, const char *path, int64_t number, int64_t first,
                            int64_t count, bool *good, ald_manifest_entry_t *entry)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    const ald_shard_header_t *wanted = &s->scorer->header;
    *good = false;
    if (!ald_path_exists(path))
        return status;
    bool foreign = ald_shard_is_foreign(path);
    status = ald_shard_open(path, &shard);
    if (status == ALD_STATUS_OK) {
        ALD_TRY(ald_shard_fits(path, ald_shard_header(shard), wanted));
        ALD_TRY(holds(shard, s->list + first, count, good));
        if (*good)
            status = entry_of(s, path, number, entry);
    }
    if (status == ALD_STATUS_INPUT && !foreign) {
        ald_log_warn("%s; it is made anew", ald_status_message());
        status = ALD_STATUS_OK;
        *good = false;
        s->damaged += 1;
    }
done:
    ald_shard_close(shard);
    return status;
}

/* How many shards a part has. */
static int64_t parts_shards(const scoring_t *s, int64_t part, int64_t parts)
{
    return (s->set.shards - part + parts - 1) / parts;
}

static ald_status_t run_shard(scoring_t *s, int64_t number)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t first = number * s->per_shard, left = s->count - first;
    int64_t here = left < s->per_shard ? left : s->per_shard;
    ald_manifest_entry_t entry;
    bool good;
    char *path = ald_shard_path(s->set.folder, number);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(look_at(s, path, number, first, here, &good, &entry));
    if (!good) {
        ALD_TRY(ald_scorer_write(s->scorer, path, s->list + first, here));
        ALD_TRY(ald_manifest_entry_make(path, &entry));
    }
    ALD_TRY(ald_vec_push(&s->entries, &entry));
    if (!good)
        ald_measured_note(&(ald_work_done_t){
            .sequences = here, .tokens = entry.tokens, .bytes = entry.bytes, .files = 1});
    s->made += !good;
    s->kept += good;
done:
    ald_free(path);
    return status;
}

/* This rank's shards, or those that it has until it is to stop (*why). */
static ald_status_t run_share(scoring_t *s, const ald_comm_t *comm, int64_t part, int64_t parts,
                              ald_stop_t *why)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t shards = s->set.shards;
    ald_progress_t progress;
    ald_progress_begin(&progress, "score", parts_shards(s, part, parts));
    ald_stop_begin("score");
    for (int64_t k = part + parts * comm->rank; k < shards; k += parts * comm->size) {
        const double begun = ald_time();
        const int64_t made = s->made;
        *why = ald_stop_due(shards - k, 0);
        if (*why != ALD_STOP_NO)
            break;
        ALD_TRY(run_shard(s, k));
        if (s->made > made)
            ald_stop_stepped(ald_time() - begun);
        ald_progress_update(&progress, s->kept + s->made, NULL);
    }
done:
    ald_progress_end(&progress);
    return status;
}

/* STOPPED when that came to any rank. Collective. */
static ald_status_t check_stop(const scoring_t *s, const ald_comm_t *comm, ald_stop_t why,
                               const ald_stop_work_t *work)
{
    ald_stop_work_t all = *work;
    int64_t sums[2] = {s->made, s->kept};
    why = ald_stop_agree(comm, why);
    if (why == ALD_STOP_NO)
        return ALD_STATUS_OK;
    ald_comm_sum(comm, sums, 2);
    all.at = sums[0] + sums[1];
    all.left = all.total - all.at;
    all.done = sums[0];
    return ald_stop_raise(why, &all);
}

/* Shards beyond the set would be read with it. */
static ald_status_t refuse_others(const ald_manifest_set_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ALD_TRY(ald_dir_list(set->folder, &names, &count));
    for (size_t i = 0; i < count; ++i)
        ALD_CHECK(ald_shard_number(names[i]) < set->shards, ALD_STATUS_INPUT,
                  "%s/%s: this data makes %lld shards, numbered from 0; take another "
                  "shards.directory, or remove the shard",
                  set->folder, names[i], (long long)set->shards);
done:
    ald_names_free(names, count);
    return status;
}

static ald_item_t item_of(const void *list, int64_t i)
{
    const ald_scored_t *one = (const ald_scored_t *)list + i;
    return (ald_item_t){.prompt_count = one->prompt_count,
                        .responses = 1,
                        .response_count = {one->response_count, 0}};
}

ald_scoring_plan_t ald_scoring_plan(const ald_scorer_t *scorer)
{
    ald_scoring_plan_t plan = {.header = &scorer->header,
                               .shape = &scorer->dpo.params.config,
                               .mapped = {ald_mapped_file_bytes(scorer->dpo.mapped)}};
    for (int c = 0; c < ALD_CONTRAST_COUNT; ++c)
        if (scorer->contrasts[c].mapped != NULL)
            plan.mapped[1 + c] = ald_mapped_file_bytes(scorer->contrasts[c].mapped);
    ald_micro_most_init(scorer->config->optimizer.micro_batch_tokens, &plan.most);
    return plan;
}

static void score_memory(const scoring_t *s)
{
    ald_memory_plan_t plan;
    ald_scoring_plan_t scoring = ald_scoring_plan(s->scorer);
    ald_micro_most_shards(item_of, s->list, s->count, s->per_shard, s->per_row, &scoring.most,
                          &scoring.positions);
    ald_memory_begin("score", &plan);
    ald_memory_score(&plan, &scoring);
    ald_memory_say(&plan);
}

/* All ranks' entries on root, which leaves them as a list, and the manifest if that completes the
 * set. */
static ald_status_t gather_entries(scoring_t *s, const ald_comm_t *comm, int64_t part,
                                   int64_t parts, int64_t *found)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t size = sizeof(ald_manifest_entry_t);
    int64_t starts[comm->size + 1];
    const ald_spread_t spread = {comm, starts, MPI_BYTE};
    ald_vec_t all;
    ald_vec_init(&all, sizeof(ald_manifest_entry_t));
    ald_collect_starts(comm, (int64_t)(s->entries.count * size), starts);
    if (comm->rank == 0)
        status = ald_vec_append(&all, NULL, (size_t)starts[comm->size] / size);
    ALD_TRY(ald_comm_agree(comm, status));
    ald_collect_gather(&spread, s->entries.data, all.data);
    if (comm->rank == 0)
        status = ald_manifest_write_part(&s->set, part, parts, all.data, (int64_t)all.count);
    if (comm->rank == 0 && status == ALD_STATUS_OK)
        status = ald_manifest_finish(&s->set, all.data, (int64_t)all.count, found);
    ALD_TRY(ald_comm_agree(comm, status));
done:
    ald_vec_reset(&all);
    return status;
}

static ald_status_t prepare(scoring_t *s, const ald_dataset_t *data, bool root)
{
    ald_status_t status = ALD_STATUS_OK;
    if (root) {
        ALD_TRY(ald_lock_look(s->set.folder)); /* tasks of an array share it */
        ALD_TRY(ald_dir_make(s->set.folder));
        ALD_TRY(ald_dir_sweep(s->set.folder));
    }
    ALD_TRY(ald_scoring_list(s->scorer->config, data, &s->list, &s->count, &s->per_row));
    s->per_shard = ald_plan_per_shard(s->scorer->config, s->per_row);
    s->set.shards = (s->count + s->per_shard - 1) / s->per_shard;
    if (root)
        ALD_TRY(refuse_others(&s->set));
done:
    return status;
}

static void report(const scoring_t *s, const ald_comm_t *comm, int64_t part, int64_t parts,
                   int64_t found, double seconds)
{
    int64_t sums[3] = {s->made, s->kept, s->damaged};
    char name[64] = "";
    MPI_Allreduce(MPI_IN_PLACE, sums, 3, MPI_INT64_T, MPI_SUM, comm->mpi);
    if (parts > 1)
        snprintf(name, sizeof name, " part %lld of %lld:", (long long)part, (long long)parts);
    ald_log_info("score:%s %lld shards made, %lld there already, %lld had been damaged, in %s, "
                 "%.1f s; %s: %lld of %lld",
                 name, (long long)sums[0], (long long)sums[1], (long long)sums[2], s->set.folder,
                 seconds, found == s->set.shards ? "complete" : "not complete", (long long)found,
                 (long long)s->set.shards);
}

ald_status_t ald_scoring_run(ald_scorer_t *scorer, const ald_comm_t *comm,
                             const ald_dataset_t *data, int64_t part, int64_t parts)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t found = 0;
    ald_stop_t why = ALD_STOP_NO;
    double begun = ald_time();
    scoring_t s = {.scorer = scorer,
                   .set = {.folder = scorer->config->shards.directory, .header = &scorer->header}};
    ald_vec_init(&s.known, sizeof(ald_manifest_entry_t));
    ald_vec_init(&s.entries, sizeof(ald_manifest_entry_t));
    strcpy(scorer->header.sha256_data, data->pairs.sha256);
    strcpy(scorer->header.chat_format, data->chat.name);
    scorer->header.policy_step = -1;
    ALD_TRY(ald_comm_agree(comm, prepare(&s, data, comm->rank == 0)));
    status = ald_manifest_known(&s.set, &s.known);
    if (status == ALD_STATUS_OK)
        score_memory(&s);
    if (status == ALD_STATUS_OK)
        status = run_share(&s, comm, part, parts, &why);
    ALD_TRY(ald_comm_agree(comm, status));
    const ald_stop_work_t work = {.stage = "score",
                                  .unit = "shard",
                                  .total = parts_shards(&s, part, parts),
                                  .seconds = ald_time() - begun};
    ALD_TRY(check_stop(&s, comm, why, &work));
    ALD_TRY(gather_entries(&s, comm, part, parts, &found));
    report(&s, comm, part, parts, found, ald_time() - begun);
done:
    ald_vec_reset(&s.known);
    ald_vec_reset(&s.entries);
    ald_free(s.list);
    return status;
}
