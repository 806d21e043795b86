/* Appending to the ledger. O_APPEND alone keeps writers of one node apart; over NFS it is the lock
 * that does, since the end of the file is asked for and written to in two requests there. */
#include "ald/lineage/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

#define RAISE(path)                                                                                \
    ald_status_raise(ald_status_of_errno(errno), "%s: can't append to the ledger: %s", (path),     \
                     strerror(errno))

enum { WAIT = 10, TRIES_A_SECOND = 20 }; /* for the lock, in seconds */
enum { TAIL = 1 << 20 };                 /* bytes that are looked through for a line */

static int open_ledger(const char *path)
{
    return open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

ald_status_t ald_ledger_check(const char *path)
{
    const int file = open_ledger(path);
    if (file < 0)
        return RAISE(path);
    close(file);
    return ALD_STATUS_OK;
}

static void copy(const ald_json_t *from, const char *key, const char *as, ald_json_t *to)
{
    if (ald_json_get(from, key) != NULL)
        ald_json_set(to, as, ald_json_copy(ald_json_get(from, key)));
}

/* Sets a role's digest; of several inputs with one role an array of them. */
static void add_input(ald_json_t *inputs, const char *role, const ald_json_t *digest)
{
    const ald_json_t *there = ald_json_get(inputs, role);
    ald_json_t *list;
    if (digest == NULL)
        return;
    if (there == NULL) {
        ald_json_set(inputs, role, ald_json_copy(digest));
        return;
    }
    list = ald_json_is_array(there) ? ald_json_copy(there) : ald_json_new_array();
    if (!ald_json_is_array(there))
        ald_json_push(list, ald_json_copy(there));
    ald_json_push(list, ald_json_copy(digest));
    ald_json_set(inputs, role, list);
}

/* The line as an object; without inputs where `brief`. */
static ald_json_t *line_of(const ald_json_t *record, const char *where, bool brief)
{
    static const char *const keys[] = {"job", "user", "ranks", "restarts", "seconds"};
    const ald_json_t *result = ald_json_get(record, "result"),
                     *list = ald_json_get(record, "inputs");
    const char *host = ald_json_text(ald_json_at(ald_json_get(record, "hosts"), 0), NULL);
    char path[PATH_MAX];
    ald_json_t *out = ald_json_new_object(), *inputs = ald_json_new_object();
    copy(record, "ended", "time", out);
    copy(record, "stage", "stage", out);
    ald_json_set(out, "record", ald_json_new_string(realpath(where, path) == NULL ? where : path));
    copy(result, "kind", "kind", out);
    copy(result, "sha256", "sha256", out);
    for (size_t i = 0; i < ald_json_count(list); ++i) {
        const ald_json_t *input = ald_json_at(list, i);
        const char *role = ald_json_text(ald_json_get(input, "role"), NULL);
        if (role != NULL)
            add_input(inputs, role, ald_json_get(input, "sha256"));
    }
    if (brief)
        ald_json_free(inputs);
    else
        ald_json_set(out, "inputs", inputs);
    if (host != NULL)
        ald_json_set(out, "host", ald_json_new_string(host));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i)
        copy(record, keys[i], keys[i], out);
    return out;
}

/* Makes "LINE\n". */
static ald_status_t make_line(const ald_json_t *record, const char *where, ald_vec_t *line)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    for (int brief = 0; brief < 2; ++brief) {
        ald_json_t *object = line_of(record, where, brief);
        ald_free(text);
        text = NULL;
        status = ald_json_dump(object, false, &text);
        ald_json_free(object);
        ALD_TRY(status);
        if (strlen(text) + 2 <= ALD_LEDGER_LINE)
            break;
    }
    ALD_TRY(ald_vec_printf(line, "%s\n", text));
done:
    ald_free(text);
    return status;
}

/* Waits for the lock, but not for ever: its owner may have been stopped, or sleep with it. */
static ald_status_t take_lock(int file, const char *path)
{
    const struct timespec pause = {.tv_nsec = 1000000000 / TRIES_A_SECOND};
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (int i = 0; fcntl(file, F_SETLK, &lock) != 0; ++i) {
        if (errno != EINTR && errno != EAGAIN && errno != EACCES)
            return RAISE(path);
        if (i >= WAIT * TRIES_A_SECOND)
            return ald_status_raise(ALD_STATUS_RESOURCE,
                                    "%s: can't append to the ledger: another process has held its "
                                    "lock for %d s",
                                    path, WAIT);
        nanosleep(&pause, NULL);
    }
    return ALD_STATUS_OK;
}

/* Whether the line is among the last ones: a run that was killed behind it is recorded again. */
static bool has_line(int file, off_t end, const ald_vec_t *line)
{
    const size_t size = end < TAIL ? (size_t)end : TAIL;
    char *tail = ald_alloc(size + 1);
    bool out = tail != NULL && pread(file, tail, size, end - (off_t)size) == (ssize_t)size &&
               memmem(tail, size, line->data, line->count) != NULL;
    ald_free(tail);
    return out;
}

/* Appends under the lock; a cut line of a writer that died is closed first. */
static ald_status_t append(int file, const char *path, const ald_vec_t *line)
{
    char bytes[ALD_LEDGER_LINE + 2], last = '\n';
    size_t count = 0;
    const ald_status_t locked = take_lock(file, path);
    if (locked != ALD_STATUS_OK)
        return locked;
    const off_t end = lseek(file, 0, SEEK_END);
    if (end > 0 && pread(file, &last, 1, end - 1) != 1)
        return RAISE(path);
    if (has_line(file, end, line))
        return ALD_STATUS_OK;
    if (last != '\n')
        bytes[count++] = '\n';
    const size_t length = line->count < ALD_LEDGER_LINE ? line->count : ALD_LEDGER_LINE;
    memcpy(bytes + count, line->data, length);
    count += length;
    const ssize_t written = write(file, bytes, count);
    if (written != (ssize_t)count) {
        errno = written < 0 ? errno : ENOSPC;
        const ald_status_t status = RAISE(path);
        if (written > 0 && ftruncate(file, end) != 0)
            return status; /* the next writer closes the line */
        return status;
    }
    return fsync(file) == 0 ? ALD_STATUS_OK : RAISE(path);
}

ald_status_t ald_ledger_append(const char *path, const ald_json_t *record, const char *where)
{
    ald_status_t status = ALD_STATUS_OK;
    int file = -1;
    ald_vec_t line;
    ald_vec_init(&line, 1);
    ALD_TRY(make_line(record, where, &line));
    ALD_CHECK(line.count <= ALD_LEDGER_LINE, ALD_STATUS_INPUT,
              "%s: a line of more than %d bytes for the ledger", where, ALD_LEDGER_LINE);
    file = open_ledger(path);
    if (file < 0)
        status = RAISE(path);
    else
        status = append(file, path, &line);
    if (status != ALD_STATUS_OK && line.count > 0)
        ald_log_warn("the ledger lacks the line %.*s", (int)line.count - 1,
                     (const char *)line.data);
done:
    if (file >= 0)
        close(file); /* gives the lock back */
    ald_vec_reset(&line);
    return status;
}
