/* Claiming what a stage writes to: it must be no input of the stage, which would be overwritten,
 * and no other run's, since the last writer would win. */
#include "pipeline/claim_impl.h"

#include "ald/base/folder.h"
#include "ald/base/lock.h"
#include "ald/base/status.h"
#include "ald/lineage/run.h"
#include "ald/par/comm.h"

static ald_status_t claim(const char *stage, ald_named_t output, bool file,
                          const ald_named_t *inputs)
{
    ald_status_t status = ALD_STATUS_OK;
    for (; inputs->key != NULL; ++inputs)
        ALD_TRY(ald_path_apart(output.key, output.path, inputs->key, inputs->path));
    ALD_TRY(ald_lock_take(output.path, file, stage));
    ald_run_begin(output.path, file);
done:
    return status;
}

ald_status_t ald_claim(const ald_comm_t *world, const char *stage, ald_named_t output, bool file,
                       const ald_named_t *inputs)
{
    return ald_comm_agree(world,
                          world->rank == 0 ? claim(stage, output, file, inputs) : ALD_STATUS_OK);
}
