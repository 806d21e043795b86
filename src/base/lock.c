/* Locks as files. flock() isn't kept across nodes by every file system, so a lock is a file that
 * only one process can make; it says who that is, and its time says that the process still lives.
 * Whether an owner on this machine is dead can be seen at once; one elsewhere must have been silent
 * for long, by the file server's clock, since those of nodes differ. */
#include "ald/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/vec.h"

#define NAME   "aligndistil.lock"
#define SUFFIX ".lock"
#define RENEW  20  /* seconds from one sign of life to the next */
#define GRACE  3.0 /* seconds that a job just killed has to be gone */

typedef struct {
    char *path, *content; /* owned */
    size_t existing;      /* bytes of the path, to the end of the folder that was there before */
} held_t;

static struct {
    ald_vec_t held; /* held_t */
    bool renewing, ends;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} locks = {.held = {.item = sizeof(held_t)}, .mutex = PTHREAD_MUTEX_INITIALIZER};

static held_t *held_at(size_t i)
{
    return &ALD_VEC_AT(&locks.held, held_t, i);
}

/* --- who a process is ------------------------------------------------------------------------- */

/* The first line of a small file, "" when it can't be read. */
static void read_line(const char *path, char *out, size_t bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(out, (int)bytes, file) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
}

/* What says that two processes see each other: the same start of the system, and numbering of
 * processes. */
static void machine_of(char *out, size_t bytes)
{
    char boot[64], space[64] = "";
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (readlink("/proc/self/ns/pid", space, sizeof space - 1) < 0)
        space[0] = '\0';
    snprintf(out, bytes, "%s %s", boot, space);
}

static void set_environment(ald_json_t *owner, const char *key, const char *name)
{
    const char *value = getenv(name);
    if (value != NULL)
        ald_json_set(owner, key, ald_json_new_string(value));
}

/* This process as text, which no other one has. */
static ald_status_t describe_self(const char *what, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char host[65] = "", machine[160], since[32];
    const time_t now = time(NULL);
    struct tm utc;
    ald_json_t *owner = ald_json_new_object();
    gethostname(host, sizeof host - 1);
    machine_of(machine, sizeof machine);
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    ald_json_set(owner, "command", ald_json_new_string(what));
    ald_json_set(owner, "host", ald_json_new_string(host));
    ald_json_set(owner, "pid", ald_json_new_integer(getpid()));
    ald_json_set(owner, "begin", ald_json_new_integer(ald_process_begin(getpid())));
    ald_json_set(owner, "machine", ald_json_new_string(machine));
    ald_json_set(owner, "since", ald_json_new_string(since));
    set_environment(owner, "job", "SLURM_JOB_ID");
    set_environment(owner, "restart", "SLURM_RESTART_COUNT");
    ALD_TRY(ald_json_dump(owner, true, out));
done:
    ald_json_free(owner);
    return status;
}

/* Whether the owner can't be alive: its process is gone from this machine, or its job was started
 * again as this one. */
static bool is_dead(const ald_json_t *owner)
{
    char machine[160];
    const char *where = ald_json_text(ald_json_get(owner, "machine"), NULL);
    const char *job = ald_json_text(ald_json_get(owner, "job"), NULL);
    const char *restart = ald_json_text(ald_json_get(owner, "restart"), NULL);
    const char *own_job = getenv("SLURM_JOB_ID"), *own_restart = getenv("SLURM_RESTART_COUNT");
    machine_of(machine, sizeof machine);
    if (where != NULL && strcmp(where, machine) == 0) {
        const int64_t begin = ald_process_begin(ald_json_integer(ald_json_get(owner, "pid"), -1));
        if (begin < 0 || begin != ald_json_integer(ald_json_get(owner, "begin"), begin))
            return true;
    }
    return job != NULL && own_job != NULL && strcmp(job, own_job) == 0 && own_restart != NULL &&
           atoi(own_restart) > (restart == NULL ? 0 : atoi(restart));
}

/* --- the file --------------------------------------------------------------------------------- */

/* Reads a lock whole, as text, and its age by the clock of `clock`, a file written just now; NULL:
 * by this machine's. The text is "" when there is no lock. */
static void read_lock(const char *path, const char *clock, char *text, size_t bytes, int64_t *age)
{
    struct stat lock, now;
    ssize_t got = -1;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    text[0] = '\0';
    *age = 0;
    if (file < 0)
        return;
    got = read(file, text, bytes - 1);
    text[got > 0 ? got : 0] = '\0';
    if (fstat(file, &lock) == 0)
        *age =
            (clock != NULL && stat(clock, &now) == 0 ? now.st_mtime : time(NULL)) - lock.st_mtime;
    close(file);
}

/* Gives `temporary`, which is whole, the lock's name too unless it is taken. */
static bool make_exclusively(const char *temporary, const char *path, const char *content)
{
    if (link(temporary, path) == 0)
        return true;
    if (errno == EEXIST)
        return false;
    const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); /* no hard links */
    if (file < 0)
        return false;
    const size_t size = strlen(content);
    const bool whole = write(file, content, size) == (ssize_t)size;
    close(file);
    if (!whole)
        unlink(path);
    return whole;
}

/* Takes away a lock that was judged to be nobody's. Another process may have done so before and
 * have made its own: that one is put back. */
static void take_away(const char *path, const char *judged)
{
    char text[2048], *aside = ald_path_temporary(path);
    int64_t age;
    if (aside != NULL && rename(path, aside) == 0) {
        read_lock(aside, aside, text, sizeof text, &age);
        if (strcmp(text, judged) != 0 && link(aside, path) != 0)
            ald_log_warn("%s: was taken away from its owner: %s", path, strerror(errno));
        unlink(aside);
    }
    ald_free(aside);
}

static ald_status_t refuse(const char *path, const ald_json_t *owner, int64_t age)
{
    const char *job = ald_json_text(ald_json_get(owner, "job"), NULL);
    const char *host = ald_json_text(ald_json_get(owner, "host"), NULL);
    const char *what = ald_json_text(ald_json_get(owner, "command"), NULL);
    const char *since = ald_json_text(ald_json_get(owner, "since"), NULL);
    return ald_status_raise(
        ALD_STATUS_RESOURCE,
        "%s: %s writes here since %s: host %s, process %lld, job %s, last seen %lld s ago (after "
        "%d s the lock is taken over); wait for it, stop it, or set another output",
        path, what ? what : "another run", since ? since : "?", host ? host : "?",
        (long long)ald_json_integer(ald_json_get(owner, "pid"), -1), job ? job : "none",
        (long long)age, ALD_LOCK_SILENCE);
}

/* Says what the lock at `path` means for this process: OK when it is nobody's (*gone: and was taken
 * away, or isn't there) or this one's, else RESOURCE. */
static ald_status_t judge(const char *path, const char *clock, bool *gone)
{
    ald_status_t status = ALD_STATUS_OK;
    char text[2048];
    int64_t age;
    ald_json_t *owner = NULL;
    *gone = true;
    read_lock(path, clock, text, sizeof text, &age);
    if (text[0] == '\0' && !ald_path_exists(path))
        return status;
    for (size_t i = 0; i < locks.held.count; ++i)
        if (strcmp(held_at(i)->path, path) == 0 && strcmp(held_at(i)->content, text) == 0) {
            *gone = false;
            return status;
        }
    if (ald_json_parse(text, strlen(text), path, &owner) != ALD_STATUS_OK)
        owner = NULL; /* being written without hard links, or not ours: its age decides */
    const bool dead = is_dead(owner);
    if (dead || age >= ALD_LOCK_SILENCE) {
        ald_log_warn("%s: taken over, as its owner is %s", path, dead ? "gone" : "silent");
        take_away(path, text);
    } else {
        status = refuse(path, owner, age);
    }
    ald_json_free(owner);
    return status;
}

/* --- signs of life ---------------------------------------------------------------------------- */

static bool is_own(const held_t *held)
{
    char text[2048];
    int64_t age;
    read_lock(held->path, held->path, text, sizeof text, &age);
    return strcmp(text, held->content) == 0;
}

/* The thread that renews. Under the mutex but while it waits. */
static void *renew(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&locks.mutex);
    while (!locks.ends) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += RENEW;
        pthread_cond_timedwait(&locks.woken, &locks.mutex, &until);
        for (size_t i = 0; i < locks.held.count && !locks.ends; ++i)
            if (is_own(held_at(i)))
                utimensat(AT_FDCWD, held_at(i)->path, NULL, 0);
    }
    pthread_mutex_unlock(&locks.mutex);
    return NULL;
}

/* Signals are for the thread that works. */
static void begin_renewing(void)
{
    sigset_t all, before;
    if (locks.renewing)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    locks.ends = false;
    pthread_cond_init(&locks.woken, NULL);
    locks.renewing = pthread_create(&locks.thread, NULL, renew, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Keeps a lock that was made; takes both texts over. */
static ald_status_t keep(char *path, char *content, size_t existing)
{
    const held_t held = {path, content, existing};
    pthread_mutex_lock(&locks.mutex);
    const ald_status_t status = ald_vec_push(&locks.held, &held);
    pthread_mutex_unlock(&locks.mutex);
    begin_renewing();
    return status;
}

/* Cuts the last name off a path. */
static void cut(char *path)
{
    char *slash = strrchr(path, '/');
    *(slash == NULL ? path : slash) = '\0';
}

/* How many bytes of a folder's path lead to what is there already. */
static ald_status_t existing_part(const char *folder, size_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_strdup(folder);
    ALD_CHECK_MEMORY(path, strlen(folder));
    while (path[0] != '\0' && !ald_path_exists(path))
        cut(path);
    *out = strlen(path);
done:
    ald_free(path);
    return status;
}

/* Removes a lock, and the folders made for it that nothing was written to. */
static void give_back(held_t *held)
{
    if (is_own(held))
        unlink(held->path);
    for (cut(held->path); strlen(held->path) > held->existing && rmdir(held->path) == 0;)
        cut(held->path);
    ald_free(held->path);
    ald_free(held->content);
}

/* --- what others call ------------------------------------------------------------------------- */

static char *lock_path(const char *path, bool file)
{
    char *out = file ? ald_alloc(strlen(path) + sizeof SUFFIX) : ald_path_join(path, NAME);
    if (out != NULL && file)
        sprintf(out, "%s%s", path, SUFFIX);
    return out;
}

/* Makes the lock from the file `temporary`, or finds that it is this process's already (*made
 * false). */
static ald_status_t try_lock(const char *temporary, const char *path, const char *content,
                             bool *made)
{
    ald_status_t status = ALD_STATUS_OK;
    bool gone = true;
    *made = false;
    for (int i = 0; i < 8 && gone && !*made; ++i) {
        *made = make_exclusively(temporary, path, content);
        if (!*made)
            ALD_TRY(judge(path, temporary, &gone));
    }
    ALD_CHECK(*made || !gone, ALD_STATUS_RESOURCE, "%s: can't be made: %s", path, strerror(errno));
done:
    return status;
}

static ald_status_t make_lock(const char *path, const char *content, bool *made)
{
    ald_status_t status = ALD_STATUS_OK;
    const struct timespec pause = {.tv_nsec = 100000000};
    const double begun = ald_time();
    char *temporary = ald_path_temporary(path);
    FILE *file = NULL;
    ALD_CHECK_MEMORY(temporary, strlen(path));
    do {
        if (file != NULL) {
            fclose(file);
            nanosleep(&pause, NULL);
        }
        file = fopen(temporary, "we"); /* anew, as its time is the clock */
        ALD_CHECK(file != NULL && fputs(content, file) >= 0 && fflush(file) == 0,
                  ald_status_of_errno(errno), "%s: cannot write: %s", temporary, strerror(errno));
        status = try_lock(temporary, path, content, made);
    } while (status != ALD_STATUS_OK && ald_time() - begun < GRACE);
done:
    if (file != NULL) {
        fclose(file);
        unlink(temporary);
    }
    ald_free(temporary);
    return status;
}

ald_status_t ald_lock_take(const char *path, bool file, const char *what)
{
    ald_status_t status = ALD_STATUS_OK;
    char *lock = lock_path(path, file), *folder = NULL, *content = NULL;
    bool made = false;
    size_t existing = 0;
    ALD_CHECK_MEMORY(lock, strlen(path));
    folder = ald_path_folder(lock);
    ALD_CHECK_MEMORY(folder, strlen(lock));
    ALD_TRY(existing_part(folder, &existing));
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(describe_self(what, &content));
    ALD_TRY(make_lock(lock, content, &made));
    if (made) {
        ALD_TRY(keep(lock, content, existing));
        lock = content = NULL;
    }
done:
    ald_free(lock);
    ald_free(folder);
    ald_free(content);
    return status;
}

ald_status_t ald_lock_look(const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *lock = lock_path(path, false);
    bool gone;
    ALD_CHECK_MEMORY(lock, strlen(path));
    ALD_TRY(judge(lock, NULL, &gone));
done:
    ald_free(lock);
    return status;
}

ald_status_t ald_lock_check(void)
{
    ald_status_t status = ALD_STATUS_OK;
    pthread_mutex_lock(&locks.mutex); /* a thread may ask while the process gives up its locks */
    ALD_CHECK(!locks.ends, ALD_STATUS_RESOURCE, "this process ends, and has given up its locks");
    for (size_t i = 0; i < locks.held.count; ++i)
        ALD_CHECK(is_own(held_at(i)), ALD_STATUS_RESOURCE,
                  "%s: isn't this process's any more, which was silent for more than %d s or lost "
                  "the file; another one may write there, so this one ends",
                  held_at(i)->path, ALD_LOCK_SILENCE);
done:
    pthread_mutex_unlock(&locks.mutex);
    return status;
}

void ald_lock_release(void)
{
    pthread_mutex_lock(&locks.mutex);
    locks.ends = true;
    if (locks.renewing)
        pthread_cond_signal(&locks.woken);
    pthread_mutex_unlock(&locks.mutex);
    if (locks.renewing) {
        pthread_join(locks.thread, NULL);
        pthread_cond_destroy(&locks.woken);
    }
    locks.renewing = false;
    pthread_mutex_lock(&locks.mutex);
    while (locks.held.count > 0) /* the last first, whose folder may lie in one made before */
        give_back(held_at(--locks.held.count));
    ald_vec_reset(&locks.held);
    pthread_mutex_unlock(&locks.mutex);
}
