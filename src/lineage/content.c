/* Descriptions of content. A model's files are listed one by one, so that a change can be named;
 * shards are listed in their manifest, which may have thousands of lines, and are not again here.
 */
#include "ald/lineage/content.h"

#include <string.h>
#include <sys/stat.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/digest.h"
#include "ald/shard/set.h"

/* Whether a file of a model's folder is part of the model: not what a run wrote beside it. */
static bool is_of_model(const char *name)
{
    static const char *const ends[] = {".safetensors", ".json", ".jinja", ".model", ".txt"};
    static const char *const beside[] = {"done.json", "state.json",     "run.json",
                                         "eval.json", "strengths.json", "audit.json"};
    bool out = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; ++i)
        out = out || ald_path_ends(name, ends[i]);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; ++i)
        out = out && !ald_path_ends(name, beside[i]);
    return out && name[0] != '.';
}

static ald_status_t file_in(const char *folder, const char *name, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, name);
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(ald_sha256_file(path, hex));
done:
    ald_free(path);
    return status;
}

static bool is_there(const char *folder, const char *name)
{
    char *path = ald_path_join(folder, name);
    const bool out = path != NULL && ald_path_exists(path) && !ald_path_is_directory(path);
    ald_free(path);
    return out;
}

/* The files of a model but for its weights where these are one file, whose digest is known. */
static ald_status_t model_files(const char *path, const char *whole, ald_json_t *files)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, hex[ALD_SHA256_HEX];
    size_t count = 0, weights = 0;
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i)
        weights += ald_path_ends(names[i], ".safetensors") && names[i][0] != '.';
    for (size_t i = 0; i < count; ++i) {
        if (!is_of_model(names[i]) || !is_there(path, names[i]))
            continue;
        if (weights == 1 && ald_path_ends(names[i], ".safetensors"))
            memcpy(hex, whole, sizeof hex);
        else
            ALD_TRY(file_in(path, names[i], hex));
        ald_json_set(files, names[i], ald_json_new_string(hex));
    }
done:
    ald_names_free(names, count);
    return status;
}

static ald_status_t describe_model(const char *path, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_json_t *files = ald_json_new_object();
    ALD_TRY(ald_hf_sha256(path, hex));
    ald_json_set(out, "sha256", ald_json_new_string(hex));
    status = model_files(path, hex, files);
    ald_json_set(out, "files", files);
    files = NULL;
done:
    ald_json_free(files);
    return status;
}

/* The list of shards of a folder's manifest, borrowed from *manifest, which the caller frees; NULL
 * where there is none. */
static const ald_json_t *listed(const char *path, ald_json_t **manifest)
{
    char *name = ald_path_join(path, "manifest.json");
    *manifest = NULL;
    if (name != NULL && ald_path_exists(name) && ald_json_read(name, manifest) != ALD_STATUS_OK)
        *manifest = NULL;
    ald_free(name);
    return ald_json_get(*manifest, "shards");
}

/* Adds a line as sha256sum writes it. */
static void add_line(ald_sha256_t *sha, const char *digest, const char *name)
{
    ald_sha256_update(sha, digest, strlen(digest));
    ald_sha256_update(sha, "  ", 2);
    ald_sha256_update(sha, name, strlen(name));
    ald_sha256_update(sha, "\n", 1);
}

static void digest_of_list(const ald_json_t *list, char hex[ALD_SHA256_HEX])
{
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    for (size_t i = 0; i < ald_json_count(list); ++i) {
        const ald_json_t *entry = ald_json_at(list, i);
        const char *name = ald_json_text(ald_json_get(entry, "name"), NULL);
        const char *digest = ald_json_text(ald_json_get(entry, "sha256"), NULL);
        if (name != NULL && digest != NULL)
            add_line(&sha, digest, name);
    }
    ald_sha256_final(&sha, hex);
}

/* Shards without a manifest: those of on-policy runs. */
static ald_status_t describe_unlisted(const char *path, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX], **names = NULL;
    ald_json_t *files = ald_json_new_object();
    ald_sha256_t sha;
    size_t count = 0;
    ald_sha256_init(&sha);
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (ald_shard_number(names[i]) < 0)
            continue;
        ALD_TRY(file_in(path, names[i], hex));
        add_line(&sha, hex, names[i]);
        ald_json_set(files, names[i], ald_json_new_string(hex));
    }
    ald_sha256_final(&sha, hex);
    ald_json_set(out, "sha256", ald_json_new_string(hex));
    ald_json_set(out, "files", files);
    files = NULL;
done:
    ald_names_free(names, count);
    ald_json_free(files);
    return status;
}

static ald_status_t describe_shards(const char *path, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_json_t *manifest = NULL;
    const ald_json_t *list = listed(path, &manifest);
    if (list == NULL) {
        status = describe_unlisted(path, out);
    } else {
        digest_of_list(list, hex);
        ald_json_set(out, "sha256", ald_json_new_string(hex));
    }
    ald_json_free(manifest);
    return status;
}

static ald_status_t describe_folder(const char *path, const char *const *names, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_json_t *files = ald_json_new_object();
    for (int i = 0; names[i] != NULL; ++i) {
        if (!is_there(path, names[i]))
            continue;
        ALD_TRY(file_in(path, names[i], hex));
        if (i == 0)
            ald_json_set(out, "sha256", ald_json_new_string(hex));
        ald_json_set(files, names[i], ald_json_new_string(hex));
    }
    ald_json_set(out, "files", files);
    files = NULL;
done:
    ald_json_free(files);
    return status;
}

ald_status_t ald_content_describe(const char *path, const char *kind, const char *const *names,
                                  ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_json_set(out, "kind", ald_json_new_string(kind));
    if (strcmp(kind, "model") == 0)
        return describe_model(path, out);
    if (strcmp(kind, "folder") == 0)
        return describe_folder(path, names, out);
    if (strcmp(kind, "shards") == 0)
        return describe_shards(path, out);
    ALD_TRY(ald_sha256_file(path, hex));
    ald_json_set(out, "sha256", ald_json_new_string(hex));
done:
    return status;
}

/* --- changes ---------------------------------------------------------------------------------- */

/* The second at which a file was last written, moved or linked; -1: it can't be seen. */
static int64_t changed_at(const char *path)
{
    struct stat info;
    if (path == NULL || stat(path, &info) != 0)
        return -1;
    return info.st_ctim.tv_sec > info.st_mtim.tv_sec ? info.st_ctim.tv_sec : info.st_mtim.tv_sec;
}

/* Whether a description of this kind lists the file of a folder. */
static bool is_listed(const char *kind, bool manifest, const char *name)
{
    if (strcmp(kind, "model") == 0)
        return is_of_model(name);
    return manifest ? strcmp(name, "manifest.json") == 0 : ald_shard_number(name) >= 0;
}

bool ald_content_is_newer(const char *path, const char *kind, int64_t since)
{
    char **names = NULL;
    size_t count = 0;
    if (!ald_path_is_directory(path)) {
        const int64_t when = changed_at(path);
        return when < 0 || when >= since;
    }
    if (ald_dir_list(path, &names, &count) != ALD_STATUS_OK)
        return true;
    bool out = false;
    const bool manifest = is_there(path, "manifest.json");
    for (size_t i = 0; i < count && !out; ++i) {
        char *file = is_listed(kind, manifest, names[i]) ? ald_path_join(path, names[i]) : NULL;
        const int64_t when = file == NULL ? 0 : changed_at(file);
        out = when < 0 || when >= since;
        ald_free(file);
    }
    ald_names_free(names, count);
    return out;
}

/* --- verifying ------------------------------------------------------------------------------- */

/* Pushes "NAME: sha256 was A, is B", or that it isn't there, unless it is as said. */
static ald_status_t compare_file(const char *path, const char *name, const char *said,
                                 ald_json_t *changes)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX] = "";
    ald_vec_t text;
    ald_vec_init(&text, 1);
    if (!ald_path_exists(path))
        ALD_TRY(ald_vec_printf(&text, "%s is not there any more", name));
    else if (ald_sha256_file(path, hex) != ALD_STATUS_OK)
        ALD_TRY(ald_vec_printf(&text, "%s can't be read", name));
    else if (said == NULL || strcmp(hex, said) != 0)
        ALD_TRY(ald_vec_printf(&text, "%s changed: sha256 was %.16s..., is %.16s...", name,
                               said == NULL ? "?" : said, hex));
    if (text.count > 0)
        ald_json_push(changes, ald_json_new_string(text.data));
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t compare_in(const char *folder, const char *name, const char *said,
                               ald_json_t *changes)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, name);
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(compare_file(path, name, said, changes));
done:
    ald_free(path);
    return status;
}

static ald_status_t verify_shards(const char *path, const char *said, ald_json_t *changes)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_json_t *manifest = NULL;
    const ald_json_t *list = listed(path, &manifest);
    if (list == NULL) {
        ald_json_push(changes, ald_json_new_string("manifest.json is not there any more"));
        goto done;
    }
    digest_of_list(list, hex);
    if (strcmp(hex, said) != 0)
        ald_json_push(changes,
                      ald_json_new_string("manifest.json lists other shards than were used"));
    for (size_t i = 0; i < ald_json_count(list); ++i) {
        const ald_json_t *entry = ald_json_at(list, i);
        const char *name = ald_json_text(ald_json_get(entry, "name"), NULL);
        if (name != NULL)
            ALD_TRY(compare_in(path, name, ald_json_text(ald_json_get(entry, "sha256"), NULL),
                               changes));
    }
done:
    ald_json_free(manifest);
    return status;
}

/* Pushes the names of a model's files that aren't among those said. */
static ald_status_t find_added(const char *path, const ald_json_t *files, ald_json_t *changes)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (!is_of_model(names[i]) || !is_there(path, names[i]) ||
            ald_json_get(files, names[i]) != NULL)
            continue;
        text.count = 0;
        ALD_TRY(ald_vec_printf(&text, "%s was added", names[i]));
        ald_json_push(changes, ald_json_new_text(text.data, text.count));
    }
done:
    ald_vec_reset(&text);
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_content_verify(const char *path, const ald_json_t *said, ald_json_t *changes)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *kind = ald_json_text(ald_json_get(said, "kind"), NULL);
    const char *whole = ald_json_text(ald_json_get(said, "sha256"), NULL);
    const ald_json_t *files = ald_json_get(said, "files"), *value;
    const char *name, *last = strrchr(path, '/');
    void *at = NULL;
    if (kind != NULL && strcmp(kind, "shards") == 0 && files == NULL)
        return whole == NULL ? status : verify_shards(path, whole, changes);
    if (files == NULL)
        return compare_file(path, last == NULL ? path : last + 1, whole, changes);
    while (ald_json_next(files, &at, &name, &value))
        if (strchr(name, '/') == NULL)
            ALD_TRY(compare_in(path, name, ald_json_text(value, NULL), changes));
    if (kind != NULL && strcmp(kind, "model") == 0 && ald_path_is_directory(path))
        ALD_TRY(find_added(path, files, changes));
done:
    return status;
}
