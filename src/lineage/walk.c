/* Walking a lineage. A record says of each input where it lay and what it was; what lies there now
 * may be something else, so its own record counts only if it speaks of the same content. */
#include "ald/lineage/walk.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/lineage/content.h"
#include "ald/lineage/run.h"

enum {
    DEPTH_MAX = 64
}; /* stages behind each other: a circle can't be made by stages, but by hand */

typedef struct {
    bool verify;
    ald_json_t *problems, *seen; /* texts; paths, as keys of an object */
} walk_t;

static const char *text_of(const ald_json_t *object, const char *key)
{
    return ald_json_text(ald_json_get(object, key), NULL);
}

/* Puts a text "ROLE PATH: what" among the problems, and makes the node a changed one. */
static ald_status_t problem(walk_t *walk, ald_json_t *node, const char *what)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_vec_printf(&text, "%s %s: %s", text_of(node, "role"), text_of(node, "path"), what));
    ald_json_push(walk->problems, ald_json_new_string(text.data));
    ald_json_set(node, "state", ald_json_new_string("changed"));
done:
    ald_vec_reset(&text);
    return status;
}

static void copy(const ald_json_t *from, const char *key, ald_json_t *to)
{
    if (ald_json_get(from, key) != NULL)
        ald_json_set(to, key, ald_json_copy(ald_json_get(from, key)));
}

/* Sets the parts of a record that a tree shows. */
static void set_run(const ald_json_t *record, ald_json_t *node)
{
    static const char *const keys[] = {"stage",   "began",    "ended", "hosts",  "ranks",
                                       "threads", "restarts", "steps", "seconds"};
    const ald_json_t *program = ald_json_get(record, "program");
    ald_json_t *run = ald_json_new_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i)
        copy(record, keys[i], run);
    copy(program, "version", run);
    copy(program, "commit", run);
    copy(program, "kernel", run);
    ald_json_set(node, "run", run);
}

/* Holds what lies there to what is said of it. */
static ald_status_t verify(walk_t *walk, const char *path, const ald_json_t *said, ald_json_t *node)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *changes = ald_json_new_array();
    ald_json_set(node, "state", ald_json_new_string("verified"));
    ALD_TRY(ald_content_verify(path, said, changes));
    for (size_t i = 0; i < ald_json_count(changes); ++i)
        ALD_TRY(problem(walk, node, ald_json_text(ald_json_at(changes, i), NULL)));
done:
    ald_json_free(changes);
    return status;
}

/* Whether a record, or the file's line in it, speaks of the content that an input had. */
static bool speaks_of(const ald_json_t *record, const char *path, const ald_json_t *said)
{
    const ald_json_t *result = ald_json_get(record, "result");
    const char *slash = strrchr(path, '/'), *wanted = text_of(said, "sha256");
    const char *whole = text_of(result, "sha256");
    const char *line = text_of(ald_json_get(result, "files"), slash == NULL ? path : slash + 1);
    return wanted == NULL || (whole != NULL && strcmp(whole, wanted) == 0) ||
           (line != NULL && strcmp(line, wanted) == 0);
}

static bool is_record(const ald_json_t *record)
{
    const char *format = text_of(record, "format");
    return format != NULL && strcmp(format, "aligndistil-run") == 0 &&
           text_of(record, "stage") != NULL && ald_json_is_object(ald_json_get(record, "result"));
}

/* Looks at the record of an input: *record is it, or NULL where its lineage ends. */
static ald_status_t find_record(walk_t *walk, const char *path, const ald_json_t *said,
                                ald_json_t *node, ald_json_t **record, char **where)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *wanted = text_of(said, "sha256_run");
    char hex[ALD_SHA256_HEX] = "";
    *record = NULL;
    *where = ald_run_find(path);
    if (*where == NULL) {
        if (wanted != NULL)
            return problem(walk, node, "its run.json is not there any more");
        ald_json_set(node, "note", ald_json_new_string("taken as it is: no run.json"));
        return status;
    }
    if (ald_json_read(*where, record) != ALD_STATUS_OK)
        return problem(walk, node, "its run.json can't be read");
    if (!is_record(*record)) {
        ald_json_free(*record);
        *record = NULL;
        return problem(walk, node, "its run.json is no record of a run");
    }
    if (said != NULL && !speaks_of(*record, path, said)) {
        ALD_TRY(problem(walk, node, "made again since: its run.json is of another result"));
        ald_json_free(*record);
        *record = NULL;
    } else if (wanted != NULL && walk->verify) {
        ALD_TRY(ald_sha256_file(*where, hex));
        if (strcmp(hex, wanted) != 0)
            ALD_TRY(problem(walk, node, "its run.json changed since it was used"));
    }
done:
    return status;
}

/* Makes the absolute path of one that a record has; false: too long. */
static bool resolve(const char *record, const char *path, char out[PATH_MAX])
{
    char *folder = ald_path_folder(record), *joined = NULL;
    bool fits = false;
    if (folder != NULL)
        joined = ald_path_join(folder, path);
    if (joined != NULL && realpath(joined, out) == NULL && strlen(joined) < PATH_MAX)
        strcpy(out, joined); /* it isn't there */
    fits = joined != NULL && strlen(joined) < PATH_MAX;
    ald_free(joined);
    ald_free(folder);
    return fits;
}

static ald_status_t visit(walk_t *walk, const char *path, const ald_json_t *said, int depth,
                          ald_json_t *node);

static ald_status_t visit_inputs(walk_t *walk, const ald_json_t *record, const char *where,
                                 int depth, ald_json_t *node)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *inputs = ald_json_get(record, "inputs");
    ald_json_t *list = ald_json_new_array();
    char path[PATH_MAX];
    for (size_t i = 0; i < ald_json_count(inputs); ++i) {
        const ald_json_t *said = ald_json_at(inputs, i);
        const char *role = text_of(said, "role"), *written = text_of(said, "path");
        ALD_CHECK(role != NULL && written != NULL && resolve(where, written, path),
                  ALD_STATUS_INPUT, "%s: inputs[%zu]: expected a role and a path", where, i);
        ald_json_t *inner = ald_json_new_object();
        ald_json_push(list, inner);
        ald_json_set(inner, "role", ald_json_new_string(role));
        ALD_TRY(visit(walk, path, said, depth + 1, inner));
    }
    ald_json_set(node, "inputs", list);
    list = NULL;
done:
    ald_json_free(list);
    return status;
}

/* What a record says of what lies at `path`: its result, or one file of that; NULL: nothing. */
static ald_json_t *content_of(const ald_json_t *record, const char *path)
{
    const ald_json_t *result = ald_json_get(record, "result"),
                     *files = ald_json_get(result, "files");
    const char *slash = strrchr(path, '/');
    const char *line = text_of(files, slash == NULL ? path : slash + 1);
    if (result == NULL || line == NULL || ald_path_is_directory(path))
        return result == NULL ? NULL : ald_json_copy(result);
    ald_json_t *out = ald_json_new_object();
    ald_json_set(out, "kind", ald_json_new_string("file"));
    ald_json_set(out, "sha256", ald_json_new_string(line));
    return out;
}

/* Fills the node of what lies at `path`; `said`: what its user's record says of it, NULL for the
 * first one. */
static ald_status_t visit(walk_t *walk, const char *path, const ald_json_t *said, int depth,
                          ald_json_t *node)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *record = NULL, *own = NULL;
    char *where = NULL;
    ald_json_set(node, "path", ald_json_new_string(path));
    copy(said, "kind", node);
    copy(said, "sha256", node);
    ald_json_set(node, "state", ald_json_new_string("here"));
    if (ald_json_get(walk->seen, path) != NULL || depth > DEPTH_MAX) {
        ald_json_set(node, "state", ald_json_new_string("as above"));
        if (said != NULL && text_of(said, "sha256") != NULL &&
            strcmp(text_of(said, "sha256"), text_of(walk->seen, path)) != 0)
            ALD_TRY(problem(walk, node, "two stages have used it with different content"));
        goto done;
    }
    if (!ald_path_exists(path)) {
        ald_json_set(node, "state", ald_json_new_string("not here"));
        goto done;
    }
    ALD_TRY(find_record(walk, path, said, node, &record, &where));
    if (said == NULL)
        own = content_of(record, path);
    const ald_json_t *content = said != NULL ? said : own;
    const char *digest = text_of(content, "sha256");
    ald_json_set(walk->seen, path, ald_json_new_string(digest == NULL ? "" : digest));
    if (said == NULL) {
        copy(content, "kind", node);
        copy(content, "sha256", node);
    }
    const bool changed = strcmp(text_of(node, "state"), "changed") == 0;
    if (walk->verify && content != NULL)
        ALD_TRY(verify(walk, path, content, node));
    if (changed)
        ald_json_set(node, "state", ald_json_new_string("changed"));
    if (record != NULL) {
        set_run(record, node);
        ALD_TRY(visit_inputs(walk, record, where, depth, node));
    }
done:
    ald_json_free(own);
    ald_json_free(record);
    ald_free(where);
    return status;
}

ald_status_t ald_lineage_walk(const char *path, bool verify_all, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    walk_t walk = {verify_all, ald_json_new_array(), ald_json_new_object()};
    char absolute[PATH_MAX], *record = ald_run_find(path);
    *out = NULL;
    ALD_CHECK(record != NULL, ALD_STATUS_INPUT,
              "%s: no run.json, so nothing says what it was made from", path);
    ALD_CHECK(realpath(path, absolute) != NULL, ALD_STATUS_INPUT, "%s: no such file or folder",
              path);
    *out = ald_json_new_object();
    ald_json_set(*out, "role", ald_json_new_string("result"));
    ALD_TRY(visit(&walk, absolute, NULL, 0, *out));
    ald_json_set(*out, "problems", walk.problems);
    walk.problems = NULL;
done:
    ald_json_free(walk.problems);
    ald_json_free(walk.seen);
    ald_free(record);
    if (status != ALD_STATUS_OK) {
        ald_json_free(*out);
        *out = NULL;
    }
    return status;
}

/* --- as text -----------------------------------------------------------------------------------
 */

/* "made by dpo in 40 steps, ..." */
static ald_status_t run_text(const ald_json_t *run, bool plain, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t steps = ald_json_integer(ald_json_get(run, "steps"), 0);
    const int64_t restarts = ald_json_integer(ald_json_get(run, "restarts"), 0);
    const char *host = ald_json_text(ald_json_at(ald_json_get(run, "hosts"), 0), NULL);
    const char *commit = text_of(run, "commit"), *version = text_of(run, "version");
    const char *ended = text_of(run, "ended");
    ALD_TRY(ald_vec_printf(text, "made by %s", text_of(run, "stage")));
    if (steps > 0)
        ALD_TRY(ald_vec_printf(text, " in %lld steps", (long long)steps));
    if (plain)
        goto done;
    ALD_TRY(ald_vec_printf(text, ", %s, %.4g s on %lld ranks of %s", ended == NULL ? "?" : ended,
                           ald_json_number(ald_json_get(run, "seconds"), 0.0),
                           (long long)ald_json_integer(ald_json_get(run, "ranks"), 0),
                           host == NULL ? "?" : host));
    if (restarts > 0)
        ALD_TRY(ald_vec_printf(text, ", %lld restarts", (long long)restarts));
    ALD_TRY(ald_vec_printf(text, ", aligndistil %s (%.12s)", version == NULL ? "?" : version,
                           commit == NULL ? "?" : commit));
done:
    return status;
}

/* A name may have bytes that end a line. */
static ald_status_t put_name(const char *name, bool plain, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    for (const char *at = name; *at != '\0'; ++at) {
        const bool cuts = *at == '\n' || *at == '\r' || (plain && (unsigned char)*at < ' ');
        ALD_TRY(ald_vec_printf(text, "%c", cuts ? '?' : *at));
    }
done:
    return status;
}

static ald_status_t node_text(const ald_json_t *node, bool plain, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = text_of(node, "path"), *last = strrchr(path, '/');
    const char *digest = text_of(node, "sha256"), *kind = text_of(node, "kind");
    const char *state = text_of(node, "state");
    const bool shown = !plain || strcmp(state, "as above") == 0;
    ALD_TRY(ald_vec_printf(text, "%s: %s ", text_of(node, "role"), kind == NULL ? "" : kind));
    ALD_TRY(put_name(plain && last != NULL ? last + 1 : path, plain, text));
    ALD_TRY(ald_vec_printf(text, " %.16s%s%s\n", digest == NULL ? "(no digest)" : digest,
                           shown ? "  " : "", shown ? state : ""));
done:
    return status;
}

/* Appends a node and what it was made from; each line begins with `indent`. */
static ald_status_t lines(const ald_json_t *node, bool plain, const char *indent, const char *mark,
                          const char *inner, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *run = ald_json_get(node, "run"), *inputs = ald_json_get(node, "inputs");
    const char *said = text_of(node, "note");
    ald_vec_t below;
    ald_vec_init(&below, 1);
    ALD_TRY(ald_vec_printf(text, "%s%s", indent, mark));
    ALD_TRY(node_text(node, plain, text));
    ALD_TRY(ald_vec_printf(&below, "%s%s", indent, inner));
    if (said != NULL)
        ALD_TRY(ald_vec_printf(text, "%s  %s\n", (const char *)below.data, said));
    if (run != NULL) {
        ALD_TRY(ald_vec_printf(text, "%s  ", (const char *)below.data));
        ALD_TRY(run_text(run, plain, text));
        ALD_TRY(ald_vec_printf(text, "\n"));
    }
    for (size_t i = 0; i < ald_json_count(inputs); ++i) {
        const bool final = i + 1 == ald_json_count(inputs);
        ALD_TRY(lines(ald_json_at(inputs, i), plain, below.data, final ? "└─ " : "├─ ",
                      final ? "   " : "│  ", text));
    }
done:
    ald_vec_reset(&below);
    return status;
}

ald_status_t ald_lineage_text(const ald_json_t *tree, bool plain, ald_vec_t *text)
{
    return lines(tree, plain, "", "", "", text);
}
