/* Responses to many prompts. Each rank samples every size-th request, and what it samples depends
 * on the request alone, so the answers are the same on any number of ranks, and after any stop:
 * every two seconds the ranks look at each other, and root keeps what has been sampled. */
#include "pipeline/sampling_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/dataset.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/stop.h"
#include "ald/record/measured.h"
#include "ald/role/generator.h"

enum { ROUND = 2 }; /* seconds between looks at what the ranks have, and whether to stop */

/* All responses while they are sampled. */
typedef struct {
    const ald_comm_t *comm;
    const ald_partial_t *partial;
    char name[32];         /* of their records in `partial` */
    ald_vec_t all;         /* root: records by their place among all; bytes */
    ald_request_t *wanted; /* [mine] this rank's */
    int64_t *place, mine;  /* [mine] of these among all */
    bool agreed, left;     /* all ranks have the status; some rank has work left */
    double looked;         /* when the ranks looked last */
    /* Responses: of all ranks, there at the beginning, there now (root only). This rank's seconds:
     * when it began, when it looked up last from a token, the longest of these. */
    int64_t total, before, there;
    double begun, paused, longest;
} share_t;

/* The number of records from byte `at` on. */
static ald_status_t count_records(const ald_vec_t *all, size_t at, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = 0;
    while (at < all->count) {
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(all, &at, &record, &ids, &logprobs));
        *out += 1;
    }
done:
    return status;
}

/* What is left, which root knows. */
static ald_stop_work_t work_left(const share_t *share)
{
    return (ald_stop_work_t){.stage = share->partial->made.stage,
                             .unit = "response",
                             .at = share->there,
                             .total = share->total,
                             .left = share->total - share->there,
                             .done = share->there - share->before,
                             .seconds = ald_time() - share->begun};
}

/* Puts records, which are of this rank's requests, by their place among all. */
static ald_status_t renumber(const share_t *share, ald_vec_t *records)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t at = 0; at < records->count;) {
        char *head = (char *)records->data + at;
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(records, &at, &record, &ids, &logprobs));
        record.request = share->place[record.request];
        memcpy(head, &record, sizeof record);
    }
done:
    return status;
}

/* Takes the records of all ranks over on root, and keeps them. */
static ald_status_t gather(share_t *share, const ald_vec_t *mine)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t starts[share->comm->size + 1];
    const ald_spread_t spread = {share->comm, starts, MPI_BYTE};
    const bool root = share->comm->rank == 0;
    const size_t before = share->all.count;
    ald_collect_starts(share->comm, (int64_t)mine->count, starts);
    const size_t bytes = (size_t)starts[share->comm->size];
    if (root)
        status = ald_vec_append(&share->all, NULL, bytes);
    ALD_TRY(ald_comm_agree(share->comm, status));
    char *there = root ? (char *)share->all.data + before : NULL;
    ald_collect_gather(&spread, mine->data, there);
    int64_t count = 0;
    if (root)
        status = count_records(&share->all, before, &count);
    share->there += count;
    if (root && status == ALD_STATUS_OK)
        status = ald_partial_add(share->partial, share->name, there, bytes);
    const ald_stop_work_t work = work_left(share);
    ALD_TRY(ald_partial_agree(share->partial, status, &work));
done:
    return status;
}

/* What the ranks do together: a failure of one, or a signal to one, ends all of them. */
static ald_status_t look(share_t *share, ald_vec_t *records, bool busy, ald_status_t status)
{
    int left = busy;
    if (status == ALD_STATUS_OK)
        status = renumber(share, records);
    status = ald_comm_agree(share->comm, status);
    if (status == ALD_STATUS_OK)
        status = gather(share, records);
    records->count = 0;
    share->agreed = status != ALD_STATUS_OK;
    ALD_TRY(status);
    MPI_Allreduce(MPI_IN_PLACE, &left, 1, MPI_INT, MPI_MAX, share->comm->mpi);
    share->left = left != 0;
    share->looked = ald_time();
done:
    return status;
}

/* A run that has a response to keep may be out of time. */
static ald_status_t between_tokens(void *context, ald_vec_t *records)
{
    share_t *share = context;
    ald_status_t status = ald_fail_point("token");
    const double begun = ald_time(), took = begun - share->paused;
    share->longest = took > share->longest ? took : share->longest;
    if (records->count > 0)
        ald_stop_stepped(share->longest);
    const bool due = ald_stop_due(1, 1) != ALD_STOP_NO || begun - share->looked > ROUND;
    if (due && status == ALD_STATUS_OK)
        status = look(share, records, true, status);
    share->paused = ald_time();
    if (due)
        ald_stop_kept(share->paused - begun);
    return status;
}

/* Samples this rank's requests, and stays until all ranks have theirs. */
static ald_status_t sample_share(const ald_generator_t *generator, const ald_pairs_t *pairs,
                                 share_t *share)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_generator_t paused = *generator;
    ald_arena_t arena;
    ald_vec_t records;
    ald_arena_init(&arena);
    ald_vec_init(&records, 1);
    paused.pause = between_tokens;
    paused.context = share;
    ald_stop_begin(share->partial->made.stage);
    share->begun = share->paused = share->looked = ald_time();
    status = ald_generator_run(&paused, pairs, share->wanted, share->mine, &arena, &records);
    do {
        if (!share->agreed)
            status = look(share, &records, false, status);
    } while (status == ALD_STATUS_OK && share->left);
    ald_vec_reset(&records);
    ald_arena_reset(&arena);
    return status;
}

/* Takes over on root what an earlier run has sampled: there[i] says whether response i is. */
static ald_status_t take_over(share_t *share, int64_t total, bool *there)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_partial_find(share->partial, share->name, &share->all));
    for (size_t at = 0; at < share->all.count;) {
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(&share->all, &at, &record, &ids, &logprobs));
        ALD_CHECK(record.request >= 0 && record.request < total && !there[record.request],
                  ALD_STATUS_INPUT, "%s: response %lld: expected each of %lld at most once",
                  share->partial->path, (long long)record.request, (long long)total);
        there[record.request] = true;
        share->before += 1;
    }
done:
    return status;
}

/* Shares out what isn't there yet: every size-th is this rank's. Collective. */
static ald_status_t share_init(share_t *share, int64_t total, int64_t samples, int64_t round)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = share->comm;
    const size_t most = (size_t)(total / comm->size + 1);
    bool *there = ald_calloc((size_t)total + 1, sizeof *there);
    share->wanted = ald_calloc(most, sizeof *share->wanted);
    share->place = ald_calloc(most, sizeof *share->place);
    if (there == NULL || share->wanted == NULL || share->place == NULL)
        status =
            ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %lld requests", (long long)total);
    ALD_TRY(ald_comm_agree(comm, status));
    ALD_TRY(ald_comm_agree(comm, comm->rank == 0 ? take_over(share, total, there) : status));
    share->total = total;
    share->there = share->before;
    ald_comm_broadcast(comm, there, (size_t)total, 0);
    for (int64_t i = 0, turn = 0; i < total; ++i) {
        if (there[i] || turn++ % comm->size != comm->rank)
            continue;
        share->place[share->mine] = i;
        share->wanted[share->mine++] = (ald_request_t){i / samples, i % samples, round};
    }
done:
    ald_free(there);
    return status;
}

/* Gives all ranks the records. */
static ald_status_t spread_records(share_t *share)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t bytes = (int64_t)share->all.count;
    MPI_Bcast(&bytes, 1, MPI_INT64_T, 0, share->comm->mpi);
    if (share->comm->rank != 0)
        status = ald_vec_append(&share->all, NULL, (size_t)bytes);
    ALD_TRY(ald_comm_agree(share->comm, status));
    ald_comm_broadcast(share->comm, share->all.data, (size_t)bytes, 0);
done:
    return status;
}

/* Makes the list of responses, in one block with the records that it points into. */
static ald_status_t list_responses(const ald_vec_t *all, int64_t total, ald_response_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = sizeof **out * (size_t)(total + 1);
    *out = ald_alloc(bytes + all->count);
    ALD_CHECK_MEMORY(*out, bytes + all->count);
    ald_vec_t copy = {.data = (char *)*out + bytes, .count = all->count, .item = 1};
    if (all->count > 0)
        memcpy(copy.data, all->data, all->count);
    for (size_t at = 0; at < all->count;) {
        ald_sampled_t record;
        ald_response_t response;
        ALD_TRY(ald_sampled_next(&copy, &at, &record, &response.ids, &response.logprobs));
        response.count = record.count;
        (*out)[record.request] = response;
    }
done:
    return status;
}

ald_status_t ald_sample_all(const ald_generator_t *generator, const ald_dataset_t *data,
                            int64_t rows, int64_t samples, int64_t round,
                            const ald_partial_t *partial, bool everywhere, ald_response_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = partial->comm;
    share_t share = {.comm = comm, .partial = partial};
    ald_vec_init(&share.all, 1);
    snprintf(share.name, sizeof share.name, "turn%lld", (long long)round + 1);
    *out = NULL;
    ALD_TRY(share_init(&share, rows * samples, samples, round));
    ALD_TRY(sample_share(generator, &data->pairs, &share));
    if (everywhere)
        ALD_TRY(spread_records(&share));
    if (comm->rank == 0 || everywhere)
        status = list_responses(&share.all, rows * samples, out);
    ALD_TRY(ald_comm_agree(comm, status));
done:
    if (comm->rank == 0)
        ald_measured_note(&(ald_work_done_t){.sequences = share.there - share.before});
    ald_free(share.wanted);
    ald_free(share.place);
    ald_vec_reset(&share.all);
    return status;
}

int64_t ald_longest_prompt(const ald_dataset_t *data, int64_t rows)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < rows; ++i)
        longest =
            data->pairs.rows[i].prompt.count > longest ? data->pairs.rows[i].prompt.count : longest;
    return longest;
}

ald_json_t *ald_json_of_ids(const int32_t *ids, int64_t count)
{
    ald_json_t *array = ald_json_new_array();
    for (int64_t i = 0; i < count; ++i)
        ald_json_push(array, ald_json_new_integer(ids[i]));
    return array;
}
