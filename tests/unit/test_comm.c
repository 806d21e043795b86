/* Ranks among themselves, on as many as mpirun starts: agreement, subsets, cores, comparison,
 * broadcast, waiting, the flag that signals set, failures on purpose. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/signals.h"
#include "ald/par/stop.h"
#include "ranks.h"

static const ald_status_t codes[] = {ALD_STATUS_INPUT, ALD_STATUS_USAGE, ALD_STATUS_RESOURCE};

static bool in(int mask, int rank)
{
    return (mask >> rank & 1) != 0;
}

static int lowest(int mask)
{
    int rank = 0;
    while (!in(mask, rank))
        ++rank;
    return rank;
}

static const char *words_of(int rank)
{
    static char words[32];
    snprintf(words, sizeof words, "rank %d failed", rank);
    return words;
}

/* Each set of failing ranks, each with a status and a message of its own. */
static void the_lowest_rank_that_failed_speaks_for_all(void **state)
{
    (void)state;
    for (int failing = 0; failing < 1 << world.size; ++failing) {
        ald_status_t status = ALD_STATUS_OK, expected = ALD_STATUS_OK;
        if (in(failing, world.rank))
            status = ald_status_raise(codes[world.rank % 3], "%s", words_of(world.rank));
        int first = failing == 0 ? 0 : lowest(failing);
        if (failing != 0)
            expected = codes[first % 3];
        EVERYWHERE(has_status(ald_comm_agree(&world, status), expected, words_of(first)));
    }
}

static void the_longest_message_reaches_all(void **state)
{
    (void)state;
    char text[1024];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ald_status_t status = ALD_STATUS_OK;
    if (world.rank == world.size - 1)
        status = ald_status_raise(ALD_STATUS_INPUT, "%s", text);
    EVERYWHERE(has_status(ald_comm_agree(&world, status), ALD_STATUS_INPUT, text));
}

/* Its members, in their order, and nobody else: by what a sum over it gives. */
static bool is_subset(const ald_comm_t *subset, int mask)
{
    if (!in(mask, world.rank))
        return subset->rank == -1 && subset->size == 0 && subset->mpi == MPI_COMM_NULL;
    int below = 0, size = 0, mine = 1 << world.rank, all = 0;
    for (int r = 0; r < world.size; ++r) {
        below += r < world.rank && in(mask, r);
        size += in(mask, r);
    }
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_SUM, subset->mpi);
    return subset->rank == below && subset->size == size && all == mask;
}

static void a_subset_has_its_members_in_their_order(void **state)
{
    (void)state;
    for (int mask = 0; mask < 1 << world.size; ++mask) {
        ald_comm_t subset;
        ald_comm_subset(&world, in(mask, world.rank), &subset);
        EVERYWHERE(is_subset(&subset, mask));
        ald_comm_free(&subset);
        EVERYWHERE(subset.mpi == MPI_COMM_NULL && subset.rank == -1 && subset.size == 0);
    }
}

/* All but rank 0 agree on the failure of the last; rank 0 hears nothing of it. */
static void a_subset_agrees_for_itself(void **state)
{
    (void)state;
    ald_comm_t subset;
    ald_status_t status = ALD_STATUS_OK;
    ald_comm_subset(&world, world.rank > 0, &subset);
    if (world.rank > 0 && world.rank == world.size - 1)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "the last failed");
    if (world.rank > 0)
        status = ald_comm_agree(&subset, status);
    EVERYWHERE(has_status(status, world.rank > 0 ? ALD_STATUS_RESOURCE : ALD_STATUS_OK,
                          "the last failed"));
    ald_comm_free(&subset);
}

static void the_ranks_of_this_machine_are_a_node(void **state)
{
    (void)state;
    ald_comm_t node;
    ald_comm_node(&world, &node);
    EVERYWHERE(node.size == world.size && node.rank == world.rank);
    ald_comm_free(&node);
}

/* The first `count` of the cores in `all`. */
static cpu_set_t some_cores(const cpu_set_t *all, int count)
{
    cpu_set_t some;
    CPU_ZERO(&some);
    for (int c = 0; c < CPU_SETSIZE && CPU_COUNT(&some) < count; ++c)
        if (CPU_ISSET(c, all))
            CPU_SET(c, &some);
    return some;
}

/* Unbound ranks share all cores; a core that one rank has alone is its own. */
static void cores_are_divided_among_their_users(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    int count = CPU_COUNT(&all), share = count / world.size;
    int unbound = ald_comm_cores(&world);
    one = some_cores(&all, 1);
    int set = world.rank == 0 ? 0 : sched_setaffinity(0, sizeof one, &one);
    int bound = ald_comm_cores(&world);
    sched_setaffinity(0, sizeof all, &all);
    EVERYWHERE(unbound == (share < 1 ? 1 : share));
    int most = world.size == 1 || count == 1 ? count : count - 1; /* not the shared first one */
    EVERYWHERE(set == 0 && bound == (world.rank == 0 ? most : 1));
}

/* One rank after the other has one byte less, or another byte, of several texts. */
static void what_differs_on_a_rank_is_named(void **state)
{
    (void)state;
    char text[] = "0: the same on all ranks", words[80];
    const size_t size = sizeof text;
    for (; text[0] < '8'; ++text[0]) {
        EVERYWHERE(ald_comm_compare(&world, text, size, "text") == ALD_STATUS_OK);
        for (int rank = 1; rank < world.size; ++rank) {
            bool mine = world.rank == rank;
            snprintf(words, sizeof words, "text differs between rank 0 and rank %d", rank);
            ald_status_t shorter = ald_comm_compare(&world, text, size - mine, "text");
            EVERYWHERE(has_status(shorter, ALD_STATUS_USAGE, words));
            text[4] = mine ? 'H' : 'h';
            ald_status_t other = ald_comm_compare(&world, text, size, "text");
            text[4] = 'h';
            EVERYWHERE(has_status(other, ALD_STATUS_USAGE, words));
        }
    }
}

static void a_broadcast_reaches_all_from_any_root(void **state)
{
    (void)state;
    enum { LARGE = 1 << 20 };
    static unsigned char data[LARGE + 1];
    const size_t sizes[] = {0, 1, LARGE};
    for (int root = 0; root < world.size; ++root)
        for (int s = 0; s < 3; ++s) {
            memset(data, world.rank == root ? 7 + root : 0, sizeof data);
            ald_comm_broadcast(&world, data, sizes[s], root);
            bool fine = true;
            for (size_t i = 0; i < sizes[s]; ++i)
                fine &= data[i] == 7 + root;
            EVERYWHERE(fine && (world.rank == root || data[sizes[s]] == 0));
        }
}

static double seconds_of_a_pause(int looks)
{
    double start = ald_time();
    int after = looks;
    ald_comm_idle(start, &after, "the others", "a test");
    return after == looks + 1 ? ald_time() - start : -1.0;
}

/* A rank that has waited for long sleeps, and leaves its core to others. */
static void pauses_grow_to_a_millisecond(void **state)
{
    (void)state;
    struct timespec before, after;
    EVERYWHERE(seconds_of_a_pause(0) >= 0.0);
    EVERYWHERE(seconds_of_a_pause(100) >= 16e-6);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    double slept = 0.0;
    for (int i = 0; i < 50; ++i)
        slept += seconds_of_a_pause(1000 + i);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double used = difftime(after.tv_sec, before.tv_sec) + (after.tv_nsec - before.tv_nsec) / 1e9;
    EVERYWHERE(slept >= 0.050 && used < slept / 2);
}

/* By its own clock on each rank. Before the test of signals, which hide it. */
static void time_stops_a_run_that_has_had_a_step(void **state)
{
    char text[32];
    const ald_stop_work_t work = {"sft", "step", 3, 9, 6, 3, 10.0};
    const ald_stop_t mine = world.rank == world.size - 1 ? ALD_STOP_LIMIT : ALD_STOP_NO;
    (void)state;
    ald_stop_start();
    ald_stop_limit(1000.0);
    ald_stop_expect(5e10); /* 500 s */
    EVERYWHERE(ald_stop_due(1, 1) == ALD_STOP_NO);
    ald_stop_stepped(300.0);
    ald_stop_stepped(200.0);
    EVERYWHERE(ald_stop_due(1, 0) == ALD_STOP_NO && ald_stop_due(1, 1) == ALD_STOP_LIMIT);
    EVERYWHERE(ald_stop_due(0, 1) == ALD_STOP_NO);
    ald_stop_kept(10.0);
    EVERYWHERE(ald_stop_due(1, 1) == ALD_STOP_NO && ald_stop_due(1, 60) == ALD_STOP_LIMIT);
    EVERYWHERE(ald_stop_agree(&world, mine) == ALD_STOP_LIMIT);
    EVERYWHERE(ald_stop_raise(ALD_STOP_LIMIT, &work) == ALD_STATUS_STOPPED);
    EVERYWHERE(strcmp(ald_status_message(),
                      "sft: stopped by runtime.time_limit after step 3 of 9; run the same command "
                      "again to go on: 6 steps left, about 20 s") == 0);
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) + 1000);
    setenv("SLURM_JOB_END_TIME", text, 1);
    ald_stop_limit(0.0);
    EVERYWHERE(ald_stop_due(1, 0) == ALD_STOP_NO && ald_stop_due(1, 60) == ALD_STOP_JOB);
    unsetenv("SLURM_JOB_END_TIME");
    ald_stop_limit(0.0);
    EVERYWHERE(ald_stop_due(1, 60) == ALD_STOP_NO);
}

/* Of this rank alone: others hear of it when the stage asks them. */
static void a_signal_sets_the_flag(void **state)
{
    (void)state;
    bool last = world.rank == world.size - 1;
    ald_signals_catch();
    EVERYWHERE(!ald_signals_seen());
    if (last)
        raise(SIGTERM);
    EVERYWHERE(ald_signals_seen() == last);
    raise(SIGUSR1);
    EVERYWHERE(ald_signals_seen());
}

/* As a full disk does, and not as a signal that ends the process. */
static void a_file_size_limit_is_an_errno(void **state)
{
    (void)state;
    char path[] = "/tmp/ald-limit-XXXXXX";
    struct rlimit before, limit;
    int file = mkstemp(path);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){.rlim_cur = 4, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    ssize_t first = write(file, "12345678", 8), second = write(file, "5678", 4);
    int error = errno;
    setrlimit(RLIMIT_FSIZE, &before);
    close(file);
    unlink(path);
    EVERYWHERE(first == 4 && second == -1 && error == EFBIG);
}

static void a_fault_comes_at_its_site_rank_and_time(void **state)
{
    (void)state;
    for (int rank = 0; rank < world.size; ++rank) {
        char specification[40];
        snprintf(specification, sizeof specification, "here:%d:2", rank);
        ald_fail_setup(specification, world.rank);
        ald_status_t second = world.rank == rank ? ALD_STATUS_INTERNAL : ALD_STATUS_OK;
        EVERYWHERE(ald_fail_point("there") == ALD_STATUS_OK);
        EVERYWHERE(ald_fail_point("here") == ALD_STATUS_OK);
        EVERYWHERE(ald_fail_point("there") == ALD_STATUS_OK);
        EVERYWHERE(has_status(ald_fail_point("here"), second, "debug.fail: here, time 2"));
        EVERYWHERE(ald_fail_point("here") == ALD_STATUS_OK);
    }
    ald_fail_setup("", world.rank);
    EVERYWHERE(ald_fail_point("here") == ALD_STATUS_OK && ald_fail_point("") == ALD_STATUS_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RANKS_TEST(the_lowest_rank_that_failed_speaks_for_all),
        RANKS_TEST(the_longest_message_reaches_all),
        RANKS_TEST(a_subset_has_its_members_in_their_order),
        RANKS_TEST(a_subset_agrees_for_itself),
        RANKS_TEST(the_ranks_of_this_machine_are_a_node),
        RANKS_TEST(cores_are_divided_among_their_users),
        RANKS_TEST(what_differs_on_a_rank_is_named),
        RANKS_TEST(a_broadcast_reaches_all_from_any_root),
        RANKS_TEST(pauses_grow_to_a_millisecond),
        RANKS_TEST(time_stops_a_run_that_has_had_a_step),
        RANKS_TEST(a_signal_sets_the_flag),
        RANKS_TEST(a_file_size_limit_is_an_errno),
        RANKS_TEST(a_fault_comes_at_its_site_rank_and_time),
    };
    RANKS_RUN(argc, argv, tests);
}
