/* A data file read by all ranks. Each tokenises a part of the rows, since that takes longest, and
 * what they found is exchanged, so that all ranks have the same rows whatever their number. */
#include "pipeline/data_impl.h"

#include <string.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/data/pairs_pack.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/signals.h"

/* Puts every rank's bytes into *all, in the order of the ranks. `own` is empty afterwards. */
static ald_status_t gather(const ald_comm_t *comm, ald_vec_t *own, ald_vec_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t starts[comm->size + 1];
    ald_collect_starts(comm, (int64_t)own->count, starts);
    ALD_TRY(ald_comm_agree(comm, ald_vec_reserve(all, (size_t)starts[comm->size])));
    char *data = all->data;
    memcpy(data + starts[comm->rank], own->data, own->count);
    all->count = (size_t)starts[comm->size];
    ald_vec_reset(own);
    for (int r = 0; r < comm->size; ++r)
        ald_comm_broadcast(comm, data + starts[r], (size_t)(starts[r + 1] - starts[r]), r);
done:
    return status;
}

static ald_status_t exchange(const ald_comm_t *comm, const char *path, ald_pairs_t *pairs)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t own, all;
    ald_vec_init(&own, 1);
    ald_vec_init(&all, 1);
    ALD_TRY(ald_comm_agree(comm, ald_pairs_pack(pairs, &own)));
    ALD_TRY(gather(comm, &own, &all));
    ALD_TRY(ald_comm_agree(comm, ald_pairs_merge(path, &all, pairs)));
done:
    ald_vec_reset(&own);
    ald_vec_reset(&all);
    return status;
}

ald_status_t ald_data_open(const ald_comm_t *comm, const ald_config_t *config, const char *model,
                           int64_t vocab_size, const char *path, const char *key,
                           ald_pairs_need_t need, ald_dataset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_comm_agree(comm, ald_dataset_open(config, model, vocab_size, path, key, need,
                                                  comm->rank, comm->size, out)));
    if (comm->size > 1)
        ALD_TRY(exchange(comm, path, &out->pairs));
    ald_dataset_log(out, path);
    ALD_TRY(ald_comm_agree(comm, ald_fail_point("data_open")));
    ALD_TRY(ald_signals_check(comm, key));
done:
    return status;
}
