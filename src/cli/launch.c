/* A launcher that speaks another protocol than this program's MPI starts N programs of one rank
 * each, which would all do the whole work on one output. */
#include "cli/launch_impl.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"
#include "cli/parse_impl.h"

/* The variables that tell the ranks of a command, those of the innermost launcher first: mpirun of
 * Open MPI, Hydra's mpiexec and PMI servers, srun. SLURM_NTASKS isn't one: a batch script has it.
 */
static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};

static struct {
    const char *variable;
    int64_t ranks;
} said = {"", 1};

/* Variables of which every protocol between a launcher and MPI sets one. */
static const char *const protocols[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_FD"};

/* To a process that nothing has launched Open MPI gives a daemon, for launching more, and a folder
 * shared with all other such processes, which the first to end removes under the others. It needs
 * neither, and starts in a third of the time without. */
static void start_alone(void)
{
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
}

ald_status_t ald_launch_note(void)
{
    ald_status_t status = ALD_STATUS_OK;
    bool speaks = false;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; ++i)
        speaks = speaks || getenv(protocols[i]) != NULL;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; ++i) {
        const char *text = getenv(variables[i]);
        if (text == NULL || !ald_parse_integer(text, 1, INT_MAX, &said.ranks))
            continue;
        said.variable = variables[i];
        break;
    }
    ALD_CHECK(speaks || said.ranks == 1, ALD_STATUS_USAGE,
              "srun has started %lld ranks, but without a protocol that MPI knows: try srun "
              "--mpi=pmix (srun --mpi=list shows what there is), or mpirun",
              (long long)said.ranks);
    if (!speaks)
        start_alone();
done:
    return status;
}

ald_status_t ald_launch_check(const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(world->size > 1 || said.ranks <= 1, ALD_STATUS_USAGE,
              "the launcher has started %lld ranks (%s), but each is alone: it doesn't speak to "
              "this program's MPI; try srun --mpi=pmix (srun --mpi=list shows what there is), or "
              "mpirun",
              (long long)said.ranks, said.variable);
done:
    return status;
}
