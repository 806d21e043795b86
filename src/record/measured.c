/* What stages took. The notes are of this process, which has one stage, so that whoever does work
 * can say so without being handed a place for it. */
#include "ald/record/measured.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

static ald_work_done_t noted;

void ald_measured_note(const ald_work_done_t *done)
{
    noted.steps += done->steps;
    noted.sequences += done->sequences;
    noted.tokens += done->tokens;
    noted.bytes += done->bytes;
    noted.files += done->files;
}

const ald_work_done_t *ald_measured_noted(void)
{
    return &noted;
}

static bool is_counted(const char *name)
{
    return name[0] != '.' && strcmp(name, "aligndistil.lock") != 0;
}

ald_status_t ald_measured_weigh(const char *path, int64_t *bytes, int64_t *files)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *inner = NULL;
    size_t count = 0;
    if (!ald_path_exists(path))
        return status;
    if (!ald_path_is_directory(path)) {
        *bytes += ald_file_size(path);
        *files += 1;
        return status;
    }
    ALD_TRY(ald_dir_list(path, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (!is_counted(names[i]))
            continue;
        ald_free(inner);
        inner = ald_path_join(path, names[i]);
        ALD_CHECK_MEMORY(inner, strlen(path));
        ALD_TRY(ald_measured_weigh(inner, bytes, files));
    }
done:
    ald_free(inner);
    ald_names_free(names, count);
    return status;
}

char *ald_measured_name(const char *root, const char *path)
{
    const size_t length = strlen(root);
    const char *last = strrchr(path, '/');
    const bool below = length > 0 && strncmp(path, root, length) == 0 && path[length] == '/';
    char *name = ald_strdup(below ? path + length + 1 : last == NULL ? path : last + 1);
    const size_t end = name == NULL ? 0 : strlen(name), suffix = strlen(".jsonl");
    if (end > suffix && strcmp(name + end - suffix, ".jsonl") == 0)
        name[end - suffix] = '\0';
    for (char *at = name; at != NULL && *at != '\0'; ++at)
        *at = *at == '/' ? '-' : *at;
    return name;
}

char *ald_measured_path(const char *root, const char *name)
{
    char *path = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    if (ald_vec_printf(&text, "%s/measured/%s.json", root, name) == ALD_STATUS_OK)
        path = ald_strdup(text.data);
    ald_vec_reset(&text);
    return path;
}

void ald_measured_add_earlier(const char *path, ald_json_t *report)
{
    static const char *const sums[] = {"runs",   "seconds",     "steps",      "sequences",
                                       "tokens", "noted_bytes", "noted_files"};
    ald_json_t *earlier = NULL;
    if (!ald_path_exists(path) || ald_json_read(path, &earlier) != ALD_STATUS_OK)
        return;
    for (size_t i = 0;
         i < sizeof sums / sizeof *sums && !ald_json_bool(ald_json_get(earlier, "finished"), true);
         ++i)
        ald_json_set(report, sums[i],
                     ald_json_new_number(ald_json_number(ald_json_get(report, sums[i]), 0.0) +
                                         ald_json_number(ald_json_get(earlier, sums[i]), 0.0)));
    ald_json_free(earlier);
}
