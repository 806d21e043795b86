/* Frozen models. They are mapped from their files, so that all ranks and jobs of a node share one
 * copy of the weights; or the ranks of a memory domain share one in it (ald/par/domain.h). */
#include "ald/role/frozen.h"

#include <stdbool.h>
#include <string.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/model/digest.h"
#include "ald/model/mapped.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/vocabulary.h"
#include "ald/par/comm.h"
#include "ald/par/domain.h"
#include "ald/par/fault.h"

/* `check`: reads the weights through, which one rank does for all. */
static ald_status_t frozen_read(const char *directory, const char *key, bool check,
                                ald_frozen_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_CHECK(directory[0] != '\0', ALD_STATUS_USAGE, "%s: not set; expected a model directory",
              key);
    ALD_TRY(ald_fail_point("model_read"));
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, &out->params));
    ALD_TRY(ald_mapped_open(directory, &out->params, &out->mapped));
    if (check)
        ALD_TRY(ald_mapped_check(out->mapped, &out->params));
    out->model = ald_mapped_model(out->mapped, &out->params);
done:
    return status;
}

ald_status_t ald_frozen_load(const ald_comm_t *comm, const char *directory, const char *key,
                             ald_frozen_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_map_t *const *maps = NULL;
    *out = (ald_frozen_t){0};
    ALD_TRY(ald_comm_agree(comm, frozen_read(directory, key, comm->rank == 0, out)));
    const int64_t files = ald_mapped_files(out->mapped, &maps);
    ALD_TRY(ald_domain_copy(comm, maps, files, directory));
    ald_log_verbose("%s: %s, %lld parameters, %lld bytes mapped, %lld held", key, directory,
                    (long long)out->params.total, (long long)ald_mapped_file_bytes(out->mapped),
                    (long long)ald_mapped_held_bytes(out->mapped));
done:
    return status;
}

ald_status_t ald_frozen_compare(const char *a, const ald_frozen_t *one, const char *b,
                                const ald_frozen_t *two, int64_t *common)
{
    ald_status_t status = ALD_STATUS_OK;
    char ours[ALD_SHA256_HEX], theirs[ALD_SHA256_HEX];
    ALD_TRY(ald_hf_sha256_tokenizer(a, ours));
    ALD_TRY(ald_hf_sha256_tokenizer(b, theirs));
    ALD_CHECK(strcmp(ours, theirs) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of %s; expected the same tokenizer", b, a);
    ALD_TRY(ald_vocabulary_common(a, one->params.config.vocab_size, b,
                                  two->params.config.vocab_size, common));
done:
    return status;
}

ald_status_t ald_frozen_digest(const ald_comm_t *comm, const char *directory, ald_frozen_t *frozen)
{
    ald_status_t status = ALD_STATUS_OK;
    if (comm->rank == 0)
        status = ald_hf_sha256(directory, frozen->sha256);
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Bcast(frozen->sha256, sizeof frozen->sha256, MPI_CHAR, 0, comm->mpi);
done:
    return status;
}

ald_status_t ald_frozen_digest_head(const ald_comm_t *comm, ald_frozen_t *frozen)
{
    if (comm->rank == 0)
        strcpy(frozen->head.dtype,
               ald_mapped_head_sha256(frozen->mapped, &frozen->params, frozen->head.sha256));
    MPI_Bcast(&frozen->head, sizeof frozen->head, MPI_CHAR, 0, comm->mpi);
    return ALD_STATUS_OK;
}

void ald_frozen_reset(ald_frozen_t *frozen)
{
    ald_mapped_close(frozen->mapped);
    ald_params_reset(&frozen->params);
    *frozen = (ald_frozen_t){0};
}
