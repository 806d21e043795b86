/* Responses to many prompts. Each rank samples every size-th request, and what it samples depends
 * on the request alone, so the answers are the same on any number of ranks. */
#include "pipeline/sampling_impl.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/dataset.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/role/generator.h"

/* Samples this rank's requests: every size-th of all. */
static ald_status_t sample_share(const ald_generator_t *generator, const ald_dataset_t *data,
                                 int64_t rows, int64_t samples, int64_t round,
                                 const ald_comm_t *comm, ald_vec_t *records)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_arena_init(&arena);
    int64_t total = rows * samples, mine = 0;
    ald_request_t *requests = ald_calloc((size_t)(total / comm->size + 1), sizeof *requests);
    ALD_CHECK(requests != NULL, ALD_STATUS_RESOURCE, "out of memory: requests");
    for (int64_t i = comm->rank; i < total; i += comm->size)
        requests[mine++] = (ald_request_t){i / samples, i % samples, round};
    ALD_TRY(ald_generator_run(generator, &data->pairs, requests, mine, &arena, records));
done:
    ald_free(requests);
    ald_arena_reset(&arena);
    return status;
}

/* Gathers all ranks' records on root (or everywhere), in the order of the ranks; those of rank r
 * begin at starts[r], starts [size + 1]. */
static ald_status_t gather_records(const ald_comm_t *comm, bool everywhere, const ald_vec_t *mine,
                                   ald_vec_t *all, int64_t *starts)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_spread_t spread = {comm, starts, MPI_BYTE};
    ald_collect_starts(comm, (int64_t)mine->count, starts);
    if (comm->rank == 0 || everywhere)
        status = ald_vec_append(all, NULL, (size_t)starts[comm->size]);
    ALD_TRY(ald_comm_agree(comm, status));
    ald_collect_gather(&spread, mine->data, all->data);
    if (everywhere)
        ald_comm_broadcast(comm, all->data, all->count, 0);
done:
    return status;
}

/* Makes the list of responses, in one block with the records that it points into. */
static ald_status_t list_responses(const ald_vec_t *all, const int64_t *starts, int ranks,
                                   int64_t total, ald_response_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t bytes = sizeof **out * (size_t)(total + 1);
    *out = ald_alloc(bytes + all->count);
    ALD_CHECK_MEMORY(*out, bytes + all->count);
    ald_vec_t copy = {.data = (char *)*out + bytes, .count = all->count, .item = 1};
    if (all->count > 0)
        memcpy(copy.data, all->data, all->count);
    for (int r = 0; r < ranks; ++r)
        for (size_t at = (size_t)starts[r]; at < (size_t)starts[r + 1];) {
            ald_sampled_t record;
            ald_response_t response;
            ALD_TRY(ald_sampled_next(&copy, &at, &record, &response.ids, &response.logprobs));
            response.count = record.count;
            (*out)[record.request * ranks + r] = response;
        }
done:
    return status;
}

ald_status_t ald_sample_all(const ald_generator_t *generator, const ald_dataset_t *data,
                            int64_t rows, int64_t samples, int64_t round, const ald_comm_t *comm,
                            bool everywhere, ald_response_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t mine, all;
    int64_t starts[comm->size + 1];
    ald_vec_init(&mine, 1);
    ald_vec_init(&all, 1);
    *out = NULL;
    ALD_TRY(ald_comm_agree(comm, sample_share(generator, data, rows, samples, round, comm, &mine)));
    ALD_TRY(gather_records(comm, everywhere, &mine, &all, starts));
    if (comm->rank == 0 || everywhere)
        status = list_responses(&all, starts, comm->size, rows * samples, out);
    ALD_TRY(ald_comm_agree(comm, status));
done:
    ald_vec_reset(&mine);
    ald_vec_reset(&all);
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
