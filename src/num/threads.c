/* The number of threads, tried before it is relied on. OpenMP ends the process when it can't start
 * a thread; OpenBLAS cuts a product into as many parts as it believes that there are threads, and
 * waits for ever for those that don't come; and it asks for ever for a buffer that it isn't given.
 */
#include "ald/num/threads.h"

#include <cblas.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"

enum {
    MOST_OPENBLAS = 256, /* threads of OpenBLAS, however it was built */
    BUFFER = 128 << 20,  /* bytes of OpenBLAS's buffer, one a thread */
    TRIAL_WAIT = 120,    /* seconds on the clock that a trial may take, for whatever may stop it */
};
#define TRIAL_SECONDS 0.5 /* and of a core, for what takes a hundredth of it */

/* OpenBLAS's own, which its header doesn't declare: a buffer, which it maps when there is none. */
extern void *blas_memory_alloc(int position);
extern void blas_memory_free(void *buffer);

/* --- before OpenBLAS starts ------------------------------------------------------------------- */

/* What a variable of the environment says of a number; 0 without it. */
static long number_of(char *const *environment, const char *name)
{
    const size_t length = strlen(name);
    for (; *environment != NULL; ++environment)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return atol(*environment + length + 1);
    return 0;
}

/* The buffers that OpenBLAS maps when it is loaded: one for each thread that it will have. */
static long buffers_at_start(char *const *environment)
{
    static const char *const names[] = {"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS",
                                        "OMP_NUM_THREADS"};
    const long cores = sysconf(_SC_NPROCESSORS_CONF);
    long count = 0;
    for (int i = 0; i < 3 && count <= 0; ++i)
        count = number_of(environment, names[i]);
    count = count > 0 && count < cores ? count : cores;
    return count < MOST_OPENBLAS ? count : MOST_OPENBLAS;
}

/* Whether so much can be mapped at once. By the system's call: no library has started yet. */
static bool can_map(size_t bytes)
{
    const long at = syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    if (at == -1)
        return false;
    syscall(SYS_munmap, at, bytes);
    return true;
}

/* Ends the process where OpenBLAS would never finish its start, which is before main. One rank
 * says so; the others wait for it to end the job, and speak when it doesn't. */
__attribute__((no_sanitize("address", "undefined"))) static void
before_openblas(int count, char **arguments, char **environment)
{
    static const char text[] = "aligndistil: error: out of memory: the address space (ulimit -v) "
                               "has no room for OpenBLAS's buffers, 128 MiB for each thread\n";
    (void)count;
    (void)arguments;
    if (can_map((size_t)buffers_at_start(environment) * BUFFER))
        return;
    if (number_of(environment, "OMPI_COMM_WORLD_RANK") > 0 ||
        number_of(environment, "PMI_RANK") > 0)
        syscall(SYS_nanosleep, &(struct timespec){.tv_sec = 3}, NULL);
    const long ignored = syscall(SYS_write, STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    syscall(SYS_exit_group, ALD_STATUS_RESOURCE);
}

/* Only a program may have functions that run before its libraries'. */
__attribute__((section(".preinit_array"),
               used)) static void (*const first)(int, char **, char **) = before_openblas;

/* --- trials ----------------------------------------------------------------------------------- */

static void *pass(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Starts as many threads as the pool will have, which wait at a gate until all are there. */
static ald_status_t try_threads(int count)
{
    ald_status_t status = ALD_STATUS_OK;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *thread = ald_alloc(sizeof *thread * (size_t)count);
    int started = 0, error = 0;
    ALD_CHECK_MEMORY(thread, sizeof *thread * (size_t)count);
    pthread_mutex_lock(&gate);
    while (started < count - 1 && error == 0) {
        error = pthread_create(&thread[started], NULL, pass, &gate);
        started += error == 0;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; ++i)
        pthread_join(thread[i], NULL);
    ALD_CHECK(error == 0, ALD_STATUS_RESOURCE, "%d threads can't be started, %d can: %s", count,
              started + 1, strerror(error));
done:
    ald_free(thread);
    return status;
}

/* The threads that a parallel region has when it may have so many. */
static int threads_of_region(int most)
{
    int found = 1;
    omp_set_dynamic(0);
    omp_set_num_threads(most);
#pragma omp parallel
#pragma omp single
    found = omp_get_num_threads();
    return found;
}

/* What the trial of OpenBLAS and the thread that waits for it share. Never freed: a trial that
 * failed is at it until the process ends. */
static struct {
    int threads;
    void *buffer[MOST_OPENBLAS];
    _Atomic int done;
} trial;

/* Has OpenBLAS map the buffers of its threads, and one for each thread that calls it on its own. */
static void *map_buffers(void *unused)
{
    (void)unused;
    omp_set_num_threads(trial.threads);
    openblas_set_num_threads(trial.threads);
    for (int i = 0; i < trial.threads; ++i)
        trial.buffer[i] = blas_memory_alloc(0);
    for (int i = 0; i < trial.threads; ++i)
        blas_memory_free(trial.buffer[i]);
    atomic_store(&trial.done, 1);
    return NULL;
}

static double seconds_on(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Runs the trial on a thread of its own, which stays there when OpenBLAS doesn't come back. */
static ald_status_t try_openblas(int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    pthread_t thread;
    clockid_t used = CLOCK_MONOTONIC;
    const double begun = seconds_on(CLOCK_MONOTONIC);
    trial.threads = threads;
    atomic_store(&trial.done, 0);
    const int error = pthread_create(&thread, NULL, map_buffers, NULL);
    ALD_CHECK(error == 0, ALD_STATUS_RESOURCE, "a thread can't be started: %s", strerror(error));
    const bool timed = pthread_getcpuclockid(thread, &used) == 0;
    while (!atomic_load(&trial.done)) {
        ALD_CHECK((!timed || seconds_on(used) < TRIAL_SECONDS) &&
                      seconds_on(CLOCK_MONOTONIC) - begun < TRIAL_WAIT,
                  ALD_STATUS_RESOURCE,
                  "out of memory: no room for OpenBLAS's buffers, two for each of %d threads; "
                  "allow more address space (ulimit -v) or set runtime.threads lower",
                  threads);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    pthread_join(thread, NULL);
done:
    return status;
}

/* The threads that OpenBLAS was built for. */
static int most_of_openblas(void)
{
    const char *text = strstr(openblas_get_config(), "MAX_THREADS=");
    const int most = text == NULL ? 1 : atoi(text + strlen("MAX_THREADS="));
    return most < 1 ? 1 : most < MOST_OPENBLAS ? most : MOST_OPENBLAS;
}

static int cores(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
}

void ald_threads_begin(void)
{
    if (omp_get_max_threads() > cores())
        omp_set_num_threads(cores());
}

ald_status_t ald_threads_set(int threads, int *given)
{
    ald_status_t status = ALD_STATUS_OK;
    threads = threads > 0 ? threads : cores();
    const int most = most_of_openblas(), tried = threads < most ? threads : most;
    ALD_TRY(try_threads(tried));
    *given = threads_of_region(tried);
    omp_set_num_threads(*given);
    ALD_TRY(try_openblas(*given));
    openblas_set_num_threads(*given);
    if (*given < threads)
        ald_log_warn("%d threads were asked for, %d are given: OpenMP's limits give %d, OpenBLAS "
                     "takes up to %d",
                     threads, *given, *given, most);
done:
    return status;
}

void ald_threads_single(void)
{
    omp_set_num_threads(1);
}
