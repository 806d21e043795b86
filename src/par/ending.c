/* The end of a node's ranks. Their page is a memory file of the node's first rank, which the others
 * open through /proc; it needs no file system and is gone with them. */
#include "ald/par/ending.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/lock.h"

enum { MOST = 1024 }; /* ranks of a node that the page has room for */

typedef struct {
    int64_t token;    /* of the rank that made it */
    _Atomic int code; /* of the job's end; 0: it goes on */
    struct {
        _Atomic int pid; /* 0: not there yet, or left */
        int rank;        /* in the world */
    } ranks[MOST];
} page_t;

static page_t own;
static page_t *page = &own;
static int place; /* of this rank in page->ranks */

static page_t *map(int fd)
{
    void *at =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Opens what the first rank made; NULL when that isn't there: another container has other pids. */
static page_t *open_of(int64_t pid, int64_t fd, int64_t token)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)pid, (long long)fd);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    page_t *made = map(opened);
    if (opened >= 0)
        close(opened);
    if (made == NULL || made->token == token)
        return made;
    munmap(made, sizeof *made);
    return NULL;
}

void ald_ending_share(MPI_Comm node, int rank)
{
    struct timespec now;
    int64_t word[3] = {getpid(), -1, 0}; /* pid, descriptor, token */
    page_t *made = NULL;
    int size;
    MPI_Comm_rank(node, &place);
    MPI_Comm_size(node, &size);
    if (size == 1 || size > MOST)
        return;
    if (place == 0) {
        clock_gettime(CLOCK_REALTIME, &now);
        word[1] = memfd_create("aligndistil", MFD_CLOEXEC);
        word[2] = ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) ^ word[0];
        made =
            word[1] >= 0 && ftruncate((int)word[1], sizeof *made) == 0 ? map((int)word[1]) : NULL;
        if (made != NULL)
            made->token = word[2];
    }
    MPI_Bcast(word, 3, MPI_INT64_T, 0, node);
    if (place != 0)
        made = open_of(word[0], word[1], word[2]);
    page = made != NULL ? made : &own;
    page->ranks[place].rank = rank;
    atomic_store(&page->ranks[place].pid, getpid());
    MPI_Barrier(node); /* all have opened it */
    if (place == 0 && word[1] >= 0)
        close((int)word[1]);
}

void ald_ending_number(int rank)
{
    page->ranks[place].rank = rank;
}

void ald_ending_leave(void)
{
    atomic_store(&page->ranks[place].pid, 0);
}

bool ald_ending_claim(int code)
{
    int none = 0;
    return atomic_compare_exchange_strong(&page->code, &none, code);
}

void ald_ending_follow(void)
{
    static atomic_flag followed = ATOMIC_FLAG_INIT;
    const int code = atomic_load(&page->code);
    if (code == 0)
        return;
    while (atomic_flag_test_and_set(&followed)) /* another thread ends this process */
        pause();
    ald_ending_leave();
    /* The launcher is to hear of the end from the rank that said why. */
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ald_lock_release();
    _exit(code);
}

int ald_ending_gone(int *pid)
{
    for (int i = 0; i < MOST; ++i) {
        *pid = atomic_load(&page->ranks[i].pid);
        if (*pid != 0 && kill(*pid, 0) != 0 && errno == ESRCH &&
            atomic_load(&page->ranks[i].pid) == *pid)
            return page->ranks[i].rank;
    }
    return -1;
}
