/* Records of runs. A record is written once, when its stage has ended; whether this process has
 * made the result is seen by done.json, which isn't written again where there was nothing to do. */
#include "ald/lineage/run.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/lineage/content.h"
#include "ald/lineage/program.h"

static int64_t begun; /* seconds since 1970: this process's stage */
static bool anew;

/* The files that say of what a stage has finished, as they were when it began. */
enum { KEPT = 64 };
static struct {
    char *path;
    struct timespec changed;
    ino_t inode;
} kept[KEPT];
static int kept_count;

void ald_run_time(int64_t when, char out[24])
{
    const time_t seconds = (time_t)when;
    struct tm parts;
    out[0] = '\0';
    if (when > 0 && gmtime_r(&seconds, &parts) != NULL)
        strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

int64_t ald_run_seconds(const char *text)
{
    struct tm parts = {0};
    if (text == NULL || sscanf(text, "%d-%d-%dT%d:%d:%dZ", &parts.tm_year, &parts.tm_mon,
                               &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec) != 6)
        return 0;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    return (int64_t)timegm(&parts);
}

/* --- what has been when a stage began ----------------------------------------------------------
 */

/* The note of an unfinished run: FOLDER/.run.json, or beside a file .NAME.run.json. */
static char *note_path(const char *output, bool file)
{
    char *bare, *folder = NULL, *out = NULL;
    ald_vec_t text;
    if (!file)
        return ald_path_join(output, ".run.json");
    ald_vec_init(&text, 1);
    bare = ald_path_beside(output, "");
    if (bare != NULL)
        folder = ald_path_folder(bare);
    const char *slash = bare == NULL ? NULL : strrchr(bare, '/');
    if (folder != NULL &&
        ald_vec_printf(&text, ".%s.run.json", slash == NULL ? bare : slash + 1) == ALD_STATUS_OK)
        out = ald_path_join(folder, text.data);
    ald_vec_reset(&text);
    ald_free(folder);
    ald_free(bare);
    return out;
}

/* Remembers a done.json of the output. */
static void keep(char *path)
{
    struct stat info;
    if (path == NULL || kept_count == KEPT || stat(path, &info) != 0) {
        ald_free(path);
        return;
    }
    kept[kept_count].path = path;
    kept[kept_count].changed = info.st_mtim;
    kept[kept_count++].inode = info.st_ino;
}

/* Whether the file is as it was when the stage began. */
static bool is_as_before(const char *path)
{
    struct stat info;
    bool out = false;
    for (int i = 0; i < kept_count; ++i) {
        if (path == NULL || strcmp(kept[i].path, path) != 0)
            continue;
        out = stat(path, &info) == 0 && info.st_ino == kept[i].inode &&
              info.st_mtim.tv_sec == kept[i].changed.tv_sec &&
              info.st_mtim.tv_nsec == kept[i].changed.tv_nsec;
    }
    return out;
}

void ald_run_end(void)
{
    while (kept_count > 0)
        ald_free(kept[--kept_count].path);
}

/* Whether the folds of an audit are newer than its report, which is written last. */
static bool has_new_folds(const char *output)
{
    char *folds = ald_path_join(output, "folds"), *report = ald_path_join(output, "audit.json");
    struct stat info, made;
    bool out = folds != NULL && report != NULL && stat(folds, &info) == 0;
    if (out && stat(report, &made) == 0)
        out = info.st_mtim.tv_sec != made.st_mtim.tv_sec
                  ? info.st_mtim.tv_sec > made.st_mtim.tv_sec
                  : info.st_mtim.tv_nsec > made.st_mtim.tv_nsec;
    ald_free(folds);
    ald_free(report);
    return out;
}

/* Whether there is anything that a stopped run has kept. */
static bool goes_on(const char *output, bool file)
{
    static const char *const names[] = {"checkpoints", "eval.progress", "strengths.progress"};
    bool out = !file && has_new_folds(output);
    if (file) {
        char *path = ald_path_beside(output, ".progress");
        out = path != NULL && ald_path_exists(path);
        ald_free(path);
        return out;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
        char *path = ald_path_join(output, names[i]);
        out = out || (path != NULL && ald_path_exists(path));
        ald_free(path);
    }
    return out;
}

/* Writes the note with so many runs, seconds more. That it can't be written is no failure. */
static void note(const char *path, int64_t runs, double seconds)
{
    char began[24];
    ald_json_t *said = NULL, *out = ald_json_new_object();
    if (ald_path_exists(path) && ald_json_read(path, &said) != ALD_STATUS_OK)
        said = NULL;
    ald_run_time(begun, began);
    const char *first = ald_json_text(ald_json_get(said, "began"), NULL);
    runs += ald_json_integer(ald_json_get(said, "runs"), 0);
    seconds += ald_json_number(ald_json_get(said, "seconds"), 0.0);
    ald_json_set(out, "began", ald_json_new_string(first == NULL ? began : first));
    ald_json_set(out, "runs", ald_json_new_integer(runs));
    ald_json_set(out, "seconds", ald_json_new_number(seconds));
    (void)ald_json_write(out, path);
    ald_json_free(out);
    ald_json_free(said);
}

void ald_run_setup(bool resume)
{
    anew = !resume;
    begun = (int64_t)time(NULL);
}

void ald_run_begin(const char *output, bool file)
{
    char *path = note_path(output, file);
    const int before = kept_count;
    if (file) {
        keep(ald_path_beside(output, ".done.json"));
    } else {
        keep(ald_path_join(output, "done.json"));
        keep(ald_path_join(output, "strengths.done.json"));
    }
    if (path != NULL && anew)
        unlink(path);
    else if (path != NULL && kept_count == before && goes_on(output, file))
        note(path, ald_path_exists(path) ? 1 : 2,
             0.0); /* the first run left none if it was killed */
    ald_free(path);
}

void ald_run_stopped(const char *output, bool file, double seconds)
{
    char *path = note_path(output, file);
    if (path != NULL && goes_on(output, file))
        note(path, ald_path_exists(path) ? 0 : 1, seconds);
    ald_free(path);
}

/* --- paths -------------------------------------------------------------------------------------
 */

/* The path of `to` from the folder of `record` where both lie below `root`, else its absolute one;
 * freed by ald_free. */
static char *written_path(const char *record, const char *to, const char *root)
{
    char from[PATH_MAX], there[PATH_MAX], top[PATH_MAX];
    char *folder = ald_path_folder(record), *out = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    const bool known = folder != NULL && realpath(folder, from) != NULL &&
                       realpath(to, there) != NULL && realpath(root, top) != NULL;
    const size_t length = known ? strlen(top) : 0;
    ald_free(folder);
    if (!known)
        return ald_strdup(to);
    if (strncmp(from, top, length) != 0 || strncmp(there, top, length) != 0 ||
        there[length] != '/' || (from[length] != '/' && from[length] != '\0'))
        return ald_strdup(there);
    size_t same = length; /* the end of the last folder that both have */
    for (size_t i = length; from[i] == there[i] || (from[i] == '\0' && there[i] == '/'); ++i) {
        same = from[i] == '/' || from[i] == '\0' ? i : same;
        if (from[i] == '\0')
            break;
    }
    for (const char *at = from + same; at != NULL && *at != '\0'; at = strchr(at + 1, '/'))
        if (ald_vec_printf(&text, "%s..", text.count > 0 ? "/" : "") != ALD_STATUS_OK)
            break;
    if (there[same] != '\0' &&
        ald_vec_printf(&text, "%s%s", text.count > 0 ? "/" : "", there + same + 1) != ALD_STATUS_OK)
        ald_vec_reset(&text);
    out = ald_strdup(text.count > 0 ? text.data : ".");
    ald_vec_reset(&text);
    return out;
}

static bool lists(const char *record, const char *name)
{
    ald_json_t *said = NULL;
    const bool out =
        ald_json_read(record, &said) == ALD_STATUS_OK &&
        ald_json_get(ald_json_get(ald_json_get(said, "result"), "files"), name) != NULL;
    ald_json_free(said);
    return out;
}

char *ald_run_beside(const char *path)
{
    char there[PATH_MAX];
    return ald_path_beside(realpath(path, there) == NULL ? path : there, ".run.json");
}

/* The record that speaks of what lies at a path without links. */
static char *find_at(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL, *out = ald_path_beside(path, ".run.json");
    if (out != NULL && ald_path_exists(out))
        return out;
    ald_free(out);
    out = ald_path_is_directory(path) ? ald_path_join(path, "run.json") : NULL;
    if (out != NULL && ald_path_exists(out))
        return out;
    ald_free(out);
    out = NULL;
    if (!ald_path_is_directory(path) && (folder = ald_path_folder(path)) != NULL)
        out = ald_path_join(folder, "run.json");
    if (out != NULL && (!ald_path_exists(out) || !lists(out, slash == NULL ? path : slash + 1))) {
        ald_free(out);
        out = NULL;
    }
    ald_free(folder);
    return out;
}

char *ald_run_find(const char *path)
{
    char there[PATH_MAX];
    char *out = realpath(path, there) == NULL ? NULL : find_at(there);
    return out != NULL ? out : find_at(path);
}

/* --- the record --------------------------------------------------------------------------------
 */

static ald_status_t describe_input(const ald_run_t *run, const ald_run_input_t *input,
                                   ald_json_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    char *path = written_path(run->record, input->path, run->root);
    char *record = ald_run_find(input->path);
    ald_json_t *out = ald_json_new_object();
    ALD_CHECK_MEMORY(path, strlen(input->path));
    ald_json_set(out, "role", ald_json_new_string(input->role));
    ald_json_set(out, "path", ald_json_new_string(path));
    ALD_TRY(ald_content_describe(input->path, input->kind, NULL, out));
    if (record != NULL) {
        ALD_TRY(ald_sha256_file(record, hex));
        ald_json_set(out, "sha256_run", ald_json_new_string(hex));
    }
    ald_json_push(list, out);
    out = NULL;
done:
    ald_json_free(out);
    ald_free(record);
    ald_free(path);
    return status;
}

/* Adds what the note of an unfinished run says to times and number of runs. */
static void set_times(const ald_run_t *run, ald_json_t *out)
{
    char began[24], ended[24];
    char *path = run->claimed == NULL ? NULL : note_path(run->claimed, run->claimed_file);
    ald_json_t *said = NULL;
    if (path != NULL && ald_path_exists(path) && ald_json_read(path, &said) != ALD_STATUS_OK)
        said = NULL;
    ald_run_time(begun, began);
    ald_run_time((int64_t)time(NULL), ended);
    const char *first = ald_json_text(ald_json_get(said, "began"), NULL);
    const int64_t runs = ald_json_integer(ald_json_get(said, "runs"), 1);
    const double seconds = run->seconds + ald_json_number(ald_json_get(said, "seconds"), 0.0);
    ald_json_set(out, "began", ald_json_new_string(first == NULL ? began : first));
    ald_json_set(out, "ended", ald_json_new_string(ended));
    ald_json_set(out, "seconds", ald_json_new_number(seconds));
    ald_json_set(out, "restarts", ald_json_new_integer(runs - 1));
    ald_json_free(said);
    ald_free(path);
}

/* Where and by whom it ran. */
static void set_place(const ald_run_t *run, ald_json_t *out)
{
    const char *job = getenv("SLURM_JOB_ID"), *user = getenv("USER");
    ald_json_set(out, "hosts", ald_json_copy(run->hosts));
    ald_json_set(out, "ranks", ald_json_new_integer(run->ranks));
    ald_json_set(out, "threads", ald_json_new_integer(run->threads));
    if (job != NULL)
        ald_json_set(out, "job", ald_json_new_text(job, strlen(job)));
    if (user != NULL)
        ald_json_set(out, "user", ald_json_new_text(user, strlen(user)));
    if (run->parts > 0) {
        ald_json_set(out, "part", ald_json_new_integer(run->part));
        ald_json_set(out, "parts", ald_json_new_integer(run->parts));
    }
}

static ald_status_t set_content(const ald_run_t *run, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *result = ald_json_new_object(), *inputs = ald_json_new_array(), *done = NULL;
    char *path = written_path(run->record, run->output, run->root);
    ALD_CHECK_MEMORY(path, strlen(run->output));
    ald_json_set(result, "path", ald_json_new_string(path));
    ALD_TRY(ald_content_describe(run->output, run->kind, run->names, result));
    for (int i = 0; run->inputs[i].role != NULL; ++i)
        if (run->inputs[i].path[0] != '\0')
            ALD_TRY(describe_input(run, &run->inputs[i], inputs));
    if (run->done != NULL && ald_path_exists(run->done))
        ALD_TRY(ald_json_read(run->done, &done));
    ald_json_set(out, "result", result);
    ald_json_set(out, "inputs", inputs);
    result = inputs = NULL;
    const ald_json_t *steps = ald_json_get(done, "steps"), *recipe = ald_json_get(done, "recipe");
    ald_json_set(out, "settings", ald_json_copy(recipe != NULL ? recipe : run->settings));
    if (steps != NULL)
        ald_json_set(out, "steps", ald_json_copy(steps));
done:
    ald_json_free(result);
    ald_json_free(inputs);
    ald_json_free(done);
    ald_free(path);
    return status;
}

/* Whether the record that is there is of the result that `made` describes. */
static bool is_recorded(const ald_run_t *run, const ald_json_t *made)
{
    ald_json_t *said = NULL;
    if (!ald_path_exists(run->record) || ald_json_read(run->record, &said) != ALD_STATUS_OK)
        return false;
    const char *was = ald_json_text(ald_json_get(ald_json_get(said, "result"), "sha256"), NULL);
    const char *is = ald_json_text(ald_json_get(ald_json_get(made, "result"), "sha256"), NULL);
    const bool out = was != NULL && is != NULL && strcmp(was, is) == 0;
    ald_json_free(said);
    return out;
}

/* Whether a record is there that was written since the result was finished. */
static bool is_current(const ald_run_t *run)
{
    struct stat record, done;
    if (run->done == NULL || stat(run->record, &record) != 0 || stat(run->done, &done) != 0)
        return false;
    return record.st_mtim.tv_sec != done.st_mtim.tv_sec
               ? record.st_mtim.tv_sec > done.st_mtim.tv_sec
               : record.st_mtim.tv_nsec >= done.st_mtim.tv_nsec;
}

/* The note of the run's claimed output, which is removed once its result is recorded; NULL: it
 * isn't the result's. Shards of an on-policy run are recorded before its model is. */
static char *own_note(const ald_run_t *run)
{
    const bool own = run->claimed != NULL &&
                     (strcmp(run->kind, "shards") != 0 || strcmp(run->claimed, run->output) == 0);
    return own ? note_path(run->claimed, run->claimed_file) : NULL;
}

ald_status_t ald_run_write(const ald_run_t *run, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool same = is_as_before(run->done) || strcmp(run->kind, "shards") == 0;
    char *unfinished = own_note(run);
    const bool noted = unfinished != NULL && ald_path_exists(unfinished);
    ald_json_t *made = ald_json_new_object();
    *out = NULL;
    if (is_current(run)) {
        if (noted) /* a run that was killed behind its record */
            status = ald_json_read(run->record, out);
        goto done;
    }
    ald_json_set(made, "format", ald_json_new_string("aligndistil-run"));
    ald_json_set(made, "format_version", ald_json_new_integer(1));
    ald_json_set(made, "stage", ald_json_new_string(run->stage));
    ALD_TRY(set_content(run, made));
    if (same && is_recorded(run, made)) {
        if (noted)
            status = ald_json_read(run->record, out);
        goto done;
    }
    ald_json_set(made, "program", ald_program_describe());
    set_times(run, made);
    set_place(run, made);
    if (unfinished != NULL && !noted)
        note(unfinished, 1, run->seconds); /* until card and ledger are written, too */
    ALD_TRY(ald_json_write(made, run->record));
    *out = made;
    made = NULL;
done:
    ald_free(unfinished);
    ald_json_free(made);
    return status;
}

void ald_run_written(const ald_run_t *run)
{
    char *unfinished = own_note(run);
    if (unfinished != NULL)
        unlink(unfinished);
    ald_free(unfinished);
}
