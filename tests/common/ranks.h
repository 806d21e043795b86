/* For test programs that mpirun starts on several ranks: a check is one of all ranks, so that none
 * waits for one that a failed check took out of the test. */
#ifndef ALD_TESTS_RANKS_H
#define ALD_TESTS_RANKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/par/comm.h"

static ald_comm_t world;

static inline void check_everywhere(bool fine, const char *what, const char *file, int line)
{
    int mine = fine, all;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, world.mpi);
    if (!fine)
        print_error("rank %d of %d: not so: %s\n", world.rank, world.size, what);
    if (!all)
        _fail(file, line);
}

/* The test fails, on all ranks, where the condition doesn't hold on one of them. Collective. */
#define EVERYWHERE(condition) check_everywhere((condition), #condition, __FILE__, __LINE__)

/* Whether the status is that one, and with a failure the message too. Local. */
static inline bool has_status(ald_status_t found, ald_status_t expected, const char *message)
{
    bool fine =
        found == expected && (found == ALD_STATUS_OK || strcmp(ald_status_message(), message) == 0);
    if (!fine)
        print_error("rank %d: status %d, \"%s\"; expected %d, \"%s\"\n", world.rank, found,
                    ald_status_message(), expected, message);
    return fine;
}

static inline int check_memory(void **state)
{
    (void)state;
    if (ald_memory_blocks() != 0)
        print_error("rank %d: %zu blocks are still held\n", world.rank, ald_memory_blocks());
    return ald_memory_blocks() != 0;
}

#define RANKS_TEST(function) cmocka_unit_test_teardown(function, check_memory)

/* What main of such a program does. Rank 0 reports; the others say what failed, and count. */
#define RANKS_RUN(argc, argv, tests)                                                               \
    do {                                                                                           \
        ald_comm_start(&(argc), &(argv), &world);                                                  \
        if (world.rank != 0 && freopen("/dev/null", "w", stdout) == NULL)                          \
            return 1;                                                                              \
        int failed = cmocka_run_group_tests((tests), NULL, NULL);                                  \
        ald_comm_finish(&world, failed);                                                           \
        return failed;                                                                             \
    } while (0)

#endif
