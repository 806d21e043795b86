/* Communicators, agreement between ranks, and the end of a job. Ranks may share cores, so every
 * wait sleeps between its looks: a spinning rank would take the core of one that works. */
#include "ald/par/comm.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/lock.h"
#include "ald/base/log.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/par/ending.h"
#include "ald/par/watch.h"

enum { WATCH_STACK = 256 << 10 }; /* bytes: what it does in the end is a line and MPI_Abort */

static int world_rank;
static double deadline = 36000.0;
static int64_t piece = (int64_t)1 << 27;

/* What MPI calls when it fails, in place of its own end, whose exit code is that of the error. */
static void on_error(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    (void)comm;
    MPI_Error_string(*code, text, &length);
    ald_comm_abort(
        ald_status_raise(ALD_STATUS_INTERNAL, "rank %d: MPI failed: %s", world_rank, text));
}

void ald_comm_start(int *argc, char ***argv, ald_comm_t *world)
{
    MPI_Errhandler handler;
    int provided;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    world->mpi = MPI_COMM_WORLD;
    MPI_Comm_rank(world->mpi, &world->rank);
    MPI_Comm_size(world->mpi, &world->size);
    world_rank = world->rank;
    ald_comm_t node;
    ald_comm_node(world, &node);
    ald_ending_share(node.mpi, world_rank);
    ald_comm_free(&node);
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler); /* its subsets inherit it */
    MPI_Comm_set_errhandler(MPI_COMM_SELF, handler);
    MPI_Errhandler_free(&handler);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an errno, not the end */
}

static volatile sig_atomic_t code_at_end;

static void end_now(int number)
{
    (void)number;
    _exit(code_at_end);
}

void ald_comm_finish(const ald_comm_t *world, int code)
{
    /* Open MPI may wait for ever for a thread of its own: the word that ends the thread's loop is
     * lost when it comes just before the thread enters it. To one that isn't alone others speak. */
    enum { LONGEST = 20 }; /* seconds */
    ald_ending_leave();
    code_at_end = code;
    signal(SIGALRM, end_now);
    alarm(world->size == 1 ? LONGEST : 0);
    MPI_Finalize();
    alarm(0);
}

static void comm_describe(ald_comm_t *comm)
{
    comm->rank = -1;
    comm->size = 0;
    if (comm->mpi == MPI_COMM_NULL)
        return;
    MPI_Comm_rank(comm->mpi, &comm->rank);
    MPI_Comm_size(comm->mpi, &comm->size);
}

void ald_comm_sort(ald_comm_t *world, int key)
{
    MPI_Comm sorted;
    MPI_Comm_split(world->mpi, 0, key, &sorted);
    world->mpi = sorted;
    comm_describe(world);
    world_rank = world->rank;
    ald_ending_number(world_rank);
}

void ald_comm_split(const ald_comm_t *parent, int part, ald_comm_t *out)
{
    MPI_Comm_split(parent->mpi, part, parent->rank, &out->mpi);
    comm_describe(out);
}

void ald_comm_subset(const ald_comm_t *parent, bool member, ald_comm_t *out)
{
    ald_comm_split(parent, member ? 0 : MPI_UNDEFINED, out);
}

void ald_comm_node(const ald_comm_t *parent, ald_comm_t *out)
{
    MPI_Comm_split_type(parent->mpi, MPI_COMM_TYPE_SHARED, parent->rank, MPI_INFO_NULL, &out->mpi);
    comm_describe(out);
}

void ald_comm_free(ald_comm_t *comm)
{
    if (comm->mpi != MPI_COMM_NULL && comm->size > 0)
        MPI_Comm_free(&comm->mpi);
    *comm = (ald_comm_t){.mpi = MPI_COMM_NULL, .rank = -1};
}

static double shared_cores(const cpu_set_t *all, int ranks, const cpu_set_t *mine)
{
    double cores = 0.0;
    for (int c = 0; c < CPU_SETSIZE; ++c) {
        int users = 0;
        for (int r = 0; r < ranks && CPU_ISSET(c, mine); ++r)
            users += CPU_ISSET(c, &all[r]) != 0;
        cores += users > 0 ? 1.0 / users : 0.0;
    }
    return cores;
}

int ald_comm_cores(const ald_comm_t *world)
{
    ald_comm_t node;
    cpu_set_t mine;
    double cores = 1.0;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine); /* on failure: no core of its own, hence 1 thread */
    ald_comm_node(world, &node);
    cpu_set_t *all = ald_calloc((size_t)node.size, sizeof *all);
    int enough = all != NULL, everywhere;
    MPI_Allreduce(&enough, &everywhere, 1, MPI_INT, MPI_MIN, node.mpi);
    if (everywhere) {
        MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node.mpi);
        cores = shared_cores(all, node.size, &mine) + 1e-6; /* thirds add up to wholes */
    }
    ald_free(all);
    ald_comm_free(&node);
    return cores < 1.0 ? 1 : (int)cores;
}

static void rest(int *looks)
{
    /* A short wait only yields; then it sleeps, from 16 us, doubled every 4 looks up to 1 ms. */
    enum { YIELDS = 100, DOUBLINGS = 6 };
    int asleep = (*looks)++ - YIELDS;
    if (asleep < 0) {
        sched_yield();
        return;
    }
    long pause = 16000L << (asleep / 4 < DOUBLINGS ? asleep / 4 : DOUBLINGS);
    nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
}

void ald_comm_deadline_set(double seconds)
{
    deadline = seconds;
}

static bool is_late(double since)
{
    const double turn = world_rank < 10 ? 2.0 * world_rank : 20.0;
    return ald_time() - since > deadline + turn;
}

static _Noreturn void late(const char *whom, const char *what)
{
    ald_comm_abort(ald_status_raise(ALD_STATUS_INTERNAL,
                                    "rank %d waited %g s for %s, in %s (runtime.deadline)",
                                    world_rank, deadline, whom, what));
}

void ald_comm_idle(double since, int *looks, const char *whom, const char *what)
{
    ald_ending_follow();
    if (is_late(since))
        late(whom, what);
    rest(looks);
}

void ald_comm_wait(MPI_Request *request, const char *whom, const char *what)
{
    const double start = ald_time();
    int looks = 0, finished = 0;
    for (;;) {
        MPI_Test(request, &finished, MPI_STATUS_IGNORE);
        if (finished)
            return;
        ald_comm_idle(start, &looks, whom, what);
    }
}

/* Looks after the other ranks of the node, and at how long MPI's own calls last. */
static void *watch(void *unused)
{
    (void)unused;
    for (;;) {
        const double seconds = deadline / 8.0 < 0.25 ? deadline / 8.0 : 0.25;
        int pid;
        double since;
        nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
        ald_ending_follow();
        const int gone = ald_ending_gone(&pid);
        if (gone >= 0)
            ald_comm_abort(ald_status_raise(
                ALD_STATUS_INTERNAL, "rank %d (process %d) is gone: killed, or out of memory", gone,
                pid));
        const char *name = ald_watch_call(&since);
        if (name != NULL && is_late(since))
            late("the others", name);
    }
    return NULL;
}

ald_status_t ald_comm_deadline_start(const ald_comm_t *world, double seconds)
{
    static bool started;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    ald_comm_deadline_set(seconds);
    if (started || world->size == 1)
        return ALD_STATUS_OK;
    sigfillset(&all); /* signals are for the thread that works */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WATCH_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const int error = pthread_create(&thread, &attributes, watch, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return ald_status_raise(ALD_STATUS_RESOURCE, "a thread can't be started: %s",
                                strerror(error));
    started = true;
    return ALD_STATUS_OK;
}

ald_status_t ald_comm_agree(const ald_comm_t *comm, ald_status_t status)
{
    struct {
        int code, rank;
    } mine = {status == ALD_STATUS_OK ? 0 : -1, comm->rank}, first;
    MPI_Request request;
    if (comm->size <= 1)
        return status;
    MPI_Iallreduce(&mine, &first, 1, MPI_2INT, MPI_MINLOC, comm->mpi, &request);
    /* Other roles and slower ranks may take long to arrive. */
    ald_comm_wait(&request, "the others", "an agreement");
    if (first.code == 0)
        return ALD_STATUS_OK;
    struct {
        int code;
        char text[1024];
    } word = {status, ""};
    snprintf(word.text, sizeof word.text, "%s", ald_status_message());
    MPI_Bcast(&word, sizeof word, MPI_BYTE, first.rank, comm->mpi);
    return ald_status_raise((ald_status_t)word.code, "%s", word.text);
}

ald_status_t ald_comm_compare(const ald_comm_t *comm, const void *data, size_t size,
                              const char *what)
{
    ald_sha256_t sha;
    char mine[ALD_SHA256_HEX], root[ALD_SHA256_HEX];
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, data, size);
    ald_sha256_final(&sha, mine);
    memcpy(root, mine, sizeof root);
    MPI_Bcast(root, sizeof root, MPI_CHAR, 0, comm->mpi);
    ald_status_t status = ALD_STATUS_OK;
    if (strcmp(root, mine) != 0)
        status = ald_status_raise(ALD_STATUS_USAGE, "%s differs between rank 0 and rank %d", what,
                                  comm->rank);
    return ald_comm_agree(comm, status);
}

void ald_comm_sum(const ald_comm_t *comm, int64_t *values, int64_t count)
{
    MPI_Request request;
    for (int64_t at = 0; at < count; at += piece) {
        const int64_t some = count - at < piece ? count - at : piece;
        MPI_Iallreduce(MPI_IN_PLACE, values + at, (int)some, MPI_INT64_T, MPI_SUM, comm->mpi,
                       &request);
        ald_comm_wait(&request, "the others", "a sum");
    }
}

void ald_comm_broadcast(const ald_comm_t *comm, void *data, size_t bytes, int root)
{
    const size_t most = (size_t)piece;
    MPI_Request request;
    MPI_Ibarrier(comm->mpi, &request);
    ald_comm_wait(&request, "the others", "a broadcast"); /* asleep until all are here */
    for (size_t at = 0; at < bytes; at += most)
        MPI_Bcast((char *)data + at, (int)(bytes - at < most ? bytes - at : most), MPI_BYTE, root,
                  comm->mpi);
}

int64_t ald_comm_piece(void)
{
    return piece;
}

void ald_comm_piece_set(int64_t elements)
{
    piece = elements;
}

_Noreturn void ald_comm_abort(ald_status_t code)
{
    if (!ald_ending_claim(code))
        ald_ending_follow();
    ald_log_error("%s", ald_status_message());
    fflush(NULL);
    ald_lock_release();
    MPI_Abort(MPI_COMM_WORLD, code);
    abort();
}
