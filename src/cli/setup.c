/* What a command starts from, the same on all ranks: configuration, sweep, part, threads.
 * Nodes may see different files, so what ranks read is compared before any of them acts on it. */
#include "cli/setup_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/config/sweep.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "ald/num/threads.h"
#include "ald/par/comm.h"
#include "ald/par/domain.h"
#include "ald/par/fault.h"
#include "ald/par/signals.h"
#include "ald/par/stop.h"
#include "ald/pipeline/stage_eval.h"
#include "cli/array_impl.h"
#include "cli/options_impl.h"
#include "cli/parse_impl.h"

ald_status_t ald_setup_part(const char *text, const ald_config_t *config, const ald_comm_t *world,
                            int64_t *part, int64_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    long long i, n;
    int end = 0;
    if (text == NULL)
        return ald_array_part(config->output, world, part, parts);
    ALD_CHECK(sscanf(text, "%lld/%lld%n", &i, &n, &end) == 2 && text[end] == '\0' && i >= 0 &&
                  i < n,
              ALD_STATUS_USAGE, "--part %s: expected I/N with 0 <= I < N", text);
    *part = i;
    *parts = n;
done:
    return status;
}

/* Reads "5,10,20" into `out` (double); the standard value alone when there is no list. */
static ald_status_t parse_numbers(const char *name, const char *list, double standard, double most,
                                  ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *end = NULL;
    if (list == NULL)
        return ald_vec_push(out, &standard);
    for (const char *at = list; at != NULL; at = *end == ',' ? end + 1 : NULL) {
        const double value = strtod(at, &end);
        ALD_CHECK(end != at && (*end == ',' || *end == '\0') && value >= 0.0 && value <= most,
                  ALD_STATUS_USAGE, "%s \"%s\": expected numbers from 0 to %g with commas between",
                  name, list, most);
        ALD_TRY(ald_vec_push(out, &value));
    }
done:
    return status;
}

ald_status_t ald_setup_points(const ald_options_t *options, const ald_config_t *config,
                              ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t strengths, plausibilities;
    ald_vec_init(&strengths, sizeof(double));
    ald_vec_init(&plausibilities, sizeof(double));
    if (options->strengths == NULL && options->plausibilities == NULL)
        return status;
    ALD_TRY(parse_numbers("--strengths", options->strengths, config->teacher.strength, 1e6,
                          &strengths));
    ALD_TRY(parse_numbers("--plausibilities", options->plausibilities, config->teacher.plausibility,
                          1.0, &plausibilities));
    for (size_t i = 0; i < strengths.count; ++i)
        for (size_t j = 0; j < plausibilities.count; ++j) {
            const ald_eval_point_t point = {ALD_VEC_AT(&strengths, double, i),
                                            ALD_VEC_AT(&plausibilities, double, j)};
            ALD_TRY(ald_vec_push(out, &point));
        }
done:
    ald_vec_reset(&strengths);
    ald_vec_reset(&plausibilities);
    return status;
}

ald_status_t ald_setup_roles(ald_options_t *options, ald_comm_t *world)
{
    static char settings[3][32]; /* they last as long as argv */
    static const char *const keys[] = {"trainers", "scorers", "generators"};
    ald_status_t status = ALD_STATUS_OK;
    int count[4] = {0};
    count[options->role] = 1;
    MPI_Allreduce(MPI_IN_PLACE, count, 4, MPI_INT, MPI_SUM, world->mpi);
    if (count[ALD_ROLE_ANY] == world->size)
        return status;
    ALD_CHECK(count[0] > 0 && count[1] > 0 && count[2] > 0 && count[ALD_ROLE_ANY] == 0,
              ALD_STATUS_USAGE,
              "--role: of %d ranks %d are trainers, %d scorers, %d generators, %d have none; "
              "expected a role for each rank, and a rank for each role",
              world->size, count[0], count[1], count[2], count[ALD_ROLE_ANY]);
    ald_comm_sort(world, (int)options->role);
    for (int i = 0; i < 3; ++i) {
        const char *setting = settings[i];
        snprintf(settings[i], sizeof settings[i], "roles.%s=%d", keys[i], count[i]);
        ALD_TRY(ald_vec_push(&options->settings, &setting));
    }
done:
    return status;
}

/* Loads what this rank reads; *text becomes the configuration as it is printed. Local. */
static ald_status_t load(const ald_options_t *options, ald_setup_t *out, char **text)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const force = "checkpoint.resume=false";
    ald_vec_t all, limit, ledger;
    ald_vec_init(&all, sizeof(const char *));
    ald_vec_init(&limit, 1);
    ald_vec_init(&ledger, 1);
    ALD_TRY(ald_vec_append(&all, options->settings.data, options->settings.count));
    if (options->force)
        ALD_TRY(ald_vec_push(&all, &force));
    if (options->deadline != NULL) {
        ALD_TRY(ald_vec_printf(&limit, "runtime.time_limit=%s", options->deadline));
        ALD_TRY(ald_vec_push(&all, &limit.data));
    }
    if (options->ledger != NULL) { /* relative to the folder that the command is given in */
        char here[PATH_MAX];
        const bool bare = options->ledger[0] != '/' && getcwd(here, sizeof here) != NULL;
        ALD_TRY(ald_vec_printf(&ledger, "runtime.ledger=%s%s%s", bare ? here : "", bare ? "/" : "",
                               options->ledger));
        ALD_TRY(ald_vec_push(&all, &ledger.data));
    }
    const char *const *settings = all.data;
    const int count = (int)all.count;
    ALD_TRY(ald_config_load(options->config, settings, count, &out->config));
    ALD_TRY(ald_config_print(&out->config, text));
    if (options->sweep != NULL)
        ALD_TRY(ald_sweep_load(options->sweep, options->config, settings, count, &out->sweep));
done:
    ald_vec_reset(&all);
    ald_vec_reset(&limit);
    ald_vec_reset(&ledger);
    return status;
}

/* Finds this rank's memory domain. As of the end of the run, nothing that a stage makes depends on
 * where frozen models are, and what it writes down of its configuration has the default. Collective
 * over the world. */
static void set_domains(ald_setup_t *setup, const ald_comm_t *world)
{
    ald_config_t *config = &setup->config;
    ald_domain_setup(world, config->debug.domains,
                     config->runtime.frozen_copies == ALD_FROZEN_DOMAIN);
    config->debug.domains[0] = '\0';
    config->runtime.frozen_copies = ALD_FROZEN_NODE;
    for (int64_t i = 0; i < setup->sweep.count; ++i)
        setup->sweep.runs[i].config.runtime.frozen_copies = ALD_FROZEN_NODE;
}

/* Sets the end of this run. What a stage makes doesn't depend on it, so what it writes down of its
 * configuration has none. */
static void set_limit(ald_setup_t *setup)
{
    ald_stop_limit(setup->config.runtime.time_limit);
    setup->config.runtime.time_limit = 0.0;
    for (int64_t i = 0; i < setup->sweep.count; ++i)
        setup->sweep.runs[i].config.runtime.time_limit = 0.0;
}

/* USAGE unless all ranks have read the same sweep. Collective. */
static ald_status_t compare_sweep(const ald_sweep_t *sweep, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_vec_t all;
    ald_vec_init(&all, 1);
    for (int64_t i = 0; i < sweep->count && status == ALD_STATUS_OK; ++i) {
        status = ald_config_print(&sweep->runs[i].config, &text);
        if (status == ALD_STATUS_OK)
            status = ald_vec_printf(&all, "%s\n%s\n", sweep->runs[i].name, text);
        ald_free(text);
        text = NULL;
    }
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(ald_comm_compare(world, all.data, all.count, "the sweep"));
done:
    ald_vec_reset(&all);
    return status;
}

/* The first number of OMP_NUM_THREADS, which may list one for each level; 0 where there is none. */
static int64_t threads_of_environment(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    char number[20];
    int64_t threads;
    snprintf(number, sizeof number, "%.*s", text == NULL ? 0 : (int)strcspn(text, ", "), text);
    return ald_parse_integer(number, 1, INT_MAX, &threads) ? threads : 0;
}

ald_status_t ald_setup_threads(int64_t asked, const ald_comm_t *world, int *given)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    const int cores = ald_comm_cores(world);
    int64_t threads = asked > 0 ? asked : threads_of_environment();
    threads = threads > 0 ? threads : cores;
    if (threads > cores && (policy == NULL || strcasecmp(policy, "passive") != 0))
        ald_log_warn("%lld threads on rank 0's %d cores: set OMP_WAIT_POLICY=passive, or waiting "
                     "threads take the cores of working ones",
                     (long long)threads, cores);
    return ald_comm_agree(world, ald_threads_set((int)threads, given));
}

/* Warns where ranks compute by unlike kernels, or with unlike numbers of threads, which may give
 * other bits: a result then depends on which rank computes what. Collective. */
static void warn_of_unlike_ranks(const ald_comm_t *world, int threads)
{
    char first[160] = "", other[160] = "";
    struct {
        int same, rank;
    } mine = {1, world->rank}, found;
    snprintf(other, sizeof other, "%s, %s, %d threads", ald_isa_name(ald_isa), ald_gemm_describe(),
             threads);
    memcpy(first, other, sizeof first);
    MPI_Bcast(first, sizeof first, MPI_CHAR, 0, world->mpi);
    mine.same = strcmp(first, other) == 0;
    MPI_Allreduce(&mine, &found, 1, MPI_2INT, MPI_MINLOC, world->mpi);
    MPI_Bcast(other, sizeof other, MPI_CHAR, found.rank, world->mpi);
    if (!found.same)
        ald_log_warn(
            "rank 0 computes with %s, rank %d with %s: the bits of results depend on which "
            "rank computes what; set ALIGNDISTIL_ISA, OPENBLAS_CORETYPE and "
            "runtime.threads to what all nodes have",
            first, found.rank, other);
}

ald_status_t ald_setup_load(const ald_options_t *options, const ald_comm_t *world, ald_setup_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    int threads = 0;
    *out = (ald_setup_t){0};
    ALD_TRY(ald_comm_agree(world, load(options, out, &text)));
    ALD_TRY(ald_comm_compare(world, text, strlen(text), "the configuration"));
    ALD_TRY(compare_sweep(&out->sweep, world));
    ald_fail_setup(out->config.debug.fail, world->rank);
    ald_gemm_choose(out->config.runtime.precision, out->config.debug.product);
    ALD_TRY(ald_comm_agree(world, ald_comm_deadline_start(world, out->config.runtime.deadline)));
    ALD_TRY(ald_setup_threads(out->config.runtime.threads, world, &threads));
    warn_of_unlike_ranks(world, threads);
    ald_log_info("aligndistil %s %s: %d ranks, %d threads each", ALD_VERSION, options->command,
                 world->size, threads);
    ald_log_verbose("%s", text);
    set_limit(out);
    set_domains(out, world);
    ALD_TRY(ald_comm_agree(world, ald_fail_point("start")));
    ALD_TRY(ald_signals_check(world, options->command));
done:
    ald_free(text);
    return status;
}

void ald_setup_reset(ald_setup_t *setup)
{
    ald_sweep_reset(&setup->sweep);
    ald_config_reset(&setup->config);
}
