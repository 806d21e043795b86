/* The table of commands, and the only place where a status becomes an exit code.
 * Words are parsed here, once for all commands, so that none starts to work on a wrong line. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/num/kernel.h"
#include "ald/num/threads.h"
#include "ald/par/comm.h"
#include "ald/par/signals.h"
#include "ald/par/stop.h"
#include "cli/commands_impl.h"
#include "cli/completion_impl.h"
#include "cli/help_impl.h"
#include "cli/launch_impl.h"
#include "cli/manual_impl.h"
#include "cli/options_impl.h"
#include "cli/parse_impl.h"
#include "cli/setup_impl.h"
#include "cli/time_left_impl.h"

static const ald_command_t *const commands[] = {
    &ald_command_audit,    &ald_command_sft,     &ald_command_dpo,  &ald_command_score,
    &ald_command_generate, &ald_command_distill, &ald_command_eval, &ald_command_inspect,
    &ald_command_tokenize, &ald_command_bench,   &ald_command_plan,
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(void)
{
    printf("aligndistil: %s\n\nusage: %s\n\n", ald_help_title, ald_help_synopsis);
    for (size_t i = 0; i < COMMANDS; ++i)
        printf("  %-9s %s\n", commands[i]->name, commands[i]->summary);
    printf("\n%sexit codes:\n%s", ald_help_running, ald_help_codes);
}

static const ald_command_t *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; ++i)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* Answers what needs no MPI, and returns the exit code; -1: it is something else. */
static int answer_alone(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? ALD_STATUS_USAGE : 0;
    }
    if (strcmp(argv[1], "--help=man") == 0)
        return ald_manual_print(commands, COMMANDS);
    if (strcmp(argv[1], "--help=bash") == 0)
        return ald_completion_print(commands, COMMANDS);
    if (strcmp(argv[1], "--version") == 0) {
        puts("aligndistil " ALD_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--time-left") == 0)
        return ald_time_left_print();
    const ald_command_t *command = find_command(argv[1]);
    for (int i = 2; i < argc && command != NULL; ++i)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            ald_help_print(command);
            return 0;
        }
    return -1;
}

/* Logs wall clock and memory. Memory that some rank didn't give back is a bug, so it warns of it.
 */
static void report_end(const ald_comm_t *world, double begun)
{
    unsigned long long mine[3] = {ald_memory_peak_rss(), ald_memory_blocks(), ald_memory_held()};
    unsigned long long all[3] = {0};
    MPI_Reduce(mine, all, 3, MPI_UNSIGNED_LONG_LONG, MPI_SUM, 0, world->mpi);
    ald_log_info("wall %.1f s, peak memory %.1f MiB on rank 0, %.1f MiB on all %d",
                 ald_time() - begun, (double)mine[0] / 1048576.0, (double)all[0] / 1048576.0,
                 world->size);
    if (all[1] != 0)
        ald_log_warn("memory: %llu blocks of %llu bytes are still held", all[1], all[2]);
}

static ald_status_t parse(const ald_command_t *command, int argc, char **argv, ald_options_t *out)
{
    *out = ald_options_standard;
    if (command == NULL)
        return ald_status_raise(ALD_STATUS_USAGE, "%s: unknown command; see aligndistil --help",
                                argv[1]);
    return ald_parse(command, argc - 1, argv + 1, out);
}

static ald_status_t run(int argc, char **argv, ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_command_t *command = find_command(argv[1]);
    ald_options_t options = ald_options_standard;
    ALD_TRY(ald_comm_agree(world, ald_isa_set(getenv("ALIGNDISTIL_ISA"))));
    ALD_TRY(ald_comm_agree(world, parse(command, argc, argv, &options)));
    if (command->bit & ALD_FOR_STAGES)
        ALD_TRY(ald_comm_agree(world, ald_launch_check(world)));
    ALD_TRY(ald_comm_agree(world, ald_setup_roles(&options, world)));
    ald_log_setup(options.level, world->rank == 0);
    ALD_TRY(command->run(&options, world));
done:
    ald_options_reset(&options);
    return status;
}

/* Lets the signals that stop a stage wait (SIG_BLOCK), or come (SIG_UNBLOCK). By the system's call:
 * no library has started yet. */
__attribute__((no_sanitize("address", "undefined"))) static void hold_signals(int how)
{
    const uint64_t set = (uint64_t)1 << (SIGUSR1 - 1) | (uint64_t)1 << (SIGUSR2 - 1) |
                         (uint64_t)1 << (SIGTERM - 1) | (uint64_t)1 << (SIGINT - 1);
    syscall(SYS_rt_sigprocmask, how, &set, NULL, sizeof set);
}

/* The libraries take a tenth of a second to start, in which a signal would end the process. */
__attribute__((no_sanitize("address", "undefined"))) static void before_libraries(void)
{
    hold_signals(SIG_BLOCK);
}

/* Only a program may have functions that run before its libraries'. */
__attribute__((section(".preinit_array"),
               used)) static void (*const first)(void) = before_libraries;

/* One of the ranks that were started says why none of them begins. */
static int refuse(ald_status_t status)
{
    const char *rank = getenv("SLURM_PROCID");
    if (rank == NULL || strcmp(rank, "0") == 0)
        ald_log_error("%s", ald_status_message());
    return (int)status;
}

int main(int argc, char **argv)
{
    ald_comm_t world;
    const ald_command_t *command = argc > 1 ? find_command(argv[1]) : NULL;
    ald_stop_start();
    if (command != NULL && (command->bit & ALD_FOR_STAGES))
        ald_signals_catch(); /* before MPI starts, as it takes a while */
    hold_signals(SIG_UNBLOCK);
    int answered = answer_alone(argc, argv);
    if (answered >= 0)
        return answered;
    double begun = ald_time();
    ald_memory_setup();
    ald_threads_begin();
    ald_status_t status = ald_launch_note();
    if (status != ALD_STATUS_OK && command != NULL && (command->bit & ALD_FOR_STAGES))
        return refuse(status);
    ald_comm_start(&argc, &argv, &world);
    ald_log_setup(ALD_LOG_NORMAL, world.rank == 0);
    ald_signals_speak(world.rank == 0);
    status = run(argc, argv, &world);
    ald_lock_release();
    if (world.rank == 0 && status != ALD_STATUS_OK)
        ald_log_error("%s", ald_status_message());
    fflush(stdout);
    report_end(&world, begun);
    ald_comm_finish(&world, (int)status);
    return (int)status;
}
