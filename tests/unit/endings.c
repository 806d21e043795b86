/* endings WHAT: a job that ends, on the last rank, in one of the ways of `par` that no test within
 * a process survives; for endings_test.py. Not a test. */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/message.h"
#include "ald/par/signals.h"

enum { LARGE = 8 << 20 }; /* larger than what MPI sends ahead */

struct event_base;
int event_base_loop(struct event_base *base, int flags);

/* What the threads of MPI wait in, in place of libevent's: late to enter, so that the word that
 * ends them comes too early. */
static atomic_bool late;
int event_base_loop(struct event_base *base, int flags)
{
    int (*own)(struct event_base *, int);
    *(void **)&own = dlsym(RTLD_NEXT, "event_base_loop");
    if (gettid() != getpid() && atomic_load(&late))
        sleep(60);
    return own(base, flags);
}

/* Nothing was sent to it. */
static void receive(const ald_comm_t *world)
{
    ald_vec_t data;
    ald_vec_init(&data, 1);
    ald_comm_deadline_set(1.0);
    ald_message_receive(world, 0, ALD_TAG_SAMPLES, &data);
}

/* Nobody receives it. */
static void finish(const ald_comm_t *world)
{
    static char data[LARGE];
    ald_sending_t sending;
    ald_message_send(world, 0, ALD_TAG_SHARD, ALD_STATUS_OK, data, LARGE, &sending);
    ald_comm_deadline_set(1.0);
    ald_message_finish(&sending);
}

/* A message to itself. */
static void send_and_receive(const ald_comm_t *world)
{
    ald_sending_t sending;
    ald_vec_t data;
    ald_vec_init(&data, 1);
    ald_message_send(world, world->rank, ALD_TAG_SHARD, ALD_STATUS_OK, "text", 4, &sending);
    ald_message_receive(world, world->rank, ALD_TAG_SHARD, &data);
    ald_message_finish(&sending);
    ald_vec_reset(&data);
}

static void failing_send(const ald_comm_t *world)
{
    char fault[40];
    snprintf(fault, sizeof fault, "message_send:%d:2", world->rank);
    ald_fail_setup(fault, world->rank);
    send_and_receive(world);
    send_and_receive(world);
}

static void failing_receive(const ald_comm_t *world)
{
    char fault[40];
    snprintf(fault, sizeof fault, "message_receive:%d:1", world->rank);
    ald_fail_setup(fault, world->rank);
    send_and_receive(world);
}

static void give_up(const ald_comm_t *world)
{
    ald_comm_abort(ald_status_raise(ALD_STATUS_RESOURCE, "rank %d gives up", world->rank));
}

static void terminate(const ald_comm_t *world)
{
    (void)world;
    raise(SIGTERM);
}

static void catch_and_terminate(const ald_comm_t *world)
{
    ald_signals_catch();
    terminate(world);
    if (!ald_signals_seen())
        ald_comm_abort(ald_status_raise(ALD_STATUS_INTERNAL, "the signal wasn't seen"));
}

/* What MPI itself refuses. */
static void mpi_fails(const ald_comm_t *world)
{
    (void)world;
    MPI_Bcast(NULL, -1, MPI_BYTE, 0, MPI_COMM_SELF);
}

static void stay_away(const ald_comm_t *world)
{
    char fault[40];
    snprintf(fault, sizeof fault, "away:%d:1:hang", world->rank);
    ald_fail_setup(fault, world->rank);
    ald_fail_point("away");
}

static void be_killed(const ald_comm_t *world)
{
    (void)world;
    raise(SIGKILL);
}

static const struct {
    const char *name;
    void (*run)(const ald_comm_t *world);
} endings[] = {
    {"receive", receive},           {"finish", finish},
    {"failing_send", failing_send}, {"failing_receive", failing_receive},
    {"give_up", give_up},           {"mpi_fails", mpi_fails},
    {"terminate", terminate},       {"catch_and_terminate", catch_and_terminate},
    {"stay_away", stay_away},       {"be_killed", be_killed},
};

/* The others wait in a collective call of MPI, or in one of ours; WHAT may end in "-agree". Only
 * the end of the job, or of their patience, ends that. */
int main(int argc, char **argv)
{
    ald_comm_t world;
    const bool enters_late = argc == 2 && strcmp(argv[1], "enter_late") == 0;
    const int code = enters_late ? ALD_STATUS_INPUT : 0;
    atomic_store(&late, enters_late);
    ald_comm_start(&argc, &argv, &world);
    ald_log_setup(ALD_LOG_NORMAL, world.rank == 0);
    const char *ours = argc == 2 ? strstr(argv[1], "-agree") : NULL;
    const size_t length = ours != NULL ? (size_t)(ours - argv[1]) : strlen(argv[1]);
    if (strncmp(argv[1], "stay_away", length) == 0 || strncmp(argv[1], "be_killed", length) == 0)
        ald_comm_deadline_start(&world, 1.0);
    for (size_t i = 0; argc == 2 && i < sizeof endings / sizeof *endings; ++i)
        if (strncmp(argv[1], endings[i].name, length) == 0 && endings[i].name[length] == '\0' &&
            world.rank == world.size - 1)
            endings[i].run(&world);
    if (ours != NULL)
        ald_comm_agree(&world, ALD_STATUS_OK);
    MPI_Barrier(world.mpi);
    ald_comm_finish(&world, code);
    return code;
}
